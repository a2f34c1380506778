//! Smaller decode requests: the halves of one that crashes the engine, and one without an abandoned generation.

use super::{Generations, InFlightRequest, release_member};
use crate::record::ABANDONED;
use crate::tick::batch::InferenceBatch;
use shm_protocol::generation::DecodeRequest;
use shm_protocol::id::{AgentId, BatchId, RequestId};
use shm_protocol::{codec, limit};
use std::sync::Arc;

impl Generations {
    /// Replaces a decode request by its halves, numbered from `next` on, without the generations that do not await it.
    /// Gives each with the number of its members.
    pub(crate) fn divide(
        &mut self,
        batch: BatchId,
        next: &mut BatchId,
    ) -> Vec<(InferenceBatch, usize)> {
        let Some(request) = self.in_flight.remove(&batch) else {
            return Vec::new();
        };
        let waiting: Vec<usize> = (0..request.members.len())
            .filter(|position| self.is_waiting(batch, request.members[*position]))
            .collect();
        let (front, back) = waiting.split_at(waiting.len().div_ceil(2));
        let mut halves = Vec::new();
        for half in [front, back].into_iter().filter(|half| !half.is_empty()) {
            let id = *next;
            *next = BatchId(id.0 + 1);
            let request = request.subset(half);
            for member in &request.members {
                let delta = self.delta_of(*member);
                delta.expect("it waits").batch = Some(id);
            }
            halves.push((request.batch(id), half.len()));
            self.in_flight.insert(id, request);
        }
        halves
    }

    /// Answers the rest of a decode request without the engine. Gives the agents that are answered.
    pub(crate) fn abandon(&mut self, batch: BatchId) -> Vec<AgentId> {
        let request = self.in_flight.remove(&batch);
        let members = request.map(|request| request.members).unwrap_or_default();
        let mut agents = Vec::new();
        for member in members {
            if let Some(delta) = self.delta_of(member)
                && delta.batch == Some(batch)
            {
                (delta.answer, delta.abandoned, delta.batch) =
                    (Some(Arc::new(Err(ABANDONED.to_owned()))), true, None);
                agents.push(member.0);
            }
        }
        agents
    }

    /// Takes a generation out of its decode request. Gives the batch number of that, and the rest of it.
    pub(crate) fn exclude(
        &mut self,
        member: (AgentId, RequestId),
    ) -> Option<(BatchId, Option<InferenceBatch>)> {
        let delta = self.delta_of(member)?;
        // The journal has the verdict already.
        delta.abandoned = false;
        let batch = delta.batch.take()?;
        let request = self.in_flight.get_mut(&batch)?;
        let others: Vec<usize> = (0..request.members.len())
            .filter(|position| request.members[*position] != member)
            .collect();
        *request = InFlightRequest {
            undelivered: request.undelivered,
            ..request.subset(&others)
        };
        let left = request.batch(batch);
        release_member(&mut self.in_flight, batch);
        Some((batch, self.in_flight.contains_key(&batch).then_some(left)))
    }

    fn is_waiting(&self, batch: BatchId, (agent, request): (AgentId, RequestId)) -> bool {
        self.open.iter().any(|generation| {
            let delta = generation.delta.as_ref();
            (generation.agent, generation.request) == (agent, request)
                && delta.is_some_and(|delta| delta.batch == Some(batch) && delta.answer.is_none())
        })
    }
}

impl InFlightRequest {
    /// The decode request for the generations at these positions.
    fn subset(&self, positions: &[usize]) -> InFlightRequest {
        let request: DecodeRequest = codec::decode::<_, { limit::TENSOR_BYTES }>(&self.payload)
            .expect("it was encoded here");
        let sequences = positions
            .iter()
            .map(|position| request.sequences[*position].clone());
        let request = DecodeRequest {
            steps: request.steps,
            sequences: sequences.collect(),
        };
        InFlightRequest {
            payload: codec::encode(&request).into(),
            members: positions.iter().map(|at| self.members[*at]).collect(),
            undelivered: positions.len(),
            ..*self
        }
    }

    fn batch(&self, id: BatchId) -> InferenceBatch {
        let target = (self.model, self.version);
        InferenceBatch::of_decode_request(id, target, self.requested, Arc::clone(&self.payload))
    }
}
