//! What of open texts is kept with a checkpoint.

use super::{Generation, Generations, InFlightDelta, InFlightRequest};
use crate::planted::{Bug, planted};
use crate::tick::batch::Batch;
use crate::tick::plan::RunPlan;
use bincode::{Decode, Encode};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::sync::Arc;

/// All texts that are not complete. Answers of the engine are not kept: the same order gives the same pieces again.
#[derive(Debug, Default, Encode, Decode)]
pub(crate) struct SavedGenerations {
    open: Vec<SavedGeneration>,
    writing: Vec<SavedDecodeRequest>,
}

#[derive(Debug, Encode, Decode)]
struct SavedGeneration {
    model: ModelId,
    version: Option<VersionId>,
    agent: AgentId,
    request: RequestId,
    asked: Vec<u8>,
    tokens: Vec<u32>,
    until: Option<Tick>,
    runs: bool,
    told: Option<u64>,
    piece: Option<SavedDelta>,
}

#[derive(Debug, Encode, Decode)]
struct SavedDelta {
    asked: Tick,
    /// Position of its order among those that are saved.
    writing: Option<u64>,
    /// What the schedule has said.
    said: Option<RequestResult>,
    /// That is to be told with a verdict.
    abandoned: bool,
}

#[derive(Debug, Encode, Decode)]
struct SavedDecodeRequest {
    model: ModelId,
    version: VersionId,
    asked: Tick,
    order: Vec<u8>,
    members: Vec<(AgentId, RequestId)>,
    left: u64,
}

impl Generations {
    pub(crate) fn save(&self) -> SavedGenerations {
        let position = |batch: BatchId| {
            let found = self.writing.keys().position(|known| *known == batch);
            found.map(|position| position as u64)
        };
        let piece = |piece: &InFlightDelta| SavedDelta {
            asked: piece.asked,
            writing: piece.batch.and_then(position),
            said: match piece.batch {
                None => piece.answer.as_deref().cloned(),
                Some(_) => None,
            },
            abandoned: piece.abandoned,
        };
        let text = |text: &Generation| SavedGeneration {
            model: text.model,
            version: text.version,
            agent: text.agent,
            request: text.request,
            asked: text.asked.to_vec(),
            tokens: text.tokens.clone(),
            until: text.until,
            runs: text.runs,
            told: text.told.map(|told| told as u64),
            piece: text.piece.as_ref().map(piece),
        };
        let writing = |writing: &InFlightRequest| SavedDecodeRequest {
            model: writing.model,
            version: writing.version,
            asked: writing.asked,
            order: writing.order.to_vec(),
            members: writing.members.clone(),
            left: writing.left as u64,
        };
        SavedGenerations {
            open: self.open.iter().map(text).collect(),
            writing: self.writing.values().map(writing).collect(),
        }
    }

    /// Texts as they were saved, and the batches that are to be answered again, numbered from `next` on. None when they do not
    /// fit the plan.
    pub(crate) fn restore(
        plan: &RunPlan,
        saved: SavedGenerations,
        next: &mut BatchId,
    ) -> Option<(Generations, Vec<(Batch, usize)>)> {
        let is_known = |agent: AgentId, model: ModelId| {
            let planned = plan.model(model);
            agent.index() < plan.agents() && planned.is_some_and(|model| model.generator.is_some())
        };
        let (mut texts, mut numbers, mut batches) =
            (Generations::default(), Vec::new(), Vec::new());
        for held in saved.writing {
            let order: Arc<[u8]> = held.order.into();
            let left = usize::try_from(held.left).ok()?;
            let writing = InFlightRequest {
                model: held.model,
                version: held.version,
                asked: held.asked,
                order: Arc::clone(&order),
                members: held.members,
                left,
            };
            let batch = Batch::of_order(*next, (held.model, held.version), held.asked, order);
            numbers.push(batch.id);
            texts.writing.insert(batch.id, writing);
            batches.push((batch, left));
            *next = BatchId(next.0 + 1);
        }
        for held in saved.open {
            if !is_known(held.agent, held.model) {
                return None;
            }
            let piece = match held.piece {
                None => None,
                Some(piece) => Some(InFlightDelta {
                    asked: piece.asked,
                    batch: match piece.writing {
                        None => None,
                        Some(position) => Some(*numbers.get(usize::try_from(position).ok()?)?),
                    },
                    answer: piece.said.map(Arc::new),
                    abandoned: piece.abandoned,
                }),
            };
            texts.open.push(Generation {
                model: held.model,
                version: held.version,
                agent: held.agent,
                request: held.request,
                asked: held.asked.into(),
                tokens: match planted(Bug::ForgetTokens) {
                    true => Vec::new(),
                    false => held.tokens,
                },
                until: held.until,
                runs: held.runs,
                told: held.told.map(usize::try_from).transpose().ok()?,
                piece,
            });
        }
        Some((texts, batches))
    }
}
