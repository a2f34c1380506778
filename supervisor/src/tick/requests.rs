//! Inference requests between the tick that makes them and the tick that
//! delivers their results.
//!
//! Every request has a slot. A result that comes early waits in it; a step that needs it waits for it. So the time of
//! arrival is not observable.

mod abandoned;
mod answers;
mod delivery;
mod saved;
mod search;

pub(super) use answers::{is_indivisible, limit_answer, split_outputs};
pub(super) use search::SearchStep;

use super::batch::{BatchBuilder, BatchRequest, InferenceBatch};
use super::finite;
use super::generations::Generations;
use super::plan::RunPlan;
use super::planned::PlannedModel;
use super::recorded_answers::RecordedAnswers;
use super::violation::Violation;
use crate::planted::{Bug, planted};
use crate::record::{ABANDONED, TickRecord};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
struct RequestSlot {
    agent: AgentId,
    request: RequestId,
    model: ModelId,
    /// The tick in which it was made, and its position among the requests of that tick.
    origin: (Tick, usize),
    due: Tick,
    /// The batch that answers it; none once the slot is free. Slots are reused, and a batch must not answer a later
    /// request.
    batch: Option<BatchId>,
    answer: Option<Arc<RequestResult>>,
    /// It crashes the engine; a verdict says so with the result.
    abandoned: bool,
    /// Its result is not awaited any more; the slot is freed when the answer comes.
    orphaned: bool,
}

/// A batch that the engine has not answered.
#[derive(Debug)]
struct RunningBatch {
    batch: InferenceBatch,
    /// Requests with undelivered results. They are delivered without the engine when a journal is followed.
    undelivered: usize,
    /// Crashes of the inference host over it.
    crashes: u32,
}

impl RunningBatch {
    fn new(batch: InferenceBatch, undelivered: usize) -> RunningBatch {
        RunningBatch {
            batch,
            undelivered,
            crashes: 0,
        }
    }
}

/// All requests whose results have not been delivered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<RequestSlot>,
    free: Vec<usize>,
    /// Slots of each agent in the order of its requests.
    queues: Vec<Vec<usize>>,
    running: BTreeMap<BatchId, RunningBatch>,
    /// Shared with the rounds of the open tick.
    pub(super) next_batch: BatchId,
    /// The ticks in which they were made, from which a checkpoint restores them.
    ticks: BTreeMap<Tick, TickRequests>,
    /// Answers of a journal that replace those of the engine.
    recorded: RecordedAnswers,
    /// Requests to language models.
    generations: Generations,
}

/// A tick with undelivered requests.
#[derive(Debug)]
struct TickRequests {
    record: Arc<TickRecord>,
    /// The slot of each request of the tick in its order; none once it is delivered or dropped.
    slots: Vec<Option<usize>>,
    undelivered: usize,
    /// Positions of requests that a verdict has abandoned. They are in no batch any more.
    abandoned: BTreeSet<usize>,
}

impl Requests {
    pub(super) fn new(agents: usize) -> Requests {
        Requests {
            queues: vec![Vec::new(); agents],
            ..Requests::default()
        }
    }

    /// Adds the requests of a committed tick and forms their batches.
    pub(super) fn submit(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        record: &Arc<TickRecord>,
    ) -> Vec<InferenceBatch> {
        let mut batches = self.submit_requests(plan, tick, record, BTreeSet::new());
        batches.extend(self.submit_generations(plan, tick, record));
        batches
    }

