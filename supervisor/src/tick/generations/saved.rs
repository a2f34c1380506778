//! Open generations in a checkpoint.

use super::{Generation, Generations, InFlightDelta, InFlightRequest};
use crate::planted::{Bug, planted};
use crate::tick::batch::InferenceBatch;
use crate::tick::plan::RunPlan;
use bincode::{Decode, Encode};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::sync::Arc;

/// All incomplete generations. Answers of the engine are not saved: the same decode request gives the same deltas
/// again.
#[derive(Debug, Default, Encode, Decode)]
pub(crate) struct SavedGenerations {
    open: Vec<SavedGeneration>,
    in_flight: Vec<SavedDecodeRequest>,
}

#[derive(Debug, Encode, Decode)]
struct SavedGeneration {
    model: ModelId,
    version: Option<VersionId>,
    agent: AgentId,
    request: RequestId,
    body: Vec<u8>,
    tokens: Vec<u32>,
    deadline: Option<Tick>,
    is_running: bool,
    reported_position: Option<u64>,
    delta: Option<SavedDelta>,
}

#[derive(Debug, Encode, Decode)]
struct SavedDelta {
    requested: Tick,
    /// Position of its decode request among the saved ones.
    decode_request: Option<u64>,
    /// The answer that was given without the engine.
    answer: Option<RequestResult>,
    /// It is delivered with a verdict.
    abandoned: bool,
}

#[derive(Debug, Encode, Decode)]
struct SavedDecodeRequest {
    model: ModelId,
    version: VersionId,
    requested: Tick,
    payload: Vec<u8>,
    members: Vec<(AgentId, RequestId)>,
    undelivered: u64,
}

impl Generations {
    pub(crate) fn save(&self) -> SavedGenerations {
        let position = |batch: BatchId| {
            let found = self.in_flight.keys().position(|known| *known == batch);
            found.map(|position| position as u64)
        };
        let delta = |delta: &InFlightDelta| SavedDelta {
            requested: delta.requested,
            decode_request: delta.batch.and_then(position),
            answer: match delta.batch {
                None => delta.answer.as_deref().cloned(),
                Some(_) => None,
            },
            abandoned: delta.abandoned,
        };
        let generation = |generation: &Generation| SavedGeneration {
            model: generation.model,
            version: generation.version,
            agent: generation.agent,
            request: generation.request,
            body: generation.body.to_vec(),
            tokens: generation.tokens.clone(),
            deadline: generation.deadline,
            is_running: generation.is_running,
            reported_position: generation.reported_position.map(|position| position as u64),
            delta: generation.delta.as_ref().map(delta),
        };
        let in_flight = |in_flight: &InFlightRequest| SavedDecodeRequest {
            model: in_flight.model,
            version: in_flight.version,
            requested: in_flight.requested,
            payload: in_flight.payload.to_vec(),
            members: in_flight.members.clone(),
            undelivered: in_flight.undelivered as u64,
        };
        SavedGenerations {
            open: self.open.iter().map(generation).collect(),
            in_flight: self.in_flight.values().map(in_flight).collect(),
        }
    }

    /// Generations as they were saved, and the batches that are to be answered again, numbered from `next` on. None
    /// when they do not fit the plan.
    pub(crate) fn restore(
        plan: &RunPlan,
        saved: SavedGenerations,
        next: &mut BatchId,
    ) -> Option<(Generations, Vec<(InferenceBatch, usize)>)> {
        let is_known = |agent: AgentId, model: ModelId| {
            let planned = plan.model(model);
            agent.index() < plan.agents()
                && planned.is_some_and(|model| model.settings.generator.is_some())
        };
        let (mut generations, mut numbers, mut batches) =
            (Generations::default(), Vec::new(), Vec::new());
        for saved in saved.in_flight {
            let payload: Arc<[u8]> = saved.payload.into();
            let undelivered = usize::try_from(saved.undelivered).ok()?;
            let in_flight = InFlightRequest {
                model: saved.model,
                version: saved.version,
                requested: saved.requested,
                payload: Arc::clone(&payload),
                members: saved.members,
                undelivered,
            };
            let batch = InferenceBatch::of_decode_request(
                *next,
                (saved.model, saved.version),
                saved.requested,
                payload,
            );
            numbers.push(batch.id);
            generations.in_flight.insert(batch.id, in_flight);
            batches.push((batch, undelivered));
            *next = BatchId(next.0 + 1);
        }
        for saved in saved.open {
            if !is_known(saved.agent, saved.model) {
                return None;
            }
            let delta = match saved.delta {
                None => None,
                Some(delta) => Some(InFlightDelta {
                    requested: delta.requested,
                    batch: match delta.decode_request {
                        None => None,
                        Some(position) => Some(*numbers.get(usize::try_from(position).ok()?)?),
                    },
                    answer: delta.answer.map(Arc::new),
                    abandoned: delta.abandoned,
                }),
            };
            generations.open.push(Generation {
                model: saved.model,
                version: saved.version,
                agent: saved.agent,
                request: saved.request,
                body: saved.body.into(),
                tokens: match planted(Bug::ForgetTokens) {
                    true => Vec::new(),
                    false => saved.tokens,
                },
                deadline: saved.deadline,
                is_running: saved.is_running,
                reported_position: saved
                    .reported_position
                    .map(usize::try_from)
                    .transpose()
                    .ok()?,
                delta,
            });
        }
        Some((generations, batches))
    }
}
