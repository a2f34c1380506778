//! Inference requests between the tick that makes them and the tick that
//! delivers their results.
//!
//! Every request has a slot. A result that comes early waits in it; a step that
//! needs it waits for it. So when a result arrives is not observable.

mod abandoned;
mod answers;
mod delivery;
mod saved;
mod search;

pub(super) use answers::{is_for_nobody, parts, within};
pub(super) use search::Next;

use super::batch::{Batch, BatchBuilder, BatchRequest};
use super::finite;
use super::generations::Generations;
use super::plan::{PlannedModel, RunPlan};
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
    asked: (Tick, usize),
    due: Tick,
    /// The batch that answers it; none once the slot is free. Slots are used again, and a batch must not answer who
    /// came after.
    batch: Option<BatchId>,
    answer: Option<Arc<RequestResult>>,
    /// It crashes the engine, which is to be told by a verdict with the result.
    abandoned: bool,
    /// Nobody waits for it any more; it is freed when the answer comes.
    orphaned: bool,
}

/// A batch that the engine has not answered.
#[derive(Debug)]
struct RunningBatch {
    batch: Batch,
    /// Requests whose results were not delivered. They are delivered without the engine when a journal is followed.
    left: usize,
    /// Crashes of the inference host over it.
    crashes: u32,
}

impl RunningBatch {
    fn new(batch: Batch, left: usize) -> RunningBatch {
        RunningBatch {
            batch,
            left,
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
    /// The ticks in which they were made, from which they can be made again.
    sources: BTreeMap<Tick, TickRequests>,
    /// Answers that a journal has told, which are not asked of the engine again.
    foretold: RecordedAnswers,
    /// Those to language models.
    texts: Generations,
}

/// A tick with requests that are not settled.
#[derive(Debug)]
struct TickRequests {
    record: Arc<TickRecord>,
    /// The slot of each request of the tick in its order; none once it is delivered or nobody waits for it.
    slots: Vec<Option<usize>>,
    open: usize,
    /// Positions of requests that a verdict has told to be abandoned. They are in no batch any more.
    abandoned: BTreeSet<usize>,
}

impl Requests {
    pub(super) fn new(agents: usize) -> Requests {
        Requests {
            queues: vec![Vec::new(); agents],
            ..Requests::default()
        }
    }

    /// Takes in the requests of a committed tick and forms their batches.
    pub(super) fn submit(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        record: &Arc<TickRecord>,
    ) -> Vec<Batch> {
        let mut batches = self.submit_plain(plan, tick, record, BTreeSet::new());
        batches.extend(self.submit_texts(plan, tick, record));
        batches
    }

    /// Takes in the requests to language models, and orders what every text grows by next.
    fn submit_texts(&mut self, plan: &RunPlan, tick: Tick, record: &TickRecord) -> Vec<Batch> {
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
                    let version = loaded(planned, tick);
                    let asked = (outcome.agent, *request, *model);
                    self.texts.ask(tick, asked, version, inputs);
                }
            }
        }
        let foretold = &self.foretold;
        let is_abandoned = |text| foretold.is_abandoned_order(text, tick);
        let batches = self
            .texts
            .order(plan, tick, is_abandoned, &mut self.next_batch);
        for batch in &batches {
            let left = self.texts.members(batch.id).unwrap_or_default().len();
            self.running
                .insert(batch.id, RunningBatch::new(batch.clone(), left));
        }
        batches
    }

    /// Takes in the requests to all other models and forms their batches, without the abandoned ones at these positions.
    fn submit_plain(
        &mut self,
        plan: &RunPlan,
        tick: Tick,
        record: &Arc<TickRecord>,
        abandoned: BTreeSet<usize>,
    ) -> Vec<Batch> {
        let mut former = BatchBuilder::new(tick, Arc::clone(record), self.next_batch);
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
                if planned.generator.is_some() {
                    continue;
                }
                let due = tick.plus(planned.latency_ticks);
                let slot = self.take_slot(RequestSlot {
                    agent: agent_outcome.agent,
                    request: *request,
                    model: *model,
                    asked: (tick, slots.len()),
                    due,
                    batch: None,
                    answer: None,
                    abandoned: false,
                    orphaned: false,
                });
                let position = slots.len();
                self.queues[agent_outcome.agent.index()].push(slot);
                slots.push(Some(slot));
                if let Err(reason) = admissible(planned, tick, inputs) {
                    let said = self.foretold.of_request(agent_outcome.agent, *request);
                    self.fill(slot, said.unwrap_or_else(|| Arc::new(Err(reason))));
                    continue;
                }
                if abandoned.contains(&position)
                    || self.foretold.is_abandoned(agent_outcome.agent, *request)
                {
                    self.fill(slot, Arc::new(Err(ABANDONED.to_owned())));
                    continue;
                }
                former.add(
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
            self.sources.insert(
                tick,
                TickRequests {
                    record,
                    slots,
                    open,
                    abandoned,
                },
            );
        }
        let (batches, next) = former.finish();
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

    /// Takes in what the engine answered. Gives the agents whose requests it answers, in commit order.
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
        if running.batch.is_order() {
            let known = |member, asked| self.foretold.of_piece(member, asked);
            let agents = self.texts.answer(plan, batch, outputs, known)?;
            self.running.remove(&batch);
            return Ok(agents);
        }
        let model = plan
            .model(running.batch.model)
            .expect("a running batch has a model");
        let answers = parts(model, &running.batch, outputs)?;
        let running = self.running.remove(&batch).expect("it was there just now");
        if planted(Bug::AnswerTwice) {
            let again = RunningBatch::new(running.batch.clone(), running.left);
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
                let said = self.foretold.of_request(agent, request);
                self.fill(member.slot, said.unwrap_or(answer));
            }
        }
        Ok(agents)
    }

    /// Forgets the requests of an agent that takes no further steps.
    pub(super) fn forget(&mut self, agent: AgentId) {
        self.texts.forget(agent);
        for slot in std::mem::take(&mut self.queues[agent.index()]) {
            self.settle(self.slots[slot].asked);
            if self.slots[slot].answer.take().is_some() {
                self.slots[slot].batch = None;
                self.free.push(slot);
            } else {
                self.slots[slot].orphaned = true;
            }
        }
    }

    /// The batches that were not answered, in the order of their numbers.
    pub(super) fn running(&self) -> impl Iterator<Item = &Batch> {
        self.running.values().map(|running| &running.batch)
    }

    /// The versions that write texts which are not complete.
    pub(super) fn writers(&self) -> impl Iterator<Item = VersionId> + '_ {
        self.texts.writers()
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

/// The version that answers what is asked in a tick, or what is answered without one.
fn loaded(model: &PlannedModel, tick: Tick) -> Result<VersionId, String> {
    let version = model.lives.at(tick).version;
    version.ok_or_else(|| format!("model {} is not loaded in tick {tick}", model.name))
}

/// Whether inputs may go to the model in a tick.
pub(super) fn admissible(
    model: &PlannedModel,
    tick: Tick,
    inputs: &[Tensor],
) -> Result<(), String> {
    loaded(model, tick)?;
    match model.rejects_nonfinite {
        true => finite::check("input", &model.signature.inputs, inputs),
        false => Ok(()),
    }
}
