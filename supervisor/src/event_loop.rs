//! The loop of a run: machine → hosts → machine, and every committed tick to a
//! [`Ledger`]. Live runs, runs that go on and replays differ in the ledger alone.
//!
//! * this file: the loop, and what the machine asks for;
//! * `station`: what the loop knows of one host;
//! * `hear`: what hosts say;
//! * `waits`: agents that wait within their steps;
//! * `engine`: batches and their answers;
//! * `watch`: how long hosts may be silent;
//! * `lose`, `comeback`, `redo`: a host that is lost, and how it comes back;
//! * `follow`: a machine that follows a journal;
//! * `snapshot`: asking agents for their state;
//! * `operator`: changes of models that somebody asks for;
//! * `inject`: faults on purpose.

mod awaits;
mod change_requests;
mod deadlines;
mod fault_injection;
mod host_failure;
mod host_slot;
mod hosts;
mod inbound;
mod inference;
mod inference_restart;
mod journal_follower;
mod ledger;
mod loaded_models;
mod model_changes;
mod reexecute;
mod restart;
mod send_queue;
mod snapshot;

pub use change_requests::{ChangeSource, PendingChange, ProbedVersion, ToBecome};
pub use hosts::{Hosts, InjectedSignal, RealHosts};
pub(crate) use journal_follower::JournalFollower;
pub use ledger::{BaseState, Ledger};

use crate::error::RunError;
use crate::faults::Faults;
use crate::fleet::OnLost;
use crate::host::HostSetError;
use crate::launch::HostConfig;
use crate::record::{RunHeader, Verdict};
use crate::recovery::{LossCause, RestartLimit, RestartLimits, RestartPolicy};
use crate::rundir::LaunchSettings;
use crate::tick::{Action, Input, RunEnd, TickMachine, Violation};
use deadlines::Deadlines;
use host_slot::{HostSlot, HostStage};
use inference::InFlightBatches;
use loaded_models::LoadedModels;
use model_changes::ModelChanges;
use restart::HostRestart;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::codec;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, Incarnation, Tick};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{STEPS, Step};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

/// How long hosts may take, and how often they may be lost.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a host that owes an answer counts as hung.
    pub deadline: Duration,
    /// Until a new agent host must have said that it is ready.
    pub agent_ready: Duration,
    /// Until a new inference host must have said that it is ready.
    pub inference_ready: Duration,
    /// For how long a host may be silent while it loads.
    pub load: Duration,
    /// How often hosts may be lost.
    pub limits: RestartLimits,
}

impl Timeouts {
    /// As a run was launched.
    #[must_use]
    pub fn of(launch: &LaunchSettings) -> Timeouts {
        let within = |restarts, seconds| RestartLimit {
            restarts,
            time: Duration::from_secs(seconds),
        };
        let restarts = &launch.restarts;
        Timeouts {
            deadline: Duration::from_millis(launch.deadline_ms),
            agent_ready: Duration::from_millis(launch.agent_ready_ms),
            inference_ready: Duration::from_millis(launch.inference_ready_ms),
            load: Duration::from_millis(launch.load_ms),
            limits: RestartLimits {
                host: within(restarts.host, restarts.host_seconds),
                run: within(restarts.run, restarts.run_seconds),
                quarantine_after: restarts.poison,
            },
        }
    }
}

/// The loop of a run.
pub struct EventLoop<'a> {
    hosts: &'a mut dyn Hosts,
    machine: TickMachine,
    header: &'a RunHeader,
    orders: &'a HostConfig,
    /// Why the state of an agent cannot be captured, for those of which it cannot.
    opaque: Vec<Option<String>>,
    ledger: &'a mut dyn Ledger,
    patience: Timeouts,
    policy: RestartPolicy,
    stations: Vec<HostSlot>,
    actions: Vec<Action>,
    queue: VecDeque<Action>,
    answering: InFlightBatches,
    held: LoadedModels,
    losing: OnLost,
    changing: ModelChanges<'a>,
    /// Verdicts of the time before this loop.
    lost: Vec<Verdict>,
    watch: Deadlines,
    faults: Faults,
    /// Once this tick is committed, it is to be seen to that a spare host stands ready.
    spare_is_due: Option<Tick>,
    /// The tick for which faults were armed last.
    opened: Tick,
    encoded: Vec<u8>,
}

