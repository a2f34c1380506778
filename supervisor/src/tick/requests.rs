//! Inference requests between the tick that makes them and the tick that
//! delivers their results.
//!
//! Every request has a slot. A result that comes early waits in it; a step that
//! needs it waits for it. So when a result arrives is not observable.

use super::batch::{Batch, Former, Member, Request, with_rows};
use super::finite;
use super::foretold::Foretold;
use super::plan::{Plan, PlannedModel};
use super::saved::{SavedRequests, SavedSource};
use super::texts::Texts;
use super::violation::Violation;
use crate::journal::record::{ResultRecord, TickRecord};
use crate::planted::{Bug, planted};
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::Answer;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
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
            self.texts.give_up(batch.model, tick, &answer);
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

    /// Answers everything that was asked of a model in a tick and is not delivered, answered or not: what was answered is
    /// not in the journal, and whoever goes on must come to the same. Gives the agents that wait for it.
    pub(super) fn give_up(&mut self, model: ModelId, asked: Tick, reason: &str) -> Vec<AgentId> {
        let answer: Arc<Answer> = Arc::new(Err(reason.to_owned()));
        let mut agents = Vec::new();
        for slot in self.queues.iter().flatten() {
            let held = &mut self.slots[*slot];
            if held.model == model && held.asked.0 == asked {
                (held.answer, held.given_up, held.batch) = (Some(Arc::clone(&answer)), true, None);
                agents.push(held.agent);
            }
        }
        agents.extend(self.texts.give_up(model, asked, &answer));
        let (slots, free) = (&mut self.slots, &mut self.free);
        self.running.retain(|_, running| {
            let is_other = running.batch.model != model || running.batch.tick != asked;
            if !is_other {
                release(&running.batch, slots, free);
            }
            is_other
        });
        agents
    }

    /// Tells what is known of batches that were given up.
    pub(super) fn foretell(&mut self, foretold: Foretold) {
        self.foretold = foretold;
    }

    /// What a wait within a step is answered, whatever the engine says.
    pub(super) fn foretold_wait(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<Answer>> {
        self.foretold.of_wait(tick, agent, number)
    }

    /// Whether a batch is known to be given up; its requests are answered then.
    fn is_given_up(&mut self, batch: &Batch) -> bool {
        if self.foretold.is_empty() {
            return false;
        }
        let asked = |member: &Member| {
            let Slot { agent, request, .. } = &self.slots[member.slot];
            (*agent, *request)
        };
        let members = batch.members.iter().map(asked);
        let Some(answer) = self.foretold.of_batch(batch.model, batch.tick, members) else {
            return false;
        };
        for member in &batch.members {
            self.fill(member.slot, Arc::clone(&answer));
        }
        true
    }

    /// Whether an agent has results due in a tick that have not come yet.
    pub(super) fn waits(&self, agent: AgentId, tick: Tick) -> bool {
        let late =
            |slot: &usize| self.slots[*slot].due <= tick && self.slots[*slot].answer.is_none();
        self.queues[agent.index()].iter().any(late) || self.texts.waits(agent, tick)
    }

    /// Takes the results that are due for an agent, in the order of its requests.
    ///
    /// What is over `most_bytes` in sum is replaced by an error, so that no step outgrows its record.
    pub(super) fn take(
        &mut self,
        agent: AgentId,
        tick: Tick,
        most_bytes: usize,
    ) -> Vec<ResultRecord> {
        let mut queue = std::mem::take(&mut self.queues[agent.index()]);
        let (mut results, mut settled) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        queue.retain(|slot| {
            if self.slots[*slot].due > tick {
                return true;
            }
            let held = &mut self.slots[*slot];
            let answer = held
                .answer
                .take()
                .expect("a step is only taken up when its results are there");
            let outcome = within(answer, &mut bytes, most_bytes);
            results.push(ResultRecord {
                agent,
                request: held.request,
                model: held.model,
                outcome,
            });
            settled.push((held.asked, held.batch.take()));
            self.free.push(*slot);
            false
        });
        self.queues[agent.index()] = queue;
        for (asked, batch) in settled {
            self.settle(asked);
            self.deliver(batch);
        }
        let fits = |answer| within(answer, &mut bytes, most_bytes);
        for piece in self.texts.take(agent, tick, fits) {
            self.deliver(piece.batch);
            results.push(ResultRecord {
                agent,
                request: piece.request,
                model: piece.model,
                outcome: piece.answer,
            });
        }
        results
    }

    /// Takes in what the engine answered. Gives the agents whose requests it answers, in commit order.
    pub(super) fn answer(
        &mut self,
        plan: &Plan,
        batch: BatchId,
        outputs: Answer,
    ) -> Result<Vec<AgentId>, Violation> {
        let running = self
            .running
            .get(&batch)
            .ok_or(Violation::NoSuchBatch { batch })?;
        if running.batch.is_order() {
            let agents = self.texts.answer(plan, batch, outputs)?;
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

    /// Takes in a result from the journal.
    pub(super) fn journaled(&mut self, tick: Tick, result: ResultRecord) -> Result<(), Violation> {
        let ResultRecord {
            agent,
            request,
            model,
            outcome,
        } = result;
        if self
            .texts
            .journaled(tick, (agent, request, model), &outcome)
        {
            return Ok(());
        }
        let queue = self
            .queues
            .get(agent.index())
            .map_or(&[][..], Vec::as_slice);
        let wanted = |slot: &&usize| {
            let held = &self.slots[**slot];
            held.request == request
                && held.model == model
                && held.due <= tick
                // What was given up is answered, and the journal says the same.
                && held.answer.as_ref().is_none_or(|answer| *answer == outcome)
        };
        let slot = *queue.iter().find(wanted).ok_or(Violation::NotRequested {
            agent,
            request,
            tick,
        })?;
        self.slots[slot].answer = Some(outcome);
        Ok(())
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

    /// Everything from which [`Requests::restore`] makes these requests again.
    pub(super) fn save(&self) -> SavedRequests {
        let source = |(tick, source): (&Tick, &Source)| SavedSource {
            tick: *tick,
            outcomes: requests_alone(&source.record),
            open: source.slots.iter().map(Option::is_some).collect(),
            given_up: self.given_up_of(source),
        };
        SavedRequests {
            sources: self.sources.iter().map(source).collect(),
            texts: self.texts.save(),
        }
    }

    /// The requests of a tick that were given up, by their position, and why.
    fn given_up_of(&self, source: &Source) -> Vec<(u64, String)> {
        let slots = source.slots.iter().flatten();
        let given_up = slots
            .map(|slot| &self.slots[*slot])
            .filter(|held| held.given_up);
        let reason = |held: &Slot| match held.answer.as_deref() {
            Some(Err(reason)) => Some((held.asked.1 as u64, reason.clone())),
            _ => None,
        };
        given_up.filter_map(reason).collect()
    }

    /// Requests as they were saved, but that none is answered by the engine: their batches have the same members as before. None
    /// when they do not fit the plan.
    pub(super) fn restore(plan: &Plan, saved: SavedRequests) -> Option<Requests> {
        let mut requests = Requests::new(plan.agents());
        for source in saved.sources {
            let record = Arc::new(TickRecord {
                outcomes: source.outcomes,
                ..TickRecord::default()
            });
            if !fits(plan, &record) {
                return None;
            }
            requests.submit_plain(plan, source.tick, &record);
            let slots = requests.sources.get(&source.tick)?.slots.clone();
            if slots.len() != source.open.len() {
                return None;
            }
            for (position, reason) in source.given_up {
                let slot = (*slots.get(usize::try_from(position).ok()?)?)?;
                let held = &mut requests.slots[slot];
                let answer: Arc<Answer> = Arc::new(Err(reason));
                (held.answer, held.given_up, held.batch) = (Some(answer), true, None);
            }
            let gone = slots
                .into_iter()
                .zip(source.open)
                .filter(|(_, open)| !open)
                .filter_map(|(slot, _)| slot);
            for slot in gone {
                let agent = requests.slots[slot].agent;
                requests.queues[agent.index()].retain(|held| *held != slot);
                requests.slots[slot].orphaned = true;
                requests.settle(requests.slots[slot].asked);
            }
        }
        let (texts, orders) = Texts::restore(plan, saved.texts, &mut requests.next_batch)?;
        requests.texts = texts;
        for (batch, left) in orders {
            requests.running.insert(batch.id, Running { batch, left });
        }
        // Nobody waits for what a batch without open members would give.
        let Requests {
            running,
            slots,
            free,
            texts,
            ..
        } = &mut requests;
        running.retain(|id, running| {
            if running.batch.is_order() {
                return texts.wants(*id);
            }
            let mut members = running.batch.members.iter();
            let is_open = members.any(|member| {
                let held = &slots[member.slot];
                !held.orphaned && !held.given_up
            });
            if !is_open {
                release(&running.batch, slots, free);
            }
            is_open
        });
        Some(requests)
    }

    /// A result of a batch is delivered. One that is still running was answered by a journal, and the engine need not
    /// answer it once all are.
    fn deliver(&mut self, batch: Option<BatchId>) {
        let Some(batch) = batch else {
            return;
        };
        if let Some(running) = self.running.get_mut(&batch) {
            running.left -= 1;
            if running.left == 0 {
                self.running.remove(&batch);
            }
        }
    }

    /// A request is delivered, or nobody waits for it any more.
    fn settle(&mut self, (tick, position): (Tick, usize)) {
        let Some(source) = self.sources.get_mut(&tick) else {
            return;
        };
        if source.slots[position].take().is_some() {
            source.open -= 1;
        }
        if source.open == 0 {
            self.sources.remove(&tick);
        }
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

/// The outcomes of a tick, with nothing in them but requests.
fn requests_alone(record: &TickRecord) -> Vec<Outcome> {
    let is_request = |effect: &&Effect| matches!(effect, Effect::Submit { .. });
    let alone = |outcome: &Outcome| Outcome {
        effects: outcome.effects.iter().filter(is_request).cloned().collect(),
        status: Status::Completed,
        ..*outcome
    };
    record
        .outcomes
        .iter()
        .filter(|outcome| outcome.effects.iter().any(|effect| is_request(&effect)))
        .map(alone)
        .collect()
}

/// Whether the agents and models of saved requests are those of the plan.
fn fits(plan: &Plan, record: &TickRecord) -> bool {
    record.outcomes.iter().all(|outcome| {
        outcome.agent.index() < plan.agents()
            && outcome.effects.iter().all(|effect| match effect {
                Effect::Submit { model, .. } => plan.model(*model).is_some(),
                _ => false,
            })
    })
}

/// The answer, or an error when it takes the sum over the bound.
pub(super) fn within(answer: Arc<Answer>, bytes: &mut usize, most_bytes: usize) -> Arc<Answer> {
    let size: usize = answer.as_ref().as_ref().map_or(0, |outputs| {
        outputs.iter().map(|tensor| tensor.data.len()).sum()
    });
    if bytes.saturating_add(size) > most_bytes {
        return Arc::new(Err(format!(
            "the results of this step are over {most_bytes} bytes with these {size}; ask for less in one tick"
        )));
    }
    *bytes += size;
    answer
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

/// What each member of a batch is answered.
pub(super) fn parts(
    model: &PlannedModel,
    batch: &Batch,
    outputs: Answer,
) -> Result<Vec<Arc<Answer>>, Violation> {
    if let Ok(outputs) = &outputs {
        check_outputs(batch.id, model, outputs)?;
    }
    let mut answers = split(batch, outputs);
    if model.rejects_nonfinite {
        for answer in &mut answers {
            let outputs = answer.as_ref().clone();
            *answer = Arc::new(finite::checked(&model.signature.outputs, outputs));
        }
    }
    Ok(answers)
}

/// What no sound engine host sends, whatever the model.
fn check_outputs(
    batch: BatchId,
    model: &PlannedModel,
    outputs: &[Tensor],
) -> Result<(), Violation> {
    let bad = |reason: String| Violation::BadAnswer {
        batch,
        model: model.name.clone(),
        reason,
    };
    let ports = &model.signature.outputs;
    if outputs.len() != ports.len() {
        return Err(bad(format!(
            "{} outputs instead of {}",
            outputs.len(),
            ports.len()
        )));
    }
    for (port, tensor) in ports.iter().zip(outputs) {
        if tensor.dtype != port.dtype {
            return Err(bad(format!(
                "{}{:?} as output {port}",
                tensor.dtype, tensor.shape
            )));
        }
        tensor.check().map_err(|error| bad(error.to_string()))?;
    }
    Ok(())
}

/// The part of each member in the outputs of a batch.
fn split(batch: &Batch, outputs: Answer) -> Vec<Arc<Answer>> {
    let outputs = match outputs {
        Ok(outputs) if batch.members.len() > 1 => outputs,
        whole => return shared(batch, whole),
    };
    let rows = batch.rows;
    if let Some(odd) = outputs
        .iter()
        .find(|tensor| tensor.shape.dims().first() != Some(&rows))
    {
        let reason = format!(
            "the model gave {}{:?} for {rows} joined rows; set `batch = false` for it",
            odd.dtype, odd.shape
        );
        return shared(batch, Err(reason));
    }
    let mut before = 0;
    let part_of = |member: &Member| {
        let part = outputs
            .iter()
            .map(|tensor| slice_rows(tensor, rows, before, member.rows))
            .collect();
        before += member.rows;
        Arc::new(Ok(part))
    };
    batch.members.iter().map(part_of).collect()
}

/// One answer for every member.
fn shared(batch: &Batch, answer: Answer) -> Vec<Arc<Answer>> {
    let answer = Arc::new(answer);
    batch.members.iter().map(|_| Arc::clone(&answer)).collect()
}

/// Rows `before..before + count` of a tensor of `rows` rows.
fn slice_rows(tensor: &Tensor, rows: u64, before: u64, count: u64) -> Tensor {
    let row_bytes = tensor.data.len()
        / usize::try_from(rows)
            .expect("checked against the data")
            .max(1);
    let at = |row: u64| usize::try_from(row).expect("within the data") * row_bytes;
    Tensor {
        dtype: tensor.dtype,
        shape: with_rows(&tensor.shape, count),
        data: tensor.data[at(before)..at(before + count)].to_vec(),
    }
}
