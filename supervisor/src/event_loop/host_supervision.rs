//! The supervision of all hosts: what they are asked, what they say, and what becomes of those that fail. The parts know
//! nothing of each other; this hands on what one has for another.

use super::agent_restarts::AgentRestarts;
use super::context::RunContext;
use super::deadlines::{self, Deadlines};
use super::engine_restart;
use super::error::LoopError;
use super::host_failures::{HostFailures, HostState, restart_at, work};
use super::host_slot::HostStage;
use super::host_slots::HostSlots;
use super::in_flight_batches::{BatchProgress, InFlightBatches};
use super::loaded_models::LoadedModels;
use super::outcomes;
use super::restart::HostRestart;
use super::snapshot::{self, SnapshotRequest};
use crate::error::RunError;
use crate::host::{HostEvent, HostKind, ending, is_crash};
use crate::planted::{Bug, planted};
use crate::record::Verdict;
use crate::recovery::{HostWork, LossCause};
use crate::tick::{InferenceBatch, TickInput};
use shm_protocol::agent_state::STATE;
use shm_protocol::agent_to_supervisor::AWAIT_REQUESTS;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, Tick};
use shm_protocol::inference_to_supervisor::MODEL_LOADED;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AwaitResult, Step};
use std::process::ExitStatus;
use std::time::Duration;

/// How long the supervisor sleeps at most while records wait for room in a ring.
const ROOM_TIMEOUT: Duration = Duration::from_millis(1);

/// The supervision of all hosts.
#[derive(Debug)]
pub(super) struct HostSupervision {
    /// What belongs to the incarnations of hosts.
    pub(super) state: HostState,
    pub(super) agents: AgentRestarts,
    failures: HostFailures,
    deadlines: Deadlines,
}

impl HostSupervision {
    /// Of hosts that were told to start.
    pub(super) fn new(context: &mut RunContext<'_>) -> HostSupervision {
        let machine = &context.machine;
        HostSupervision {
            state: HostState {
                slots: HostSlots::new(context.hosts.count()),
                batches: InFlightBatches::default(),
                models: LoadedModels::new(
                    context.header,
                    machine.plan_changes(),
                    &context.config.versions,
                    machine.changes_models(),
                ),
            },
            agents: AgentRestarts {
                opaque: vec![None; context.header.agents.len()],
            },
            failures: HostFailures::new(context.timeouts.limits, machine.tick().next()),
            deadlines: Deadlines::new(context.hosts.clock(), &context.timeouts),
        }
    }

    /// Loads the agents of hosts that are ready, each with its state.
    pub(super) fn load_all_agents(&mut self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let lost_at = context.hosts.clock();
        for host in (0..context.hosts.agent_hosts()).map(HostId::from_index) {
            self.state.slots.get_mut(host).restart = Some(HostRestart::after_resume(lost_at));
            let begun = self
                .agents
                .begin_loading(context, &mut self.state.slots, host);
            self.handle(context, host, begun)?;
        }
        Ok(())
    }

    /// Submits every batch that was not answered, if there is an inference host.
    pub(super) fn submit_all(&mut self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let Some(host) = context.hosts.inference_host() else {
            return Ok(());
        };
        let submitted = self.submit_open(context, host);
        self.handle(context, host, submitted)
    }

    /// Asks an agent host for the steps of a tick.
    pub(super) fn step(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        tick: Tick,
        steps: Vec<Step>,
    ) -> Result<(), RunError> {
        context.pass_opened(tick);
        self.state.slots.get_mut(host).ask(tick, steps);
        let sent = self.state.slots.send_steps(context, host);
        self.handle(context, host, sent)
    }

    /// Lets an agent host go on with agents that await these results.
    pub(super) fn answer(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        results: Vec<AwaitResult>,
    ) -> Result<(), RunError> {
        let sent = self.state.slots.answer(context, host, results);
        self.handle(context, host, sent)
    }

    /// Submits a batch. A replay without an inference host takes the results from the journal.
    pub(super) fn infer(
        &mut self,
        context: &mut RunContext<'_>,
        batch: &InferenceBatch,
    ) -> Result<(), RunError> {
        let Some(host) = context.hosts.inference_host() else {
            return Ok(());
        };
        let (slots, models) = (&mut self.state.slots, &mut self.state.models);
        let submitted = self
            .state
            .batches
            .submit(context, slots, models, host, batch);
        self.handle(context, host, submitted)
    }

    /// Tells the inference host which versions of models to load and which to let go.
    pub(super) fn update_models(&mut self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let Some(host) = context.hosts.inference_host() else {
            return Ok(());
        };
        let told = self
            .state
            .models
            .update(context, &mut self.state.slots, host);
        self.handle(context, host, told)
    }

