//! The loss of a host: its incarnation ends, and it is decided what becomes of it.

use super::context::RunContext;
use super::host_slot::HostStage;
use super::host_slots::HostSlots;
use super::in_flight_batches::InFlightBatches;
use super::loaded_models::LoadedModels;
use super::restart::HostRestart;
use crate::error::RunError;
use crate::host::HostKind;
use crate::record::{QuarantineReason, Verdict};
use crate::recovery::{
    HostLoss, HostWork, LossCause, RecoveryDecision, RecoveryLimits, RestartPolicy, StopReason,
};
use crate::rundir::RunEvent;
use crate::tick::TickInput;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, BatchId, HostId, Tick};
use std::time::Duration;

/// What belongs to the incarnations of hosts, and is lost with them.
#[derive(Debug)]
pub(super) struct HostState {
    pub(super) slots: HostSlots,
    pub(super) batches: InFlightBatches,
    pub(super) models: LoadedModels,
}

/// Counts the losses of hosts and decides what becomes of them.
#[derive(Debug)]
pub(super) struct HostFailures {
    policy: RestartPolicy,
    /// Once this tick is committed, a hot standby is to be made ready.
    standby_due: Option<Tick>,
}

impl HostFailures {
    /// No host was lost; a hot standby is wanted once this tick is committed.
    pub(super) fn new(limits: RecoveryLimits, standby_due: Tick) -> HostFailures {
        HostFailures {
            policy: RestartPolicy::new(limits),
            standby_due: Some(standby_due),
        }
    }

    /// Makes a hot standby ready if one is wanted. It takes a while to start one, and nobody waits for it: the tick in
    /// which a host was lost comes first.
    pub(super) fn make_standby(&mut self, context: &mut RunContext<'_>, slots: &HostSlots) {
        let open = context.machine.tick();
        let is_due = self.standby_due.is_some_and(|tick| tick < open);
        if is_due && slots.all_serve() && context.hosts.ensure_standby() {
            self.standby_due = None;
        }
    }

    /// Ends the incarnation of a host and decides what becomes of it. `missed` is the key of the deadline that it has
    /// missed, if that is the cause.
    ///
    /// # Errors
    /// When the run stops.
    pub(super) fn fail(
        &mut self,
        context: &mut RunContext<'_>,
        state: &mut HostState,
        host: HostId,
        (cause, text): (LossCause, &str),
        missed: Option<&'static str>,
    ) -> Result<(), RunError> {
        let stderr_tail = context.hosts.end(host);
        let mut text = match stderr_tail.is_empty() {
            true => text.to_owned(),
            false => format!("{text}; last stderr output: {stderr_tail}"),
        };
        let counts = !context.faults.is_injected(host);
        let crashed = batch_at_work(context, state, host);
        let crashed = crashed.filter(|_| counts && cause == LossCause::Crash);
        if let Some(batch) = crashed {
            let crashes = context.machine.crashes(batch) + 1;
            let size = context.machine.requests_in(batch);
            text = format!("{text}; crash {crashes} on a batch of size {size}");
        }
        let (kind, tick) = (context.hosts.kind(host), context.machine.tick());
        self.standby_due = Some(tick);
        context.pass(FaultPoint::RecoveryStarted);
        context.ledger.event(RunEvent::HostLost {
            host,
            role: context.role(host),
            incarnation: state.slots.get(host).incarnation,
            tick,
            cause: text.clone(),
        })?;
        let now = context.hosts.clock();
        let work = work(context, state, host);
        let restart = &mut state.slots.get_mut(host).restart;
        let restart = restart.get_or_insert_with(|| HostRestart::after_loss(now, &text));
        restart.is_planned = false;
        restart.base = None;
        restart.reexecuted = 0;
        let loss = HostLoss {
            host,
            tick,
            cause,
            work,
            counts,
        };
        match self.policy.decide(&loss, now) {
            RecoveryDecision::Restart {
                after,
                one_step_at_a_time,
            } => {
                restart_at(context, state, host, now + after, one_step_at_a_time);
            }
            RecoveryDecision::Quarantine { crashes } => {
                self.quarantine(context, state, host, crashes, now)?;
            }
            RecoveryDecision::Stop(stop) => {
                return Err(limit_reached(context, host, stop, missed, text));
            }
        }
        if let Some(batch) = crashed {
            context.apply_own(TickInput::Crashed { batch })?;
        }
        match kind {
            HostKind::Inference => context.apply_own(TickInput::EngineLost),
            HostKind::Agents => Ok(()),
        }
    }