    /// Adds the requests to language models, and forms the decode requests of the tick.
    fn submit_generations(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        record: &TickRecord,
    ) -> Vec<InferenceBatch> {
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                if let Effect::Submit {
                    request,
                    model,
                    inputs,
                } = effect
                    && plan.is_generator(*model)
                {
                    let planned = plan.model(*model).expect("it is a language model");
                    let version = loaded_version(planned, tick);
                    let asked = (outcome.agent, *request, *model);
                    self.generations.add(tick, asked, version, inputs);
                }
            }
        }
        let recorded = &self.recorded;
        let is_abandoned = |generation| recorded.is_abandoned_delta(generation, tick);
        let batches =
            self.generations
                .decode_requests(plan, tick, is_abandoned, &mut self.next_batch);
        for batch in &batches {
            let left = self.generations.members(batch.id).unwrap_or_default().len();
            self.running
                .insert(batch.id, RunningBatch::new(batch.clone(), left));
        }
        batches
    }

    /// Adds the requests to all other models and forms their batches, without the abandoned ones at these positions.
    fn submit_requests(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        record: &Arc<TickRecord>,
        abandoned: BTreeSet<usize>,
    ) -> Vec<InferenceBatch> {
        let mut builder = BatchBuilder::new(tick, Arc::clone(record), self.next_batch);
        let mut slots = Vec::new();
        for (outcome, agent_outcome) in record.outcomes.iter().enumerate() {
            for (effect, what) in agent_outcome.effects.iter().enumerate() {
                let Effect::Submit {
                    request,
                    model,
                    inputs,
                } = what
                else {
                    continue;
                };
                let planned = plan
                    .model(*model)
                    .expect("checked when the outcome came in");
                if planned.settings.generator.is_some() {
                    continue;
                }
                let due = tick.plus(planned.settings.latency_ticks);
                let slot = self.take_slot(RequestSlot {
                    agent: agent_outcome.agent,
                    request: *request,
                    model: *model,
                    origin: (tick, slots.len()),
                    due,
                    batch: None,
                    answer: None,
                    abandoned: false,
                    orphaned: false,
                });
                let position = slots.len();
                self.queues[agent_outcome.agent.index()].push(slot);
                slots.push(Some(slot));
                if let Err(reason) = check_request(planned, tick, inputs) {
                    let recorded_answer = self.recorded.answer(agent_outcome.agent, *request);
                    self.fill(
                        slot,
                        recorded_answer.unwrap_or_else(|| Arc::new(Err(reason))),
                    );
                    continue;
                }
                if abandoned.contains(&position)
                    || self.recorded.is_abandoned(agent_outcome.agent, *request)
                {
                    self.fill(slot, Arc::new(Err(ABANDONED.to_owned())));
                    continue;
                }
                builder.add(
                    planned,
                    &BatchRequest {
                        outcome,
                        effect,
                        slot,
                        model: *model,
                        inputs,
                    },
                );
            }
        }
        if !slots.is_empty() {
            let open = slots.len();
            let record = Arc::clone(record);
            self.ticks.insert(
                tick,
                TickRequests {
                    record,
                    slots,
                    undelivered: open,
                    abandoned,
                },
            );
        }
        let (batches, next) = builder.finish();
        self.next_batch = next;
        for batch in &batches {
            for member in &batch.members {
                self.slots[member.slot].batch = Some(batch.id);
            }
            let running = RunningBatch::new(batch.clone(), batch.members.len());
            self.running.insert(batch.id, running);
        }
        batches
    }

    /// Applies an answer of the engine. Gives the agents whose requests it answers, in commit order.
    pub(super) fn answer(
        &mut self,
        plan: &RunPlan,
        batch: BatchId,
        outputs: RequestResult,
    ) -> Result<Vec<AgentId>, Violation> {
        let running = self
            .running
            .get(&batch)
            .ok_or(Violation::NoSuchBatch { batch })?;
        if running.batch.is_decode_request() {
            let recorded = |member, tick| self.recorded.delta(member, tick);
            let agents = self.generations.answer(plan, batch, outputs, recorded)?;
            self.running.remove(&batch);
            return Ok(agents);
        }
        let model = plan
            .model(running.batch.model)
            .expect("a running batch has a model");
        let answers = split_outputs(model, &running.batch, outputs)?;
        let running = self.running.remove(&batch).expect("it was there just now");
        if planted(Bug::AnswerTwice) {
            let again = RunningBatch::new(running.batch.clone(), running.undelivered);
            self.running.insert(batch, again);
        }
        let mut agents = Vec::with_capacity(running.batch.members.len());
        for (member, answer) in running.batch.members.iter().zip(answers) {
            let RequestSlot {
                agent,
                request,
                batch: of,
                ..
            } = self.slots[member.slot];
            if of == Some(batch) {
                agents.push(agent);
                let recorded_answer = self.recorded.answer(agent, request);
                self.fill(member.slot, recorded_answer.unwrap_or(answer));
            }
        }
        Ok(agents)
    }

    /// Forgets the requests of an agent that takes no further steps.
    pub(super) fn forget(&mut self, agent: AgentId) {
        self.generations.forget(agent);
        for slot in std::mem::take(&mut self.queues[agent.index()]) {
            self.release_request(self.slots[slot].origin);
            if self.slots[slot].answer.take().is_some() {
                self.slots[slot].batch = None;
                self.free.push(slot);
            } else {
                self.slots[slot].orphaned = true;
            }
        }
    }

    /// The unanswered batches, in the order of their numbers.
    pub(super) fn running(&self) -> impl Iterator<Item = &InferenceBatch> {
        self.running.values().map(|running| &running.batch)
    }

    /// The versions with incomplete generations.
    pub(super) fn generating_versions(&self) -> impl Iterator<Item = VersionId> + '_ {
        self.generations.active_versions()
    }

    fn take_slot(&mut self, slot: RequestSlot) -> usize {
        if let Some(position) = self.free.pop() {
            self.slots[position] = slot;
            return position;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn fill(&mut self, slot: usize, answer: Arc<RequestResult>) {
        if self.slots[slot].orphaned {
            self.slots[slot].batch = None;
            self.free.push(slot);
        } else {
            self.slots[slot].answer = Some(answer);
        }
    }
}

/// The version that answers requests of a tick, or the error when there is none.
fn loaded_version(model: &PlannedModel, tick: Tick) -> Result<VersionId, String> {
    let version = model.timeline.at(tick).version;
    version.ok_or_else(|| format!("model {} is not loaded in tick {tick}", model.name))
}

/// Checks that a request may go to the model in a tick.
pub(super) fn check_request(
    model: &PlannedModel,
    tick: Tick,
    inputs: &[Tensor],
) -> Result<(), String> {
    loaded_version(model, tick)?;
    match model.settings.rejects_nonfinite {
        true => finite::check("input", &model.signature.inputs, inputs),
        false => Ok(()),
    }
}
