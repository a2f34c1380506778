//! Waits within the steps of one tick, and the rounds in which they are answered.
//!
//! A round begins when every agent of the tick is done or waits. What is waited
//! for then forms batches in schedule order, by the rules of all requests, and
//! once all of it is answered the agents go on in that order. So neither who
//! waited first nor who was answered first is observable.

use super::batch::{Batch, BatchBuilder, BatchRequest};
use super::plan::{PlannedModel, RunPlan};
use super::requests::{Next, admissible, parts, within};
use super::violation::Violation;
use crate::planted::{Bug, planted};
use crate::record::{ABANDONED, AwaitedRecord, TickRecord};
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, BatchId, ModelId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request for whose answer a step waits.
#[derive(Clone, Debug, PartialEq)]
pub struct AwaitedRequest {
    /// The model.
    pub model: ModelId,
    /// The inputs, in the model's order.
    pub inputs: Arc<Vec<Tensor>>,
}

impl AwaitedRequest {
    /// What an effect of a step has waited for, if it is of that kind.
    #[must_use]
    pub fn of(effect: &Effect) -> Option<AwaitedRequest> {
        match effect {
            Effect::Infer { model, inputs } => Some(AwaitedRequest {
                model: *model,
                inputs: Arc::clone(inputs),
            }),
            _ => None,
        }
    }

    /// As an outcome has it.
    #[must_use]
    pub fn effect(&self) -> Effect {
        Effect::Infer {
            model: self.model,
            inputs: Arc::clone(&self.inputs),
        }
    }
}

/// What one agent has waited for in the open tick.
#[derive(Debug, Default)]
pub(super) struct AgentAwaits {
    /// The last one is unanswered while the agent is parked.
    pub(super) asked: Vec<AwaitedRequest>,
    pub(super) answers: Vec<Arc<RequestResult>>,
    /// Answers that a journal has told.
    pub(super) told: Vec<Arc<RequestResult>>,
    /// Bytes of the answers.
    bytes: usize,
}

impl AgentAwaits {
    /// Gives the agent its next answer, or an error in its place if that takes the sum over the bound.
    pub(super) fn answer(
        &mut self,
        answer: Arc<RequestResult>,
        most_bytes: usize,
    ) -> Arc<RequestResult> {
        let answer = within(answer, &mut self.bytes, most_bytes);
        self.answers.push(Arc::clone(&answer));
        answer
    }

    /// Takes what an outcome has waited for and its host did not park for, because it had the answers that were told.
    pub(super) fn complete(&mut self, outcome: &Outcome) {
        let effects = outcome.effects.iter().filter_map(AwaitedRequest::of);
        self.asked.extend(effects.skip(self.asked.len()));
        let told = self.told.iter().skip(self.answers.len()).cloned();
        let missing = self.asked.len().saturating_sub(self.answers.len());
        let told: Vec<_> = told.take(missing).collect();
        self.answers.extend(told);
    }

    /// Takes everything as it is journaled.
    pub(super) fn take(&mut self, agent: AgentId) -> impl Iterator<Item = AwaitedRecord> {
        (self.told, self.bytes) = (Vec::new(), 0);
        let asked = std::mem::take(&mut self.asked);
        let answers = std::mem::take(&mut self.answers);
        let record = move |(asked, outcome): (AwaitedRequest, _)| AwaitedRecord {
            agent,
            model: asked.model,
            outcome,
        };
        asked.into_iter().zip(answers).map(record)
    }
}

/// What all agents wait for that wait at the same time.
#[derive(Debug)]
pub(super) struct Round {
    /// In schedule order.
    waits: Vec<PendingAwait>,
    /// Batches that the engine has not answered, with the crashes over each. The places of their members are positions
    /// among the waits.
    running: BTreeMap<BatchId, (Batch, u32)>,
}

#[derive(Debug)]
struct PendingAwait {
    agent: AgentId,
    model: ModelId,
    answer: Option<Arc<RequestResult>>,
}

/// One wait of a round that begins.
pub(super) struct StartedAwait {
    pub(super) agent: AgentId,
    pub(super) asked: AwaitedRequest,
    /// The answer, if it is known without the engine.
    pub(super) answer: Option<Arc<RequestResult>>,
}

