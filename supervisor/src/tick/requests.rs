//! Inference requests between the tick that makes them and the tick that
//! delivers their results.
//!
//! Every request has a slot. A result that comes early waits in it; a step that
//! needs it waits for it. So when a result arrives is not observable.

mod answers;
mod delivery;
mod given_up;
mod saved;

pub(super) use answers::{parts, within};

use super::batch::{Batch, Former, Request};
use super::finite;
use super::foretold::Foretold;
use super::plan::{Plan, PlannedModel};
use super::texts::Texts;
use super::violation::Violation;
use crate::journal::record::TickRecord;
use crate::planted::{Bug, planted};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::Answer;
use shm_protocol::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
struct Slot {
    agent: AgentId,
    request: RequestId,
    model: ModelId,
    /// The tick in which it was made, and its position among the requests of that tick.
    asked: (Tick, usize),
    due: Tick,
    /// The batch that answers it; none once the slot is free. Slots are used again, and a batch must not answer who
    /// came after.
    batch: Option<BatchId>,
    answer: Option<Arc<Answer>>,
    /// The answer is that of a verdict, and no other one counts.
    given_up: bool,
    /// Nobody waits for it any more; it is freed when the answer comes.
    orphaned: bool,
}

/// A batch that the engine has not answered.
#[derive(Debug)]
struct Running {
    batch: Batch,
    /// Requests whose results were not delivered. They are delivered without the engine when a journal is followed.
    left: usize,
}

/// All requests whose results have not been delivered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Slots of each agent in the order of its requests.
    queues: Vec<Vec<usize>>,
    running: BTreeMap<BatchId, Running>,
    /// Batches that were given up while an engine may be at work on them: what it says of them counts for nothing.
    unwanted: BTreeSet<BatchId>,
    /// Shared with the rounds of the open tick.
    pub(super) next_batch: BatchId,
    /// The ticks in which they were made, from which they can be made again.
    sources: BTreeMap<Tick, Source>,
    /// What is known of batches that were given up. They never go to the engine.
    foretold: Foretold,
    /// Those to language models.
    texts: Texts,
}

/// A tick with requests that are not settled.
#[derive(Debug)]
struct Source {
    record: Arc<TickRecord>,
    /// The slot of each request of the tick in its order; none once it is delivered or nobody waits for it.
    slots: Vec<Option<usize>>,
    open: usize,
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
        plan: &Plan,
        tick: Tick,
        record: &Arc<TickRecord>,
    ) -> Vec<Batch> {
        let mut batches = self.submit_plain(plan, tick, record);
        batches.extend(self.submit_texts(plan, tick, record));
        batches
    }

    /// Takes in the requests to language models, and orders what every text grows by next.
    fn submit_texts(&mut self, plan: &Plan, tick: Tick, record: &TickRecord) -> Vec<Batch> {
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
        let mut batches = self.texts.order(plan, tick, &mut self.next_batch);
        batches.retain(|batch| {
            let members = self.texts.members(batch.id).unwrap_or_default();
            let Some(answer) = self.foretold.of_order(batch.model, tick, members) else {
                return true;
            };
            self.texts.give_up_order(batch.id, &answer);
            false
        });
        for batch in &batches {
            let left = self.texts.members(batch.id).unwrap_or_default().len();
            let batch = batch.clone();
            self.running.insert(batch.id, Running { batch, left });
        }
        batches
    }

    /// Takes in the requests to all other models and forms their batches.
    fn submit_plain(&mut self, plan: &Plan, tick: Tick, record: &Arc<TickRecord>) -> Vec<Batch> {
        let mut former = Former::new(tick, Arc::clone(record), self.next_batch);
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
                let slot = self.take_slot(Slot {
                    agent: agent_outcome.agent,
                    request: *request,
                    model: *model,
                    asked: (tick, slots.len()),
                    due,
                    batch: None,
                    answer: None,
                    given_up: false,
                    orphaned: false,
                });
                self.queues[agent_outcome.agent.index()].push(slot);
                slots.push(Some(slot));
                if let Err(reason) = admissible(planned, tick, inputs) {
                    let said = self.foretold.of_request(agent_outcome.agent, *request);
                    self.fill(slot, said.unwrap_or_else(|| Arc::new(Err(reason))));
                    continue;
                }
                former.add(
                    planned,
                    &Request {
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
                Source {
                    record,
                    slots,
                    open,
                },
            );
        }
        let (mut batches, next) = former.finish();
        self.next_batch = next;
        batches.retain(|batch| !self.is_given_up(batch));
        for batch in &batches {
            for member in &batch.members {
                self.slots[member.slot].batch = Some(batch.id);
            }
            let (left, running) = (batch.members.len(), batch.clone());
            let batch = running.id;
            self.running.insert(
                batch,
                Running {
                    batch: running,
                    left,
                },
            );
        }
        batches
    }

    /// Takes in what the engine answered. Gives the agents whose requests it answers, in commit order.
    pub(super) fn answer(
        &mut self,
        plan: &Plan,
        batch: BatchId,
        outputs: Answer,
    ) -> Result<Vec<AgentId>, Violation> {
        if self.unwanted.remove(&batch) {
            return Ok(Vec::new());
        }
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
            let (batch, left) = (running.batch.clone(), running.left);
            self.running.insert(batch.id, Running { batch, left });
        }
        let mut agents = Vec::with_capacity(running.batch.members.len());
        for (member, answer) in running.batch.members.iter().zip(answers) {
            let Slot {
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

    fn take_slot(&mut self, slot: Slot) -> usize {
        if let Some(position) = self.free.pop() {
            self.slots[position] = slot;
            return position;
        }
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn fill(&mut self, slot: usize, answer: Arc<Answer>) {
        if self.slots[slot].orphaned {
            self.slots[slot].batch = None;
            self.free.push(slot);
        } else {
            self.slots[slot].answer = Some(answer);
        }
    }
}

/// A batch goes without an answer: those of its slots for which nobody waits are free.
fn release(batch: &Batch, slots: &mut [Slot], free: &mut Vec<usize>) {
    for member in &batch.members {
        let held = &mut slots[member.slot];
        if held.orphaned && held.batch.take() == Some(batch.id) {
            free.push(member.slot);
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
