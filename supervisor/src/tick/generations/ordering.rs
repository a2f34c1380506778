//! What texts grow by next: which are written, and the orders for them.

use super::{Generation, Generations, InFlightDelta, InFlightRequest, answer};
use crate::record::ABANDONED;
use crate::tick::batch::Batch;
use crate::tick::plan::RunPlan;
use shm_protocol::generation::{DecodeRequest, Finish, Sequence};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::{codec, limit};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Generations {
    /// Orders what the texts grow by next, at the end of a tick, but for those that a journal tells to be abandoned.
    /// Batches are numbered from `next` on.
    pub(crate) fn order(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        is_abandoned: impl Fn((AgentId, RequestId)) -> bool,
        next: &mut BatchId,
    ) -> Vec<Batch> {
        let mut batches = Vec::new();
        for text in &mut self.open {
            if text.piece.is_none() && text.until.is_some_and(|until| tick >= until) {
                text.runs = false;
                text.piece = Some(InFlightDelta::said(tick, answer::ended(Finish::Deadline)));
            }
        }
        for (model, generator) in plan.generators() {
            self.promote(tick, model, generator.how.sequences as usize);
            for text in self.open.iter_mut().filter(|text| text.model == model) {
                let is_due = text.version.is_some() && text.runs && text.piece.is_none();
                if is_due && is_abandoned((text.agent, text.request)) {
                    text.piece = Some(InFlightDelta::said(tick, Err(ABANDONED.to_owned())));
                }
            }
            // A text is written to its end by the version that it began with.
            let mut formers: BTreeMap<VersionId, DecodeRequestBuilder> = BTreeMap::new();
            for (position, text) in self.open.iter().enumerate() {
                if let Some(version) = text.version
                    && text.model == model
                    && text.runs
                    && text.piece.is_none()
                {
                    let former = formers.entry(version).or_default();
                    former.add(position, text.sequence(generator));
                }
            }
            for (version, former) in formers {
                for (sequences, positions) in former.finish() {
                    let order = DecodeRequest {
                        steps: generator.how.tokens_per_tick,
                        sequences,
                    };
                    let writer = (model, version);
                    batches.push(self.write(tick, writer, &order, &positions, *next));
                    *next = BatchId(next.0 + 1);
                }
            }
        }
        batches
    }

    /// Lets texts begin while there is room, and tells the others how many are before them.
    fn promote(&mut self, tick: Tick, model: ModelId, room: usize) {
        let mine = |text: &&mut Generation| text.model == model;
        let running = self.open.iter_mut().filter(mine).filter(|text| text.runs);
        let mut room = room.saturating_sub(running.count());
        let mut before = 0;
        for text in self.open.iter_mut().filter(mine) {
            // One that ends without the engine takes no room.
            if text.runs || text.piece.as_ref().is_some_and(InFlightDelta::ends) {
                continue;
            }
            // One whose place was told and not heard yet begins as soon as there is room, and goes on once it was heard.
            if room > 0 {
                room -= 1;
                text.runs = true;
                continue;
            }
            before += 1;
            if text.piece.is_none() && text.told != Some(before) {
                text.told = Some(before);
                text.piece = Some(InFlightDelta::said(tick, answer::queued(before)));
            }
        }
    }

    /// Remembers an order, and gives it as a batch.
    fn write(
        &mut self,
        tick: Tick,
        (model, version): (ModelId, VersionId),
        order: &DecodeRequest,
        positions: &[usize],
        batch: BatchId,
    ) -> Batch {
        let mut members = Vec::with_capacity(positions.len());
        for position in positions {
            let text = &mut self.open[*position];
            members.push((text.agent, text.request));
            text.piece = Some(InFlightDelta {
                asked: tick,
                batch: Some(batch),
                answer: None,
                abandoned: false,
            });
        }
        let order: Arc<[u8]> = codec::encode(order).into();
        let left = members.len();
        self.writing.insert(
            batch,
            InFlightRequest {
                model,
                version,
                asked: tick,
                order: Arc::clone(&order),
                members,
                left,
            },
        );
        Batch::of_order(batch, (model, version), tick, order)
    }
}

/// Sequences and the positions of their texts.
type Chunk = (Vec<Sequence>, Vec<usize>);

/// Divides sequences into orders of at most [`limit::BATCH_BYTES`] each, if more than one is in it. What is in an order
/// together changes no text.
#[derive(Default)]
struct DecodeRequestBuilder {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl DecodeRequestBuilder {
    fn add(&mut self, position: usize, sequence: Sequence) {
        // A token takes up to five bytes when encoded, and the rest of a sequence less than a hundred.
        let bytes = sequence.asked.len() + sequence.tokens.len() * 5 + 100;
        if self.chunks.is_empty() || self.bytes + bytes > limit::BATCH_BYTES {
            self.chunks.push(Chunk::default());
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some((sequences, positions)) = self.chunks.last_mut() {
            sequences.push(sequence);
            positions.push(position);
        }
    }

    fn finish(self) -> Vec<Chunk> {
        self.chunks
    }
}