impl Round {
    /// Begins a round with these waits, in schedule order. `next` is the number of the next batch.
    pub(super) fn begin(
        plan: &RunPlan,
        tick: Tick,
        mut begun: Vec<StartedAwait>,
        next: &mut BatchId,
    ) -> Round {
        // Batches find the bytes of their members in a record, as those of a committed tick do.
        let outcome = |begun: &StartedAwait| Outcome {
            agent: begun.agent,
            status: Status::Completed,
            fuel_used: 0,
            effects: vec![begun.asked.effect()],
        };
        let record = Arc::new(TickRecord {
            outcomes: begun.iter().map(outcome).collect(),
            ..TickRecord::default()
        });
        let mut former = BatchBuilder::new(tick, record, *next);
        for (position, begun) in begun.iter_mut().enumerate() {
            if begun.answer.is_some() {
                continue;
            }
            let model = begun.asked.model;
            let planned = plan.model(model).expect("checked when the wait came in");
            if let Err(reason) = answerable(planned, tick, &begun.asked.inputs) {
                begun.answer = Some(Arc::new(Err(reason)));
                continue;
            }
            let request = BatchRequest {
                outcome: position,
                effect: 0,
                slot: position,
                model,
                inputs: &begun.asked.inputs,
            };
            former.add(planned, &request);
        }
        let (batches, following) = former.finish();
        *next = following;
        let waiting = |begun: StartedAwait| PendingAwait {
            agent: begun.agent,
            model: begun.asked.model,
            answer: begun.answer,
        };
        Round {
            waits: begun.into_iter().map(waiting).collect(),
            running: batches
                .into_iter()
                .map(|batch| (batch.id, (batch, 0)))
                .collect(),
        }
    }

    /// The batches that the engine has not answered, in the order of their numbers.
    pub(super) fn running(&self) -> impl Iterator<Item = &Batch> {
        self.running.values().map(|(batch, _)| batch)
    }

    /// Whether a batch is one of this round.
    pub(super) fn has(&self, batch: BatchId) -> bool {
        self.running.contains_key(&batch)
    }

    /// Takes in what the engine answered.
    pub(super) fn answer(
        &mut self,
        plan: &RunPlan,
        batch: BatchId,
        outputs: RequestResult,
    ) -> Result<(), Violation> {
        let (running, _) = self
            .running
            .get(&batch)
            .ok_or(Violation::NoSuchBatch { batch })?;
        let model = plan.model(running.model).expect("a batch has a model");
        let answers = parts(model, running, outputs)?;
        for (member, answer) in running.members.iter().zip(answers) {
            self.waits[member.slot].answer = Some(answer);
        }
        self.running.remove(&batch);
        Ok(())
    }

    /// The inference host has crashed over a batch; a request that does so alone is abandoned after `most` crashes. Gives
    /// whose awaits are answered by that, and the model. Halves of a batch are numbered from `next` on.
    pub(super) fn crashed(
        &mut self,
        batch: BatchId,
        most: u32,
        next: &mut BatchId,
    ) -> Vec<(AgentId, ModelId)> {
        let Some((batch, crashes)) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let crashes = crashes + 1;
        match Next::after(crashes, batch.members.len(), most) {
            Next::Retry => {
                self.running.insert(batch.id, (batch, crashes));
                Vec::new()
            }
            Next::Divide => {
                self.running.insert(batch.id, (batch.clone(), crashes));
                self.divide(batch.id, next);
                Vec::new()
            }
            Next::Abandon => {
                let mut abandoned = Vec::new();
                for member in &batch.members {
                    let waiting = &mut self.waits[member.slot];
                    waiting.answer = Some(Arc::new(Err(ABANDONED.to_owned())));
                    abandoned.push((waiting.agent, waiting.model));
                }
                abandoned
            }
        }
    }

    /// Replaces a batch by its halves, numbered from `next` on.
    pub(super) fn divide(&mut self, batch: BatchId, next: &mut BatchId) -> Vec<Batch> {
        let Some((batch, crashes)) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let halves = batch.halves(batch.members.clone(), next);
        let counted = halves.iter().map(|half| (half.id, (half.clone(), crashes)));
        self.running.extend(counted);
        halves
    }

    /// A batch that is not answered.
    pub(super) fn batch(&self, batch: BatchId) -> Option<&Batch> {
        Some(&self.running.get(&batch)?.0)
    }

    /// Whether the inference host has crashed over a batch that is not answered.
    pub(super) fn is_searching(&self) -> bool {
        self.running.values().any(|(_, crashes)| *crashes > 0)
    }

    /// Crashes over a batch that is not answered.
    pub(super) fn crashes(&self, batch: BatchId) -> Option<u32> {
        Some(self.running.get(&batch)?.1)
    }

    /// Whether everything is answered. Also what nobody waits for any more, because the engine will answer it.
    pub(super) fn is_complete(&self) -> bool {
        self.running.is_empty()
    }

    /// The agents and their answers, in the order in which they go on.
    pub(super) fn end(self) -> Vec<(AgentId, Arc<RequestResult>)> {
        let answered = |waiting: PendingAwait| {
            let answer = waiting.answer.expect("the round is complete");
            (waiting.agent, answer)
        };
        let mut ended: Vec<_> = self.waits.into_iter().map(answered).collect();
        if planted(Bug::AnswerOfAnother)
            && let [.., (_, left), (_, right)] = &mut ended[..]
        {
            std::mem::swap(left, right);
        }
        ended
    }
}

/// Whether a wait may go to its model.
fn answerable(model: &PlannedModel, tick: Tick, inputs: &[Tensor]) -> Result<(), String> {
    // Its host tells the agent before it comes to this.
    if model.generator.is_some() {
        return Err(format!(
            "model {} writes over many ticks, and no step can wait for that",
            model.name
        ));
    }
    admissible(model, tick, inputs)
}
