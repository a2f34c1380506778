//! Awaits within the steps of one tick, and the rounds in which they are answered.
//!
//! A round begins when every agent of the tick is done or parked. Its awaits form batches in schedule order, by the
//! rules of all requests, and once all are answered the agents continue in that order. So neither the order of the
//! awaits nor that of the answers is observable.

use super::batch::{BatchBuilder, BatchRequest, InferenceBatch};
use super::plan::RunPlan;
use super::planned::PlannedModel;
use super::requests::{SearchStep, check_request, limit_answer, split_outputs};
use super::violation::Violation;
use crate::planted::{Bug, planted};
use crate::record::{ABANDONED, AwaitedRecord, TickRecord};
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, BatchId, ModelId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request that a step awaits.
#[derive(Clone, Debug, PartialEq)]
pub struct AwaitedRequest {
    /// The model.
    pub model: ModelId,
    /// The inputs, in the model's order.
    pub inputs: Arc<Vec<Tensor>>,
}

impl AwaitedRequest {
    /// The awaited request of an effect, if it has one.
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

    /// The effect in an outcome.
    #[must_use]
    pub fn effect(&self) -> Effect {
        Effect::Infer {
            model: self.model,
            inputs: Arc::clone(&self.inputs),
        }
    }
}

/// The awaits of one agent in the open tick.
#[derive(Debug, Default)]
pub(super) struct AgentAwaits {
    /// The requests; the last one is unanswered while the agent is parked.
    pub(super) requests: Vec<AwaitedRequest>,
    pub(super) answers: Vec<Arc<RequestResult>>,
    /// Answers from a journal.
    pub(super) recorded: Vec<Arc<RequestResult>>,
    /// Bytes of the answers.
    bytes: usize,
}

impl AgentAwaits {
    /// Gives the agent its next answer, or an error in its place if that takes the sum over the bound.
    pub(super) fn answer(
        &mut self,
        answer: Arc<RequestResult>,
        max_bytes: usize,
    ) -> Arc<RequestResult> {
        let answer = limit_answer(answer, &mut self.bytes, max_bytes);
        self.answers.push(Arc::clone(&answer));
        answer
    }

    /// Adds the awaits of an outcome for which the host did not park, because it had the recorded answers.
    pub(super) fn complete(&mut self, outcome: &Outcome) {
        let effects = outcome.effects.iter().filter_map(AwaitedRequest::of);
        self.requests.extend(effects.skip(self.requests.len()));
        let recorded = self.recorded.iter().skip(self.answers.len()).cloned();
        let missing = self.requests.len().saturating_sub(self.answers.len());
        let recorded: Vec<_> = recorded.take(missing).collect();
        self.answers.extend(recorded);
    }

    /// Takes the awaits as they are journaled.
    pub(super) fn take(&mut self, agent: AgentId) -> impl Iterator<Item = AwaitedRecord> {
        (self.recorded, self.bytes) = (Vec::new(), 0);
        let requests = std::mem::take(&mut self.requests);
        let answers = std::mem::take(&mut self.answers);
        let record = move |(request, outcome): (AwaitedRequest, _)| AwaitedRecord {
            agent,
            model: request.model,
            outcome,
        };
        requests.into_iter().zip(answers).map(record)
    }
}

/// The awaits of all parked agents.
#[derive(Debug)]
pub(super) struct Round {
    /// In schedule order.
    awaits: Vec<PendingAwait>,
    /// Batches that the engine has not answered, with the crashes over each. The slots of their members are positions
    /// among the awaits.
    running: BTreeMap<BatchId, (InferenceBatch, u32)>,
}

#[derive(Debug)]
struct PendingAwait {
    agent: AgentId,
    model: ModelId,
    answer: Option<Arc<RequestResult>>,
}

/// One await of a round that begins.
pub(super) struct StartedAwait {
    pub(super) agent: AgentId,
    pub(super) request: AwaitedRequest,
    /// The answer, if it is known without the engine.
    pub(super) answer: Option<Arc<RequestResult>>,
}