    /// Counts a loss for which nobody turns out to be guilty.
    ///
    /// # Errors
    /// When the run stops.
    pub(super) fn count(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        cause: &str,
    ) -> Result<(), RunError> {
        let now = context.hosts.clock();
        match self.policy.count(host, now) {
            Err(stop) => Err(limit_reached(context, host, stop, None, cause.to_owned())),
            Ok(_) => Ok(()),
        }
    }

    /// The open tick crashes the host again and again: the agent whose step does so is quarantined, and the host restarts
    /// without it.
    fn quarantine(
        &mut self,
        context: &mut RunContext<'_>,
        state: &mut HostState,
        host: HostId,
        crashes: u32,
        now: Duration,
    ) -> Result<(), RunError> {
        let [agent] = suspects(context, &state.slots, host)[..] else {
            let unknown = "repeated crashes that no step explains";
            self.count(context, host, unknown)?;
            restart_at(context, state, host, now, true);
            return Ok(());
        };
        // What was counted against the host was the agent's fault.
        self.policy.forget_losses(host, crashes - 1);
        restart_at(context, state, host, now, false);
        let reason = QuarantineReason::StepCrashesHost;
        context.apply_own(TickInput::Verdict(Verdict::Quarantined { agent, reason }))?;
        // There may be no agent left to restart for.
        restart_at(context, state, host, now, false);
        Ok(())
    }
}

/// The work of a host that may have crashed it.
pub(super) fn work(context: &RunContext<'_>, state: &HostState, host: HostId) -> HostWork {
    if !state.slots.is_serving(host) || state.slots.get(host).outstanding == 0 {
        return HostWork::Idle;
    }
    match (
        context.hosts.kind(host),
        batch_at_work(context, state, host),
    ) {
        (HostKind::Agents, _) => HostWork::Steps,
        (HostKind::Inference, None) => HostWork::Idle,
        (HostKind::Inference, Some(_)) => HostWork::Batch,
    }
}

/// The batch that the inference host works on: it answers them in the order of their numbers. None while it loads.
fn batch_at_work(context: &RunContext<'_>, state: &HostState, host: HostId) -> Option<BatchId> {
    let is_engine = context.hosts.kind(host) == HostKind::Inference;
    let serves = is_engine && state.slots.is_serving(host);
    let first = state.batches.first();
    first.filter(|_| serves && !state.models.is_loading())
}

/// Lets a host whose incarnation has ended restart at a time, or not at all if it has no agents any more.
pub(super) fn restart_at(
    context: &RunContext<'_>,
    state: &mut HostState,
    host: HostId,
    at: Duration,
    is_isolating: bool,
) {
    let is_engine = context.hosts.kind(host) == HostKind::Inference;
    if is_engine {
        state.batches.reset_after_crash();
        state.models.reset_after_crash();
    }
    let has_work = is_engine || context.living(host).next().is_some();
    let slot = state.slots.get_mut(host);
    slot.reset_after_crash();
    slot.is_isolating = is_isolating;
    slot.stage = match has_work {
        true => HostStage::Pausing(at),
        false => HostStage::Retired,
    };
}

/// Agents whose step may have crashed the host: they were asked, and have neither answered nor await a result.
fn suspects(context: &RunContext<'_>, slots: &HostSlots, host: HostId) -> Vec<AgentId> {
    let (slot, machine) = (slots.get(host), &context.machine);
    if slot.tick != machine.tick() {
        return Vec::new();
    }
    slot.steps[..slot.sent]
        .iter()
        .map(|step| step.agent)
        .filter(|agent| machine.outcome(*agent).is_none() && !machine.is_parked(*agent))
        .collect()
}

fn limit_reached(
    context: &RunContext<'_>,
    host: HostId,
    stop: StopReason,
    key: Option<&'static str>,
    cause: String,
) -> RunError {
    RunError::LimitReached {
        stop,
        kind: context.hosts.kind(host).to_string(),
        host,
        tick: context.machine.tick(),
        key,
        cause,
    }
}