impl<'a> EventLoop<'a> {
    /// A loop over hosts that were told to start.
    pub fn new(
        hosts: &'a mut dyn Hosts,
        mut machine: TickMachine,
        header: &'a RunHeader,
        orders: &'a HostConfig,
        ledger: &'a mut dyn Ledger,
        patience: Timeouts,
    ) -> EventLoop<'a> {
        // The first incarnations were started one after the other.
        let station = |number| HostSlot {
            incarnation: Incarnation(number),
            ..HostSlot::default()
        };
        let stations = (1..).take(hosts.count()).map(station).collect();
        let watch = Deadlines::new(hosts.clock());
        machine.quarantine_after(patience.limits.quarantine_after);
        EventLoop {
            hosts,
            spare_is_due: Some(machine.tick().next()),
            held: LoadedModels::new(
                header,
                machine.changed(),
                &orders.versions,
                machine.changes_models(),
            ),
            losing: OnLost::default(),
            changing: ModelChanges::default(),
            lost: Vec::new(),
            machine,
            header,
            orders,
            opaque: vec![None; header.agents.len()],
            ledger,
            policy: RestartPolicy::new(patience.limits),
            patience,
            stations,
            actions: Vec::new(),
            queue: VecDeque::new(),
            answering: InFlightBatches::default(),
            watch,
            faults: Faults::none(),
            opened: Tick::ZERO,
            encoded: Vec::new(),
        }
    }

    /// Says of which agents the state cannot be captured, and why.
    #[must_use]
    pub fn with_opaque_agents(mut self, opaque: &[Option<String>]) -> EventLoop<'a> {
        self.opaque = opaque.to_vec();
        self
    }

    /// Says what becomes of the run when who runs a model is gone.
    #[must_use]
    pub fn on_provider_lost(mut self, losing: OnLost) -> EventLoop<'a> {
        self.losing = losing;
        self
    }

    /// Who ran models and was found to be gone when the run was taken up again.
    #[must_use]
    pub fn with_initial_verdicts(mut self, lost: Vec<Verdict>) -> EventLoop<'a> {
        self.lost = lost;
        self
    }

    /// Runs the models as this header says, whatever a journal says of who has run them.
    #[must_use]
    pub fn with_header_override(mut self, present: &RunHeader) -> EventLoop<'a> {
        self.held = self.held.elsewhere(present);
        self
    }

    /// Lets faults be injected.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> EventLoop<'a> {
        self.faults = faults;
        self
    }

    /// Runs from where the machine is until it says that the run is over, or the ledger breaks it off: none then.
    ///
    /// # Errors
    /// [`RunError`]. Ticks that the ledger took stay committed.
    pub fn run(mut self) -> Result<Option<RunEnd>, RunError> {
        let committed = self.machine.tick();
        self.apply(Input::Begin)?;
        self.feed_results(committed)?;
        self.follow()
    }

    /// Goes on with a run whose machine has followed the journal to the open tick and asks for this in it. Agent hosts
    /// are ready and get their agents with their state; the engine has its models and gets what was not answered.
    ///
    /// # Errors
    /// As [`Drive::run`].
    pub fn resume(mut self, asked: Vec<Action>) -> Result<Option<RunEnd>, RunError> {
        self.queue.extend(asked);
        let lost_at = self.hosts.clock();
        for host in (0..self.hosts.agent_hosts()).map(HostId::from_index) {
            self.station(host).restart = Some(HostRestart::after_resume(lost_at));
            self.begin_loading(host)?;
        }
        for verdict in std::mem::take(&mut self.lost) {
            self.held.judge(&verdict);
            self.apply(Input::Verdict(verdict))?;
        }
        self.submit_open()?;
        self.follow()
    }

    fn follow(mut self) -> Result<Option<RunEnd>, RunError> {
        loop {
            while let Some(action) = self.queue.pop_front() {
                if let ControlFlow::Break(end) = self.perform(action)? {
                    return Ok(end);
                }
            }
            self.bring_versions()?;
            self.listen()?;
        }
    }

    /// Applies what cannot be a host's fault.
    fn apply(&mut self, input: Input) -> Result<(), RunError> {
        self.try_apply(input).map_err(RunError::Journaled)
    }

    fn try_apply(&mut self, input: Input) -> Result<(), Violation> {
        let applied = self.machine.apply(input, &mut self.actions);
        self.queue.extend(self.actions.drain(..));
        applied
    }

    fn perform(&mut self, action: Action) -> Result<ControlFlow<Option<RunEnd>>, RunError> {
        match action {
            Action::Step { host, tick, steps } => {
                self.pass_opened(tick);
                self.station(host).ask(tick, steps);
                self.send_steps(host)?;
            }
            Action::Answer { host, answers, .. } => self.answer(host, answers)?,
            Action::Infer(batch) => self.infer(&batch)?,
            Action::Checkpoint { tick, machine } => self.begin_snapshot(tick, machine)?,
            Action::Commit { tick, record } => {
                if self.ledger.commit(tick, &record)?.is_break() {
                    return Ok(ControlFlow::Break(None));
                }
                self.follow_moves(&record.verdicts)?;
                self.take_change_requests(tick)?;
                self.feed_results(tick)?;
                if self.hosts.stop_asked()? {
                    self.apply(Input::Stop)?;
                }
                if self.snapshot_is_due(tick) {
                    self.apply(Input::Checkpoint)?;
                }
            }
            Action::Proceed => self.apply(Input::Proceed)?,
            Action::Finish(end) => return Ok(ControlFlow::Break(Some(end))),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// After tick `committed`, gives the machine what the ledger has for the next one.
    fn feed_results(&mut self, committed: Tick) -> Result<(), RunError> {
        let results = self.ledger.results(committed.next())?;
        if !results.is_empty() {
            self.apply(Input::Journaled(results))?;
        }
        let awaited = self.ledger.awaited();
        if !awaited.is_empty() {
            self.apply(Input::Awaited(awaited))?;
        }
        Ok(())
    }

    fn station(&mut self, host: HostId) -> &mut HostSlot {
        &mut self.stations[host.index()]
    }

    /// Sends what was asked of a host in the open tick and was not sent to this incarnation: all of it, or the next
    /// step or answer alone if that is to tell which one it is that kills.
    fn send_steps(&mut self, host: HostId) -> Result<(), RunError> {
        let station = self.station(host);
        if !matches!(station.stage, HostStage::Serving) {
            return Ok(());
        }
        let range = station.next_steps();
        if range.is_empty() {
            return self.send_answers(host);
        }
        station.sent = range.end;
        let (tick, steps) = (station.tick, std::mem::take(&mut station.steps));
        let pushed = self
            .push_known_answers(host, tick, &steps[range.clone()])
            .and_then(|()| self.push_steps(host, tick, &steps[range]));
        self.station(host).steps = steps;
        self.handle_host_error(host, pushed)?;
        self.pass(FaultPoint::AfterStepsSent);
        Ok(())
    }

    /// Puts steps into the ring of a host. One record serves the usual case; steps that outgrow it are sent in halves.
    fn push_steps(&mut self, host: HostId, tick: Tick, steps: &[Step]) -> Result<(), LoopError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        codec::encode_into(&steps, &mut encoded);
        let most = self.hosts.most_payload_bytes(host);
        if encoded.len() > most && steps.len() > 1 {
            self.encoded = encoded;
            let (front, back) = steps.split_at(steps.len() / 2);
            self.push_steps(host, tick, front)?;
            return self.push_steps(host, tick, back);
        }
        let header = RecordHeader::new(STEPS, tick);
        let pushed = self.push(
            host,
            &header,
            encoded.len(),
            &mut std::iter::once(encoded.as_slice()),
        );
        self.encoded = encoded;
        pushed?;
        self.station(host).expect_replies(steps.len());
        self.hosts.notify(host);
        Ok(())
    }

    fn push(
        &mut self,
        host: HostId,
        header: &RecordHeader,
        bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), LoopError> {
        let outbound = &mut self.stations[host.index()].send_queue;
        outbound
            .push(self.hosts, host, header, bytes, parts)
            .map_err(|source| LoopError::Host(format!("its ring is broken: {source}")))
    }

    /// Trouble with a host is the end of its incarnation; any other is the end of the run.
    fn handle_host_error(
        &mut self,
        host: HostId,
        result: Result<(), LoopError>,
    ) -> Result<(), RunError> {
        match result {
            Ok(()) => Ok(()),
            Err(LoopError::Host(cause)) => self.fail_host(host, LossCause::Crash, &cause),
            Err(LoopError::Gone(cause)) => self.fail_host(host, LossCause::Outside, &cause),
            Err(LoopError::Run(error)) => Err(error),
        }
    }
}

/// What goes wrong while a host is dealt with.
enum LoopError {
    /// The host has broken the protocol: its incarnation ends.
    Host(String),
    /// The host is gone through no fault of its own, or nobody knows why: its incarnation ends.
    Gone(String),
    /// It ends the run.
    Run(RunError),
}

impl From<RunError> for LoopError {
    fn from(error: RunError) -> LoopError {
        LoopError::Run(error)
    }
}

impl From<HostSetError> for LoopError {
    fn from(error: HostSetError) -> LoopError {
        let is_machines = matches!(
            error,
            HostSetError::Failed {
                blame: Blame::Machine,
                ..
            }
        );
        match error {
            error if is_machines => LoopError::Gone(error.to_string()),
            HostSetError::Garbage { .. }
            | HostSetError::Decode { .. }
            | HostSetError::OutOfPlace { .. }
            | HostSetError::Version { .. }
            | HostSetError::Failed { .. } => LoopError::Host(error.to_string()),
            other => LoopError::Gone(other.to_string()),
        }
    }
}

impl From<Violation> for LoopError {
    fn from(violation: Violation) -> LoopError {
        LoopError::Host(format!("it broke the protocol: {violation}"))
    }
}