    /// After a commit, follows what its verdicts say of models.
    pub(super) fn follow_verdicts(
        &mut self,
        context: &mut RunContext<'_>,
        verdicts: &[Verdict],
    ) -> Result<(), RunError> {
        for verdict in verdicts {
            let slots = &mut self.state.slots;
            let followed = self.state.models.follow_verdict(context, slots, verdict);
            if let Some(host) = context.hosts.inference_host() {
                self.handle(context, host, followed)?;
            }
        }
        Ok(())
    }

    /// True if a change of a model can be taken: not while an incarnation of the inference host loads models, because
    /// it finds them where they are now.
    pub(super) fn can_change_models(&self, context: &RunContext<'_>) -> bool {
        let is_serving = |host| self.state.slots.is_serving(host);
        let serves = context.hosts.inference_host().is_some_and(is_serving);
        serves && !self.state.models.is_loading()
    }

    /// Starts the inference host anew, unless it was lost since that was asked for.
    pub(super) fn renew_engine(&mut self, context: &mut RunContext<'_>) {
        let Some(host) = context.hosts.inference_host() else {
            return;
        };
        if !self.state.models.awaits_restart() {
            return;
        }
        context.hosts.retire_engine(host);
        let now = context.hosts.clock();
        let restart = HostRestart::as_planned(now, "a model was changed");
        self.state
            .slots
            .get_mut(host)
            .restart
            .get_or_insert(restart);
        restart_at(context, &mut self.state, host, now, false);
    }

    /// Asks all agents for their state after a tick.
    pub(super) fn snapshot(
        &mut self,
        context: &mut RunContext<'_>,
        tick: Tick,
        machine: Vec<u8>,
    ) -> Result<(), RunError> {
        if !self.state.slots.all_serve() {
            // One was lost since this was asked for; the next checkpoint will do.
            return Ok(());
        }
        let request = SnapshotRequest::begin(context, &self.agents, tick, machine);
        for host in &request.hosts {
            let sent = request.send(context, &mut self.state.slots, *host);
            self.handle(context, *host, sent)?;
        }
        context.pass(FaultPoint::CheckpointStarted);
        Ok(())
    }

    /// Waits for the next thing that happens, for at most `wait` if that is given, and lets it happen.
    pub(super) fn listen(
        &mut self,
        context: &mut RunContext<'_>,
        wait: Option<Duration>,
    ) -> Result<(), RunError> {
        self.advance_restarts(context)?;
        let slice = self.deadlines.slice();
        let mut timeout = wait.map_or(slice, |wait| wait.min(slice));
        for host in context.host_ids() {
            match self.state.slots.flush(context, host) {
                Ok(true) => timeout = timeout.min(ROOM_TIMEOUT),
                Ok(false) => {}
                Err(error) => self.handle(context, host, Err(error))?,
            }
        }
        if let Some(until) = self.state.slots.next_start() {
            timeout = timeout.min(until.saturating_sub(context.hosts.clock()));
        }
        let event = context.hosts.next(timeout)?;
        self.deadlines.count(context.hosts, &mut self.state.slots);
        self.on_event(context, event)?;
        self.check_deadlines(context)
    }

    /// Does what can be done for hosts that restart: starts those whose pause is over, and lets others go on.
    fn advance_restarts(&mut self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        self.failures.make_standby(context, &self.state.slots);
        for host in context.host_ids() {
            let advanced = match &self.state.slots.get(host).stage {
                HostStage::Pausing(until) if *until <= context.hosts.clock() => {
                    self.start_again(context, host)
                }
                HostStage::Reexecuting(_) => {
                    self.agents
                        .continue_reexecution(context, &mut self.state.slots, host)
                }
                _ => continue,
            };
            self.handle(context, host, advanced)?;
        }
        Ok(())
    }

    fn start_again(&mut self, context: &mut RunContext<'_>, host: HostId) -> Result<(), LoopError> {
        context.pass(FaultPoint::BeforeSpawn);
        let spawned = context.hosts.spawn(host);
        let incarnation = spawned.map_err(|error| LoopError::Gone(error.to_string()))?;
        let slot = self.state.slots.get_mut(host);
        if !planted(Bug::ReuseIncarnation) {
            slot.incarnation = incarnation;
        }
        slot.stage = HostStage::Starting;
        if context.hosts.is_ready(host) {
            return self
                .agents
                .begin_loading(context, &mut self.state.slots, host);
        }
        slot.expect_replies(1);
        Ok(())
    }