impl Round {
    /// Begins a round with these awaits, in schedule order. `next` is the number of the next batch.
    pub(super) fn begin(
        plan: &RunPlan,
        tick: Tick,
        mut started: Vec<StartedAwait>,
        next: &mut BatchId,
    ) -> Round {
        // Batches find the bytes of their members in a record, as those of a committed tick do.
        let outcome = |started: &StartedAwait| Outcome {
            agent: started.agent,
            status: Status::Completed,
            fuel_used: 0,
            effects: vec![started.request.effect()],
        };
        let record = Arc::new(TickRecord {
            outcomes: started.iter().map(outcome).collect(),
            ..TickRecord::default()
        });
        let mut builder = BatchBuilder::new(tick, record, *next);
        for (position, started) in started.iter_mut().enumerate() {
            if started.answer.is_some() {
                continue;
            }
            let model = started.request.model;
            let planned = plan.model(model).expect("checked when the wait came in");
            if let Err(reason) = check_await(planned, tick, &started.request.inputs) {
                started.answer = Some(Arc::new(Err(reason)));
                continue;
            }
            let request = BatchRequest {
                outcome: position,
                effect: 0,
                slot: position,
                model,
                inputs: &started.request.inputs,
            };
            builder.add(planned, &request);
        }
        let (batches, following) = builder.finish();
        *next = following;
        let waiting = |started: StartedAwait| PendingAwait {
            agent: started.agent,
            model: started.request.model,
            answer: started.answer,
        };
        Round {
            awaits: started.into_iter().map(waiting).collect(),
            running: batches
                .into_iter()
                .map(|batch| (batch.id, (batch, 0)))
                .collect(),
        }
    }

    /// The batches that the engine has not answered, in the order of their numbers.
    pub(super) fn running(&self) -> impl Iterator<Item = &InferenceBatch> {
        self.running.values().map(|(batch, _)| batch)
    }

    /// True if a batch is one of this round.
    pub(super) fn has(&self, batch: BatchId) -> bool {
        self.running.contains_key(&batch)
    }

    /// Applies an answer of the engine.
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
        let answers = split_outputs(model, running, outputs)?;
        for (member, answer) in running.members.iter().zip(answers) {
            self.awaits[member.slot].answer = Some(answer);
        }
        self.running.remove(&batch);
        Ok(())
    }

    /// Counts a crash of the inference host over a batch; a request that crashes it alone is abandoned after
    /// `max_crashes`. Gives the agents whose awaits are answered by that, and the model. Halves of a batch are numbered
    /// from `next` on.
    pub(super) fn count_crash(
        &mut self,
        batch: BatchId,
        max_crashes: u32,
        next: &mut BatchId,
    ) -> Vec<(AgentId, ModelId)> {
        let Some((batch, crashes)) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let crashes = crashes + 1;
        match SearchStep::after(crashes, batch.members.len(), max_crashes) {
            SearchStep::Retry => {
                self.running.insert(batch.id, (batch, crashes));
                Vec::new()
            }
            SearchStep::Divide => {
                self.running.insert(batch.id, (batch.clone(), crashes));
                self.divide(batch.id, next);
                Vec::new()
            }
            SearchStep::Abandon => {
                let mut abandoned = Vec::new();
                for member in &batch.members {
                    let waiting = &mut self.awaits[member.slot];
                    waiting.answer = Some(Arc::new(Err(ABANDONED.to_owned())));
                    abandoned.push((waiting.agent, waiting.model));
                }
                abandoned
            }
        }
    }

    /// Replaces a batch by its halves, numbered from `next` on.
    pub(super) fn divide(&mut self, batch: BatchId, next: &mut BatchId) -> Vec<InferenceBatch> {
        let Some((batch, crashes)) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let halves = batch.halves(batch.members.clone(), next);
        let counted = halves.iter().map(|half| (half.id, (half.clone(), crashes)));
        self.running.extend(counted);
        halves
    }

    /// A batch that is not answered.
    pub(super) fn batch(&self, batch: BatchId) -> Option<&InferenceBatch> {
        Some(&self.running.get(&batch)?.0)
    }

    /// True if the inference host has crashed over a batch that is not answered.
    pub(super) fn is_searching(&self) -> bool {
        self.running.values().any(|(_, crashes)| *crashes > 0)
    }

    /// Crashes over a batch that is not answered.
    pub(super) fn crashes(&self, batch: BatchId) -> Option<u32> {
        Some(self.running.get(&batch)?.1)
    }

    /// True if every batch is answered, also one that is not awaited any more, because the engine will answer it.
    pub(super) fn is_complete(&self) -> bool {
        self.running.is_empty()
    }

    /// The agents and their answers, in the order in which they continue.
    pub(super) fn end(self) -> Vec<(AgentId, Arc<RequestResult>)> {
        let answered = |waiting: PendingAwait| {
            let answer = waiting.answer.expect("the round is complete");
            (waiting.agent, answer)
        };
        let mut ended: Vec<_> = self.awaits.into_iter().map(answered).collect();
        if planted(Bug::AnswerOfAnother)
            && let [.., (_, left), (_, right)] = &mut ended[..]
        {
            std::mem::swap(left, right);
        }
        ended
    }
}

/// Checks that an awaited request may go to its model.
fn check_await(model: &PlannedModel, tick: Tick, inputs: &[Tensor]) -> Result<(), String> {
    // A sound host refuses this itself.
    if model.settings.generator.is_some() {
        return Err(format!(
            "model {} writes over many ticks, and no step can wait for that",
            model.name
        ));
    }
    check_request(model, tick, inputs)
}
