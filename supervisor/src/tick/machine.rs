//! The state of a run between inputs.

mod awaits;
mod commit;
mod host_input;
mod queries;
mod searching;

use super::action::{Action, Input};
use super::inbox::Inbox;
use super::order::is_due;
use super::plan::RunPlan;
use super::recorded_answers::RecordedAnswers;
use super::requests::Requests;
use super::rounds::{AgentAwaits, Round};
use super::saved::{SavedAgent, SavedMachine};
use super::violation::Violation;
use crate::planted::{Bug, planted};
use crate::record::{ResultRecord, Verdict};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, HostId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::{AgentEvent, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All ticks that were asked for are done.
    Finished,
    /// Somebody asked for it.
    Stopped,
    /// No agent takes any further step.
    AllHalted,
    /// A request did not fit its model, which says to stop then.
    Mismatch {
        /// Who made it.
        agent: AgentId,
        /// In which tick.
        tick: Tick,
        /// What the model takes and what it got.
        text: String,
    },
}

/// The bytes are not those of a machine with this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the saved state of the schedule does not fit this fleet")]
pub struct PlanMismatch;

/// What one agent is to the open tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AgentPhase {
    /// It does not step in this tick.
    Idle,
    /// It is due, but a result it needs has not come.
    Waiting,
    /// Its host was asked to step it.
    Asked,
    /// Its step waits for the answer to a request.
    Parked,
}

/// One agent between ticks.
#[derive(Debug)]
struct AgentState {
    standing: AgentPhase,
    halted: bool,
    inbox: Inbox,
    next_request: RequestId,
    outcome: Option<Outcome>,
    results: Vec<ResultRecord>,
    /// What its step has waited for.
    waits: AgentAwaits,
    /// The record in which an outcome or a wait of it was read last.
    read: u64,
    /// Requests of it that were abandoned.
    abandoned: u32,
}

/// The state of a run: (state, input) → (state, actions).
#[derive(Debug)]
pub struct TickMachine {
    plan: RunPlan,
    until: Option<Tick>,
    /// Crashes after which a request is abandoned, and requests abandoned after which their agent is quarantined.
    quarantine_after: u32,
    tick: Tick,
    agents: Vec<AgentState>,
    requests: Requests,
    /// Due agents of the open tick without an outcome, but for those that are parked.
    missing: usize,
    /// Agents that wait within their steps.
    parked: usize,
    /// What they wait for, once nobody is missing.
    round: Option<Round>,
    /// Whether waits are answered by an engine, and not by a journal alone.
    has_engine: bool,
    /// Records of outcomes and waits that were read, to tell them apart.
    reading: u64,
    stop_asked: bool,
    checkpoint_asked: bool,
    /// What was decided about the open tick from outside.
    verdicts: Vec<Verdict>,
    /// What is known to have been decided about a tick that is not open yet.
    foretold: BTreeMap<Tick, Vec<Verdict>>,
    /// Verdicts that have changed the plan, with their ticks.
    changed: Vec<(Tick, Verdict)>,
    end: Option<RunEnd>,
}

impl TickMachine {
    /// A machine before its first tick, which ends the run after tick `until` if there is one.
    #[must_use]
    pub fn new(plan: RunPlan, until: Option<Tick>) -> TickMachine {
        let agent = || AgentState {
            standing: AgentPhase::Idle,
            halted: false,
            inbox: Inbox::default(),
            next_request: RequestId(0),
            outcome: None,
            results: Vec::new(),
            waits: AgentAwaits::default(),
            read: 0,
            abandoned: 0,
        };
        let agents = (0..plan.agents()).map(|_| agent()).collect();
        let requests = Requests::new(plan.agents());
        TickMachine {
            plan,
            until,
            quarantine_after: u32::MAX,
            tick: Tick::ZERO,
            agents,
            requests,
            missing: 0,
            parked: 0,
            round: None,
            has_engine: true,
            reading: 0,
            stop_asked: false,
            checkpoint_asked: false,
            verdicts: Vec::new(),
            foretold: BTreeMap::new(),
            changed: Vec::new(),
            end: None,
        }
    }