    /// Ends the incarnations that have missed their deadlines.
    fn check_deadlines(&mut self, context: &mut RunContext<'_>) -> Result<(), RunError> {
        let open = context.machine.tick();
        for host in context.host_ids() {
            let missed = deadlines::missed(
                self.state.slots.get_mut(host),
                context.hosts.kind(host),
                self.state.models.is_loading(),
                &context.timeouts,
                open,
            );
            if let Some(missed) = missed {
                self.fail(
                    context,
                    host,
                    (LossCause::Slow, &missed.text),
                    Some(missed.key),
                )?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, context: &mut RunContext<'_>, event: HostEvent) -> Result<(), RunError> {
        match event {
            HostEvent::Record { host, header } => {
                let heard = self.on_record(context, host, &header);
                self.handle(context, host, heard)
            }
            HostEvent::InvalidRing { host, violation } => {
                let text = format!("invalid ring data: {violation}");
                self.fail(context, host, (LossCause::Crash, &text), None)
            }
            HostEvent::Dying { host } => match context.hosts.ending_of(host) {
                Some(status) => self.on_exit(context, host, status),
                None => {
                    match work(context, &self.state, host) {
                        HostWork::Idle => self.fail(
                            context,
                            host,
                            (LossCause::Outside, "its process died"),
                            None,
                        ),
                        // It matters how it ended, which is told once its memory is torn down.
                        HostWork::Steps | HostWork::Batch => Ok(()),
                    }
                }
            },
            HostEvent::Exited { host, status } => self.on_exit(context, host, status),
            HostEvent::Fault { host, rule } => {
                context.on_fault(host, rule);
                Ok(())
            }
            HostEvent::StopRequested => context.apply_own(TickInput::Stop),
            HostEvent::TimedOut => Ok(()),
        }
    }

    fn on_exit(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        status: ExitStatus,
    ) -> Result<(), RunError> {
        let cause = match is_crash(status) {
            true => LossCause::Crash,
            false => LossCause::Outside,
        };
        self.fail(context, host, (cause, &ending(status)), None)
    }

    fn on_record(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let slots = &mut self.state.slots;
        let is_engine = context.hosts.kind(host) == HostKind::Inference;
        match (&slots.get(host).stage, is_engine) {
            (HostStage::Starting, _) => {
                context.hosts.complete_handshake(host, header)?;
                slots.get_mut(host).on_replies(1);
                match is_engine {
                    false => self.agents.begin_loading(context, slots, host),
                    true => engine_restart::begin(context, slots, host),
                }
            }
            (HostStage::Loading(_), false) => self.agents.on_loaded(context, slots, host, header),
            (HostStage::Loading(_), true) => {
                let models = &mut self.state.models;
                match engine_restart::on_loaded(context, slots, models, host, header)? {
                    true => self.engine_serves(context, host),
                    false => Ok(()),
                }
            }
            (_, true) if header.kind == MODEL_LOADED => {
                self.state.models.on_loaded(context, slots, host, header)
            }
            (_, true) => self.on_batch_record(context, host, header),
            (_, false) if header.kind == STATE => snapshot::on_state(context, slots, host, header),
            (_, false) if header.kind == AWAIT_REQUESTS => {
                outcomes::on_awaits(context, slots, host, header)
            }
            (_, false) => outcomes::on_outcomes(context, slots, host, header),
        }
    }

    fn on_batch_record(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let slots = &mut self.state.slots;
        let progress = self.state.batches.on_record(context, slots, host, header)?;
        let BatchProgress::Answered { crashes } = progress else {
            return Ok(());
        };
        if crashes == 1 {
            // It was not the batch.
            let cause = "it crashed on a batch that it has answered since";
            self.failures.count(context, host, cause)?;
        }
        slots.get_mut(host).on_replies(1);
        if self.state.batches.holds_back() {
            self.submit_open(context, host)?;
        }
        self.finish_engine_restart(context, host)
    }

    /// The engine has its models, and gets every batch that was not answered.
    fn engine_serves(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<(), LoopError> {
        self.submit_open(context, host)?;
        self.finish_engine_restart(context, host)
    }

    fn finish_engine_restart(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<(), LoopError> {
        match self.state.slots.get(host).outstanding {
            0 => Ok(self.state.slots.finish_restart(context, host)?),
            _ => Ok(()),
        }
    }

    fn submit_open(&mut self, context: &mut RunContext<'_>, host: HostId) -> Result<(), LoopError> {
        let slots = &mut self.state.slots;
        self.state
            .batches
            .submit_open(context, slots, &mut self.state.models, host)
    }

    /// What goes wrong with a host ends its incarnation; anything else ends the run.
    fn handle(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        result: Result<(), LoopError>,
    ) -> Result<(), RunError> {
        match result {
            Ok(()) => Ok(()),
            Err(LoopError::Host(text)) => self.fail(context, host, (LossCause::Crash, &text), None),
            Err(LoopError::Gone(text)) => {
                self.fail(context, host, (LossCause::Outside, &text), None)
            }
            Err(LoopError::Run(error)) => Err(error),
        }
    }

    fn fail(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        cause: (LossCause, &str),
        missed: Option<&'static str>,
    ) -> Result<(), RunError> {
        self.failures
            .fail(context, &mut self.state, host, cause, missed)
    }
}
