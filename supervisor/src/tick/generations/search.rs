//! Orders of which some texts are taken out: the halves of one that crashes the engine, and one without a text that a
//! verdict has told to be abandoned.

use super::{Generations, InFlightRequest, settle};
use crate::record::ABANDONED;
use crate::tick::batch::Batch;
use shm_protocol::generation::DecodeRequest;
use shm_protocol::id::{AgentId, BatchId, RequestId};
use shm_protocol::{codec, limit};
use std::sync::Arc;

impl Generations {
    /// Replaces an order by its halves, numbered from `next` on, without the texts that do not wait for it. Gives each
    /// with how many do.
    pub(crate) fn divide(&mut self, batch: BatchId, next: &mut BatchId) -> Vec<(Batch, usize)> {
        let Some(writing) = self.writing.remove(&batch) else {
            return Vec::new();
        };
        let waiting: Vec<usize> = (0..writing.members.len())
            .filter(|position| self.is_waiting(batch, writing.members[*position]))
            .collect();
        let (front, back) = waiting.split_at(waiting.len().div_ceil(2));
        let mut halves = Vec::new();
        for half in [front, back].into_iter().filter(|half| !half.is_empty()) {
            let id = *next;
            *next = BatchId(id.0 + 1);
            let writing = writing.of(half);
            for member in &writing.members {
                let piece = self.piece_of(*member);
                piece.expect("it waits").batch = Some(id);
            }
            halves.push((writing.batch(id), half.len()));
            self.writing.insert(id, writing);
        }
        halves
    }

    /// Answers what is left of an order without the engine. Gives the agents that it answers.
    pub(crate) fn abandon(&mut self, batch: BatchId) -> Vec<AgentId> {
        let writing = self.writing.remove(&batch);
        let members = writing.map(|writing| writing.members).unwrap_or_default();
        let mut agents = Vec::new();
        for member in members {
            if let Some(piece) = self.piece_of(member)
                && piece.batch == Some(batch)
            {
                (piece.answer, piece.abandoned, piece.batch) =
                    (Some(Arc::new(Err(ABANDONED.to_owned()))), true, None);
                agents.push(member.0);
            }
        }
        agents
    }

    /// Takes a text out of the order that it waits for. Gives the number of that, and what is left of it.
    pub(crate) fn exclude(
        &mut self,
        member: (AgentId, RequestId),
    ) -> Option<(BatchId, Option<Batch>)> {
        let piece = self.piece_of(member)?;
        // A journal has told the verdict.
        piece.abandoned = false;
        let batch = piece.batch.take()?;
        let writing = self.writing.get_mut(&batch)?;
        let others: Vec<usize> = (0..writing.members.len())
            .filter(|position| writing.members[*position] != member)
            .collect();
        *writing = InFlightRequest {
            left: writing.left,
            ..writing.of(&others)
        };
        let left = writing.batch(batch);
        settle(&mut self.writing, batch);
        Some((batch, self.writing.contains_key(&batch).then_some(left)))
    }

    fn is_waiting(&self, batch: BatchId, (agent, request): (AgentId, RequestId)) -> bool {
        self.open.iter().any(|text| {
            let piece = text.piece.as_ref();
            (text.agent, text.request) == (agent, request)
                && piece.is_some_and(|piece| piece.batch == Some(batch) && piece.answer.is_none())
        })
    }
}

impl InFlightRequest {
    /// The same for the texts at these positions.
    fn of(&self, positions: &[usize]) -> InFlightRequest {
        let order: DecodeRequest =
            codec::decode::<_, { limit::TENSOR_BYTES }>(&self.order).expect("it was encoded here");
        let sequences = positions
            .iter()
            .map(|position| order.sequences[*position].clone());
        let order = DecodeRequest {
            steps: order.steps,
            sequences: sequences.collect(),
        };
        InFlightRequest {
            order: codec::encode(&order).into(),
            members: positions.iter().map(|at| self.members[*at]).collect(),
            left: positions.len(),
            ..*self
        }
    }

    fn batch(&self, id: BatchId) -> Batch {
        let writer = (self.model, self.version);
        Batch::of_order(id, writer, self.asked, Arc::clone(&self.order))
    }
}