    /// A machine as one was when it made [`Action::Checkpoint`]; [`Input::Begin`] opens the tick after that.
    ///
    /// # Errors
    /// When the bytes are not those of a machine with this plan.
    pub fn restore(
        plan: RunPlan,
        until: Option<Tick>,
        saved: &[u8],
    ) -> Result<TickMachine, PlanMismatch> {
        let saved = SavedMachine::decode(saved).ok_or(PlanMismatch)?;
        if saved.agents.len() != plan.agents() {
            return Err(PlanMismatch);
        }
        let mut machine = TickMachine::new(plan, until);
        machine.tick = saved.tick;
        for (tick, verdict) in saved.changed {
            if !planted(Bug::ForgetChanged) {
                machine.change_plan(tick, &verdict);
            }
        }
        for (agent, saved) in machine.agents.iter_mut().zip(saved.agents) {
            (agent.halted, agent.next_request) = (saved.halted, saved.next_request);
            agent.abandoned = saved.abandoned;
            agent.inbox = Inbox::holding(saved.inbox);
        }
        machine.requests = Requests::restore(&machine.plan, saved.requests).ok_or(PlanMismatch)?;
        // One that had decided to end has made no checkpoint after that, but it may be asked to end earlier now.
        machine.decide_end();
        Ok(machine)
    }

    fn save(&self) -> Vec<u8> {
        let agents = self.agents.iter().map(|agent| SavedAgent {
            halted: agent.halted,
            next_request: agent.next_request,
            abandoned: agent.abandoned,
            inbox: agent.inbox.events().to_vec(),
        });
        SavedMachine {
            tick: self.tick,
            agents: agents.collect(),
            requests: self.requests.save(),
            changed: self.changed.clone(),
        }
        .encode()
    }

    /// Tells of what was decided about a tick before it is opened: a machine that follows a journal takes the same
    /// turns, and never steps an agent that was given up in that very step.
    pub fn preload_verdicts(&mut self, tick: Tick, verdicts: Vec<Verdict>) {
        if !verdicts.is_empty() {
            self.foretold.insert(tick, verdicts);
        }
    }

    /// Tells the answers of a journal that the engine is not asked again, to a machine whose batches go to an engine.
    pub fn foretell_answers(&mut self, foretold: RecordedAnswers) {
        self.requests.foretell(foretold);
    }

    /// Lets the machine decide about requests that crash the inference host: each is abandoned after so many crashes,
    /// and an agent with so many abandoned requests is quarantined in the next tick. Without it, nothing is.
    pub fn quarantine_after(&mut self, times: u32) {
        self.quarantine_after = times.max(1);
    }

    /// Ends the run after this tick, or only when somebody asks for it.
    pub fn end_after(&mut self, until: Option<Tick>) {
        self.until = until;
    }

    /// Takes in what happened and appends what is to be done.
    ///
    /// # Errors
    /// [`Violation`] when no sound host can have said it. The machine is then as it was before.
    pub fn apply(&mut self, input: Input, actions: &mut Vec<Action>) -> Result<(), Violation> {
        if self.end.is_some() {
            return Ok(());
        }
        match input {
            Input::Begin => self.open(self.tick.next(), actions),
            Input::Proceed => self.proceed(actions),
            Input::Stop => self.stop_asked = true,
            Input::Checkpoint => self.checkpoint_asked = true,
            Input::Verdict(verdict) => {
                self.judge(verdict);
                self.proceed(actions);
            }
            Input::EngineLost => self.requests.drop_unwanted(),
            Input::Crashed { batch } => self.search(batch, actions),
            Input::Outcomes {
                host,
                tick,
                outcomes,
            } => {
                // A tick in which nobody is due is closed by `Proceed`, not by a host that says nothing.
                let says_nothing = outcomes.is_empty();
                self.take_outcomes(host, tick, outcomes)?;
                if !says_nothing {
                    self.proceed(actions);
                }
            }
            Input::Parked { host, tick, waits } => {
                self.take_waits(host, tick, waits)?;
                self.proceed(actions);
            }
            Input::Answer { batch, outputs } if self.is_for_nobody(batch, &outputs) => {
                self.divide_refused(batch, actions);
            }
            Input::Answer { batch, outputs } => {
                if let Some(round) = self.round.as_mut().filter(|round| round.has(batch)) {
                    round.answer(&self.plan, batch, outputs)?;
                    self.proceed(actions);
                    return Ok(());
                }
                let answered = self.requests.answer(&self.plan, batch, outputs)?;
                self.ask_ready(&answered, actions);
            }
            Input::Journaled(results) => {
                let agents: Vec<AgentId> = results.iter().map(|result| result.agent).collect();
                for result in results {
                    // What was answered without the engine needs nobody to tell it.
                    let held = self.agents.get(result.agent.index());
                    if !held.is_some_and(|held| held.results.contains(&result)) {
                        self.requests.journaled(self.tick, result)?;
                    }
                }
                self.ask_ready(&agents, actions);
            }
            Input::Awaited(awaited) => self.tell_awaited(awaited),
        }
        Ok(())
    }

