//! The event loop of a run: tick machine → hosts → tick machine, and every committed tick to a [`Ledger`]. Runs, resumed
//! runs and replays differ in the ledger alone.
//!
//! The loop hands what happens to its parts, none of which sees the loop. Each has its own state; what they share is the
//! `context`.
//!
//! * `context`: tick machine, hosts, ledger and fault points;
//! * `host_supervision`: what hosts are asked, what they say, and what becomes of those that fail;
//! * `host_slot`, `host_slots`, `send_queue`: what is known of each host, and what is sent down to it;
//! * `outcomes`: what steps come to and await; steps that are taken again are compared with what is known of them;
//! * `in_flight_batches`, `loaded_models`: what the inference host was asked, and what it has loaded;
//! * `model_changes`, [`ChangeSource`]: changes of models that somebody asks for;
//! * `deadlines`, [`Timeouts`]: how long hosts may be silent;
//! * `host_failures`, `restart`, `agent_restarts`, `engine_restart`, `reexecute`: the loss of a host and its restart;
//! * `journal_follower`: a tick machine that follows a journal;
//! * `snapshot`: agents are asked for their state.

mod agent_restarts;
mod change_requests;
mod context;
mod deadlines;
mod engine_restart;
mod error;
mod host_failures;
mod host_slot;
mod host_slots;
mod host_supervision;
mod hosts;
mod in_flight_batches;
mod journal_follower;
mod ledger;
mod loaded_models;
mod model_changes;
mod outcomes;
mod pacer;
mod reexecute;
mod restart;
mod send_queue;
mod snapshot;
mod timeouts;

pub use change_requests::{ChangeSource, PendingChange, ProbedVersion};
pub use hosts::{Hosts, InjectedSignal, RealHosts};
pub(crate) use journal_follower::JournalFollower;
pub use ledger::Ledger;
pub use pacer::PaceReport;
pub use timeouts::Timeouts;

use crate::error::RunError;
use crate::faults::Faults;
use crate::fleet::{OnProviderLost, Pace};
use crate::launch::HostConfig;
use crate::record::{RunHeader, Verdict};
use crate::tick::{RunEnd, TickAction, TickInput, TickMachine};
use context::RunContext;
use host_supervision::HostSupervision;
use model_changes::ModelChanges;
use pacer::Pacer;
use shm_protocol::id::{AgentId, Tick};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// The event loop of a run.
pub struct EventLoop<'a> {
    context: RunContext<'a>,
    hosts: HostSupervision,
    changes: ModelChanges<'a>,
    /// Verdicts of the time before this loop.
    initial_verdicts: Vec<Verdict>,
    pacer: Pacer,
    /// The actions that open a tick which waits for its time.
    unopened: VecDeque<TickAction>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopEnd {
    /// The reason.
    pub end: RunEnd,
    /// Agents that take no further steps, because a step failed or because they are quarantined.
    pub halted: Vec<AgentId>,
    /// Deviation of the ticks from their pace.
    pub pace: PaceReport,
}

impl LoopEnd {
    /// The end of a run whose machine has decided on it.
    pub(crate) fn of(machine: &TickMachine) -> Option<LoopEnd> {
        Some(LoopEnd {
            end: machine.end()?.clone(),
            halted: machine.halted_agents().collect(),
            pace: PaceReport::default(),
        })
    }
}

