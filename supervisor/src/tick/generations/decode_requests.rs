//! The decode requests at the end of a tick, and the queue of each model.

use super::{Generation, Generations, InFlightDelta, InFlightRequest, answer};
use crate::record::ABANDONED;
use crate::tick::batch::InferenceBatch;
use crate::tick::plan::RunPlan;
use shm_protocol::generation::{DecodeRequest, Finish, Sequence};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::{codec, limit};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Generations {
    /// Forms the decode requests at the end of a tick, without the generations that a journal has abandoned. Batches
    /// are numbered from `next` on.
    pub(crate) fn decode_requests(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        is_abandoned: impl Fn((AgentId, RequestId)) -> bool,
        next: &mut BatchId,
    ) -> Vec<InferenceBatch> {
        let mut batches = Vec::new();
        for generation in &mut self.open {
            if generation.delta.is_none()
                && generation.deadline.is_some_and(|deadline| tick >= deadline)
            {
                generation.is_running = false;
                generation.delta = Some(InFlightDelta::without_engine(
                    tick,
                    answer::ended(Finish::Deadline),
                ));
            }
        }
        for (model, generator, seed) in plan.generators() {
            self.start_queued(tick, model, generator.max_concurrent_generations as usize);
            for generation in self
                .open
                .iter_mut()
                .filter(|generation| generation.model == model)
            {
                let is_due = generation.version.is_some()
                    && generation.is_running
                    && generation.delta.is_none();
                if is_due && is_abandoned((generation.agent, generation.request)) {
                    generation.delta = Some(InFlightDelta::without_engine(
                        tick,
                        Err(ABANDONED.to_owned()),
                    ));
                }
            }
            // A generation runs to its end on the version with which it began.
            let mut builders: BTreeMap<VersionId, DecodeRequestBuilder> = BTreeMap::new();
            for (position, generation) in self.open.iter().enumerate() {
                if let Some(version) = generation.version
                    && generation.model == model
                    && generation.is_running
                    && generation.delta.is_none()
                {
                    let builder = builders.entry(version).or_default();
                    builder.add(position, generation.sequence(seed));
                }
            }
            for (version, builder) in builders {
                for (sequences, positions) in builder.finish() {
                    let request = DecodeRequest {
                        steps: generator.tokens_per_tick,
                        sequences,
                    };
                    let target = (model, version);
                    batches.push(self.submit(tick, target, &request, &positions, *next));
                    *next = BatchId(next.0 + 1);
                }
            }
        }
        batches
    }

    /// Starts queued generations while there is capacity, and gives the others their position in the queue.
    fn start_queued(&mut self, tick: Tick, model: ModelId, capacity: usize) {
        let of_model = |generation: &&mut Generation| generation.model == model;
        let running = self
            .open
            .iter_mut()
            .filter(of_model)
            .filter(|generation| generation.is_running);
        let mut capacity = capacity.saturating_sub(running.count());
        let mut position = 0;
        for generation in self.open.iter_mut().filter(of_model) {
            // One that ends without the engine takes no capacity.
            if generation.is_running
                || generation
                    .delta
                    .as_ref()
                    .is_some_and(InFlightDelta::is_last)
            {
                continue;
            }
            // One whose position is on its way to the agent starts as soon as there is capacity, and continues once
            // that is delivered.
            if capacity > 0 {
                capacity -= 1;
                generation.is_running = true;
                continue;
            }
            position += 1;
            if generation.delta.is_none() && generation.reported_position != Some(position) {
                generation.reported_position = Some(position);
                generation.delta = Some(InFlightDelta::without_engine(
                    tick,
                    answer::queued(position),
                ));
            }
        }
    }

    /// Registers a decode request, and gives it as a batch.
    fn submit(
        &mut self,
        tick: Tick,
        (model, version): (ModelId, VersionId),
        request: &DecodeRequest,
        positions: &[usize],
        batch: BatchId,
    ) -> InferenceBatch {
        let mut members = Vec::with_capacity(positions.len());
        for position in positions {
            let generation = &mut self.open[*position];
            members.push((generation.agent, generation.request));
            generation.delta = Some(InFlightDelta {
                requested: tick,
                batch: Some(batch),
                answer: None,
                abandoned: false,
            });
        }
        let request: Arc<[u8]> = codec::encode(request).into();
        let undelivered = members.len();
        self.in_flight.insert(
            batch,
            InFlightRequest {
                model,
                version,
                requested: tick,
                payload: Arc::clone(&request),
                members,
                undelivered,
            },
        );
        InferenceBatch::of_decode_request(batch, (model, version), tick, request)
    }
}

/// Sequences and the positions of their generations.
type Chunk = (Vec<Sequence>, Vec<usize>);

/// Divides sequences into decode requests of at most [`limit::BATCH_BYTES`] each, unless a single one is larger. The
/// division changes no generation.
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
