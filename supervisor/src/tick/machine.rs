//! The state of a run between inputs.

mod awaits;
mod checkpoint;
mod commit;
mod crash_search;
mod host_input;
mod queries;
mod steps;

pub use checkpoint::PlanMismatch;

use super::action::{TickAction, TickInput};
use super::inbox::Inbox;
use super::plan::RunPlan;
use super::recorded_answers::RecordedAnswers;
use super::requests::Requests;
use super::rounds::{AgentAwaits, Round};
use super::run_end::RunEnd;
use super::violation::Violation;
use crate::record::{ResultRecord, Verdict};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, RequestId, Tick};
use std::collections::BTreeMap;

/// The phase of one agent in the open tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AgentPhase {
    /// It does not step in this tick.
    Idle,
    /// It is due, but a result it needs is missing.
    Waiting,
    /// Its host was asked to step it.
    Stepping,
    /// Its step awaits the answer to a request.
    Parked,
}

/// One agent between ticks.
#[derive(Debug)]
struct AgentState {
    phase: AgentPhase,
    halted: bool,
    inbox: Inbox,
    next_request: RequestId,
    outcome: Option<Outcome>,
    results: Vec<ResultRecord>,
    /// The awaits of its step.
    awaits: AgentAwaits,
    /// The number of the last host record with an outcome or an await of it.
    last_record_read: u64,
    /// Requests of it that were abandoned.
    abandoned: u32,
}

/// The state of a run: (state, input) → (state, actions).
#[derive(Debug)]
pub struct TickMachine {
    plan: RunPlan,
    until: Option<Tick>,
    /// Crashes after which a request is abandoned, and abandoned requests after which their agent is quarantined.
    quarantine_after: u32,
    tick: Tick,
    agents: Vec<AgentState>,
    requests: Requests,
    /// Due agents of the open tick without an outcome, except parked ones.
    missing: usize,
    /// Agents that are parked within their steps.
    parked: usize,
    /// Their awaits, once no agent is missing.
    round: Option<Round>,
    /// True if awaits are answered by an engine, and not by a journal alone.
    has_engine: bool,
    /// Host records read so far, to tell them apart.
    records_read: u64,
    stop_requested: bool,
    checkpoint_requested: bool,
    /// The verdicts on the open tick.
    verdicts: Vec<Verdict>,
    /// Verdicts on ticks that are not open yet.
    preloaded_verdicts: BTreeMap<Tick, Vec<Verdict>>,
    /// Verdicts that changed the plan, with their ticks.
    plan_changes: Vec<(Tick, Verdict)>,
    end: Option<RunEnd>,
}

impl TickMachine {
    /// A machine before its first tick, which ends the run after tick `until` if there is one.
    #[must_use]
    pub fn new(plan: RunPlan, until: Option<Tick>) -> TickMachine {
        let agent = || AgentState {
            phase: AgentPhase::Idle,
            halted: false,
            inbox: Inbox::default(),
            next_request: RequestId(0),
            outcome: None,
            results: Vec::new(),
            awaits: AgentAwaits::default(),
            last_record_read: 0,
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
            records_read: 0,
            stop_requested: false,
            checkpoint_requested: false,
            verdicts: Vec::new(),
            preloaded_verdicts: BTreeMap::new(),
            plan_changes: Vec::new(),
            end: None,
        }
    }

    /// Preloads the verdicts on a tick before it is opened: a machine that follows a journal takes the same turns, and
    /// never steps an agent that was quarantined in that very step.
    pub fn preload_verdicts(&mut self, tick: Tick, verdicts: Vec<Verdict>) {
        if !verdicts.is_empty() {
            self.preloaded_verdicts.insert(tick, verdicts);
        }
    }

    /// Preloads answers of a journal that the engine is not asked for again, in a machine whose batches go to an
    /// engine.
    pub fn preload_answers(&mut self, recorded: RecordedAnswers) {
        self.requests.preload_answers(recorded);
    }

    /// Lets the machine decide about requests that crash the inference host: each is abandoned after this number of
    /// crashes, and an agent with this number of abandoned requests is quarantined in the next tick. Without it, no
    /// request is abandoned.
    pub fn quarantine_after(&mut self, times: u32) {
        self.quarantine_after = times.max(1);
    }

    /// Ends the run after this tick, or only when a stop is requested.
    pub fn end_after(&mut self, until: Option<Tick>) {
        self.until = until;
    }