impl<'a> EventLoop<'a> {
    /// A loop over hosts that were told to start.
    pub fn new(
        hosts: &'a mut dyn Hosts,
        mut machine: TickMachine,
        header: &'a RunHeader,
        config: &'a HostConfig,
        ledger: &'a mut dyn Ledger,
        timeouts: Timeouts,
    ) -> EventLoop<'a> {
        machine.quarantine_after(timeouts.limits.quarantine_after);
        let mut context = RunContext::new(hosts, machine, header, config, ledger, timeouts);
        EventLoop {
            hosts: HostSupervision::new(&mut context),
            changes: ModelChanges::default(),
            initial_verdicts: Vec::new(),
            pacer: Pacer::new(Pace::Free),
            unopened: VecDeque::new(),
            context,
        }
    }

    /// Says of which agents the state cannot be captured, and why.
    #[must_use]
    pub fn with_opaque_agents(mut self, opaque: &[Option<String>]) -> EventLoop<'a> {
        self.hosts.agents.opaque = opaque.to_vec();
        self
    }

    /// Says what becomes of the run when the provider of a model is gone.
    #[must_use]
    pub fn on_provider_lost(mut self, on_lost: OnProviderLost) -> EventLoop<'a> {
        self.hosts.state.models.on_lost = on_lost;
        self
    }

    /// Takes in providers that were found to be gone when the run was resumed.
    #[must_use]
    pub fn with_initial_verdicts(mut self, verdicts: Vec<Verdict>) -> EventLoop<'a> {
        self.initial_verdicts = verdicts;
        self
    }

    /// Runs the models with the providers of this header, whatever a journal says of them.
    #[must_use]
    pub fn with_header_override(mut self, present: &RunHeader) -> EventLoop<'a> {
        self.hosts.state.models = self.hosts.state.models.with_header_override(present);
        self
    }

    /// Opens ticks at this pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> EventLoop<'a> {
        self.pacer = Pacer::new(pace);
        self
    }

    /// Lets faults be injected.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> EventLoop<'a> {
        self.context.faults = faults;
        self
    }

    /// Takes changes of models from somebody outside.
    #[must_use]
    pub fn with_change_source(mut self, source: &'a mut dyn ChangeSource) -> EventLoop<'a> {
        self.changes.source = Some(source);
        self
    }

    /// Runs from where the machine is until it says that the run is over, or the ledger breaks it off: none then.
    ///
    /// # Errors
    /// [`RunError`]. Ticks that the ledger took stay committed.
    pub fn run(mut self) -> Result<Option<LoopEnd>, RunError> {
        let committed = self.context.machine.tick();
        self.context.apply_own(TickInput::Begin)?;
        self.feed_results(committed)?;
        self.serve()
    }

    /// Resumes a run whose machine has followed the journal to the open tick and asks for this in it. Agent hosts are
    /// ready and get their agents with their state; the engine has its models and gets what was not answered.
    ///
    /// # Errors
    /// As [`EventLoop::run`].
    pub fn resume(mut self, asked: Vec<TickAction>) -> Result<Option<LoopEnd>, RunError> {
        self.context.queue.extend(asked);
        self.hosts.load_all_agents(&mut self.context)?;
        for verdict in std::mem::take(&mut self.initial_verdicts) {
            self.hosts.state.models.apply_verdict(&verdict);
            self.context.apply_own(TickInput::Verdict(verdict))?;
        }
        self.hosts.submit_all(&mut self.context)?;
        self.serve()
    }

    fn serve(mut self) -> Result<Option<LoopEnd>, RunError> {
        loop {
            while let Some(action) = self.next_action() {
                if let ControlFlow::Break(end) = self.perform(action)? {
                    let finished = LoopEnd::of(&self.context.machine).filter(|_| end.is_some());
                    return Ok(finished.map(|finished| LoopEnd {
                        pace: self.pacer.report,
                        ..finished
                    }));
                }
            }
            self.hosts.update_models(&mut self.context)?;
            self.context.ledger.idle()?;
            self.acknowledge_durable();
            let wait = match self.unopened.is_empty() {
                true => None,
                false => self.pacer.wait(self.context.hosts.clock()),
            };
            self.hosts.listen(&mut self.context, wait)?;
        }
    }

    /// The next action. The steps of a tick wait for its time, and the commit of the tick before, which may stand behind
    /// them in the queue, does not.
    fn next_action(&mut self) -> Option<TickAction> {
        if !self.unopened.is_empty() && self.opens() {
            return self.unopened.pop_front();
        }
        while let Some(action) = self.context.queue.pop_front() {
            let is_opening = matches!(action, TickAction::Step { .. } | TickAction::Proceed);
            if !is_opening || self.opens() {
                return Some(action);
            }
            self.unopened.push_back(action);
        }
        None
    }

    /// True if the open tick may open to the hosts now.
    fn opens(&mut self) -> bool {
        let context = &mut self.context;
        let (tick, now) = (context.machine.tick(), context.hosts.clock());
        self.pacer.opens(tick, now, context.machine.is_stopping())
    }

    fn perform(&mut self, action: TickAction) -> Result<ControlFlow<Option<RunEnd>>, RunError> {
        let context = &mut self.context;
        match action {
            TickAction::Step { host, tick, steps } => {
                self.hosts.step(context, host, tick, steps)?
            }
            TickAction::Answer { host, answers, .. } => {
                self.hosts.answer(context, host, answers)?
            }
            TickAction::Infer(batch) => self.hosts.infer(context, &batch)?,
            TickAction::Checkpoint { tick, machine } => {
                self.hosts.snapshot(context, tick, machine)?
            }
            TickAction::Commit { tick, record } => {
                if context.ledger.commit(tick, &record)?.is_break() {
                    return Ok(ControlFlow::Break(None));
                }
                self.after_commit(tick, &record.verdicts)?;
            }
            TickAction::Proceed => context.apply_own(TickInput::Proceed)?,
            TickAction::Finish(end) => return Ok(ControlFlow::Break(Some(end))),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn after_commit(&mut self, tick: Tick, verdicts: &[Verdict]) -> Result<(), RunError> {
        self.hosts.follow_verdicts(&mut self.context, verdicts)?;
        if self.changes.is_restart_due(tick) {
            self.hosts.renew_engine(&mut self.context);
        }
        self.acknowledge_durable();
        if self.hosts.can_change_models(&self.context) {
            self.changes
                .take_next(&mut self.context, &mut self.hosts.state.models)?;
        }
        self.feed_results(tick)?;
        if self.context.hosts.stop_asked()? {
            self.context.apply_own(TickInput::Stop)?;
        }
        // Not while a host restarts: what it would say of its agents' state is not what the others say.
        if self.hosts.state.slots.all_serve() && self.context.ledger.wants_snapshot(tick) {
            self.context.apply_own(TickInput::Checkpoint)?;
        }
        Ok(())
    }

    /// After tick `committed`, gives the machine what the ledger has for the next one.
    fn feed_results(&mut self, committed: Tick) -> Result<(), RunError> {
        let results = self.context.ledger.results(committed.next())?;
        if !results.is_empty() {
            self.context.apply_own(TickInput::Journaled(results))?;
        }
        let awaited = self.context.ledger.awaited();
        if !awaited.is_empty() {
            self.context.apply_own(TickInput::Awaited(awaited))?;
        }
        Ok(())
    }

    fn acknowledge_durable(&mut self) {
        if self.changes.awaits_durability() {
            let durable = self.context.ledger.durable();
            self.changes.acknowledge_durable(durable);
        }
    }
}