    /// Lets a verdict take effect in the open tick.
    fn judge(&mut self, verdict: Verdict) {
        if let Verdict::Quarantined { agent, .. } = &verdict {
            let held = &mut self.agents[agent.index()];
            match held.standing {
                AgentPhase::Parked => self.parked -= 1,
                AgentPhase::Waiting | AgentPhase::Asked if held.outcome.is_none() => {
                    self.missing -= 1
                }
                _ => {}
            }
            // Whatever the step came to, it is taken back: a replay never takes it.
            held.standing = AgentPhase::Idle;
            held.outcome = None;
            held.results.clear();
            held.waits = AgentAwaits::default();
            self.halt(*agent);
        }
        if let Verdict::RequestAbandoned { agent, request, .. } = &verdict {
            self.agents[agent.index()].abandoned += 1;
            self.requests.exclude(*agent, *request);
        }
        self.verdicts.push(verdict);
    }

    /// The agent takes no further step, and nothing waits for it any more.
    fn halt(&mut self, agent: AgentId) {
        let held = &mut self.agents[agent.index()];
        held.halted = true;
        held.inbox.take();
        self.requests.forget(agent);
    }

    fn open(&mut self, tick: Tick, actions: &mut Vec<Action>) {
        self.tick = tick;
        // By what was abandoned until now: a journal tells now what is abandoned in this tick.
        let quarantines = self.quarantines();
        for verdict in self.foretold.remove(&tick).unwrap_or_default() {
            self.judge(verdict);
        }
        for verdict in quarantines {
            if !self.is_halted(verdict.order().1) {
                self.judge(verdict);
            }
        }
        let mut due = Vec::with_capacity(self.agents.len());
        for agent in self.plan.order() {
            let held = &mut self.agents[agent.index()];
            held.standing = AgentPhase::Idle;
            if !held.halted && is_due(self.plan.agent(*agent), tick) {
                held.standing = AgentPhase::Waiting;
                due.push(*agent);
            }
        }
        self.missing = due.len();
        self.ask_ready(&due, actions);
        if due.is_empty() {
            actions.push(Action::Proceed);
        }
    }

    /// Asks the hosts to step those of these agents that wait and whose results are there.
    fn ask_ready(&mut self, agents: &[AgentId], actions: &mut Vec<Action>) {
        let mut steps: BTreeMap<HostId, Vec<Step>> = BTreeMap::new();
        for agent in agents {
            let held = &mut self.agents[agent.index()];
            if held.standing != AgentPhase::Waiting || self.requests.waits(*agent, self.tick) {
                continue;
            }
            held.standing = AgentPhase::Asked;
            let taken = self
                .requests
                .take(*agent, self.tick, self.plan.step_bytes());
            held.results = taken.results;
            for verdict in taken.verdicts {
                self.judge(verdict);
            }
            let held = &mut self.agents[agent.index()];
            let mut events = held.inbox.take();
            events.extend(held.results.iter().map(|result| AgentEvent::Inference {
                request: result.request,
                model: result.model,
                outcome: Arc::clone(&result.outcome),
            }));
            let host = self.plan.agent(*agent).host;
            steps.entry(host).or_default().push(Step {
                agent: *agent,
                events,
            });
        }
        let tick = self.tick;
        actions.extend(
            steps
                .into_iter()
                .map(|(host, steps)| Action::Step { host, tick, steps }),
        );
    }

    /// Goes on with the open tick as far as it goes: to the next round, or to the next tick.
    fn proceed(&mut self, actions: &mut Vec<Action>) {
        while self.missing == 0 {
            match self.round.take() {
                Some(round) if round.is_complete() => self.end_round(round, actions),
                Some(round) => {
                    self.round = Some(round);
                    return;
                }
                None if self.parked > 0 => self.begin_round(actions),
                None => return self.close_and_open_next(actions),
            }
        }
    }

    fn close_and_open_next(&mut self, actions: &mut Vec<Action>) {
        let commit = self.close(actions);
        if let Some(end) = self.end.clone() {
            actions.extend([commit, Action::Finish(end)]);
            return;
        }
        if std::mem::take(&mut self.checkpoint_asked) {
            let (tick, machine) = (self.tick, self.save());
            actions.push(Action::Checkpoint { tick, machine });
        }
        // The next tick is opened before this one is journaled: hosts work
        // while the supervisor writes, and nothing they do is real before that.
        self.open(self.tick.next(), actions);
        actions.push(commit);
    }
}