    /// Applies an input and appends the actions that follow.
    ///
    /// # Errors
    /// [`Violation`] when no sound host can have sent it. The machine is then unchanged.
    pub fn apply(
        &mut self,
        input: TickInput,
        actions: &mut Vec<TickAction>,
    ) -> Result<(), Violation> {
        if self.end.is_some() {
            return Ok(());
        }
        match input {
            TickInput::Begin => self.open(self.tick.next(), actions),
            TickInput::Proceed => self.proceed(actions),
            TickInput::Stop => self.stop_requested = true,
            TickInput::Checkpoint => self.checkpoint_requested = true,
            TickInput::Verdict(verdict) => {
                self.apply_verdict(verdict);
                self.proceed(actions);
            }
            TickInput::EngineLost => self.requests.drop_unwanted(),
            TickInput::Crashed { batch } => self.handle_engine_crash(batch, actions),
            TickInput::Outcomes {
                host,
                tick,
                outcomes,
            } => {
                // A tick in which no agent is due is closed by `Proceed`, not by an empty record of a host.
                let says_nothing = outcomes.is_empty();
                self.accept_outcomes(host, tick, outcomes)?;
                if !says_nothing {
                    self.proceed(actions);
                }
            }
            TickInput::Parked { host, tick, awaits } => {
                self.accept_awaits(host, tick, awaits)?;
                self.proceed(actions);
            }
            TickInput::Answer { batch, outputs } if self.is_indivisible(batch, &outputs) => {
                self.divide_batch(batch, actions);
            }
            TickInput::Answer { batch, outputs } => {
                if let Some(round) = self.round.as_mut().filter(|round| round.has(batch)) {
                    round.answer(&self.plan, batch, outputs)?;
                    self.proceed(actions);
                    return Ok(());
                }
                let answered = self.requests.answer(&self.plan, batch, outputs)?;
                self.step_ready(&answered, actions);
            }
            TickInput::Journaled(results) => {
                let agents: Vec<AgentId> = results.iter().map(|result| result.agent).collect();
                for result in results {
                    // A result that was answered without the engine is there already.
                    let held = self.agents.get(result.agent.index());
                    if !held.is_some_and(|held| held.results.contains(&result)) {
                        self.requests.accept_journaled(self.tick, result)?;
                    }
                }
                self.step_ready(&agents, actions);
            }
            TickInput::Awaited(awaited) => self.preload_awaited(awaited),
        }
        Ok(())
    }

    /// Lets a verdict take effect in the open tick.
    fn apply_verdict(&mut self, verdict: Verdict) {
        if let Verdict::Quarantined { agent, .. } = &verdict {
            let held = &mut self.agents[agent.index()];
            match held.phase {
                AgentPhase::Parked => self.parked -= 1,
                AgentPhase::Waiting | AgentPhase::Stepping if held.outcome.is_none() => {
                    self.missing -= 1
                }
                _ => {}
            }
            // The outcome of the step is taken back: a replay never takes the step.
            held.phase = AgentPhase::Idle;
            held.outcome = None;
            held.results.clear();
            held.awaits = AgentAwaits::default();
            self.halt(*agent);
        }
        if let Verdict::RequestAbandoned { agent, request, .. } = &verdict {
            self.agents[agent.index()].abandoned += 1;
            self.requests.exclude(*agent, *request);
        }
        self.verdicts.push(verdict);
    }

    /// Halts an agent: it takes no further step, and its messages and requests are dropped.
    fn halt(&mut self, agent: AgentId) {
        let held = &mut self.agents[agent.index()];
        held.halted = true;
        held.inbox.take();
        self.requests.forget(agent);
    }

    /// Moves the open tick on as far as possible: to the next round, or to the next tick.
    fn proceed(&mut self, actions: &mut Vec<TickAction>) {
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

    fn close_and_open_next(&mut self, actions: &mut Vec<TickAction>) {
        let commit = self.close(actions);
        if let Some(end) = self.end.clone() {
            actions.extend([commit, TickAction::Finish(end)]);
            return;
        }
        if std::mem::take(&mut self.checkpoint_requested) {
            let (tick, machine) = (self.tick, self.save());
            actions.push(TickAction::Checkpoint { tick, machine });
        }
        // The next tick is opened before this one is journaled: hosts work
        // while the supervisor writes, and nothing they do is real before that.
        self.open(self.tick.next(), actions);
        actions.push(commit);
    }
}
