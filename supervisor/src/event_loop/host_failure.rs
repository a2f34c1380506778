//! A host is lost: its incarnation ends, and it is decided what becomes of it.

use super::EventLoop;
use super::host_slot::HostStage;
use super::restart::HostRestart;
use crate::error::RunError;
use crate::host::HostKind;
use crate::record::{QuarantineReason, Verdict};
use crate::recovery::{HostLoss, HostWork, LossCause, RecoveryDecision, StopReason};
use crate::rundir::RunEvent;
use crate::rundir::events::{AGENTS, INFERENCE};
use crate::tick::Input;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, BatchId, HostId};
use std::time::Duration;

impl EventLoop<'_> {
    /// Ends the incarnation of a host and decides what becomes of it.
    pub(super) fn fail_host(
        &mut self,
        host: HostId,
        cause: LossCause,
        text: &str,
    ) -> Result<(), RunError> {
        let stderr_tail = self.hosts.end(host);
        let text = if stderr_tail.is_empty() {
            text.to_owned()
        } else {
            format!("{text}; last stderr output: {stderr_tail}")
        };
        let counts = !self.faults.is_injected(host);
        let crashed = self.batch_at_work(host);
        let crashed = crashed.filter(|_| counts && cause == LossCause::Crash);
        let text = match crashed {
            Some(batch) => {
                let crashes = self.machine.crashes(batch) + 1;
                let size = self.machine.requests_in(batch);
                format!("{text}; crash {crashes} over a batch of size {size}")
            }
            None => text,
        };
        let (kind, tick) = (self.hosts.kind(host), self.machine.tick());
        self.spare_is_due = Some(tick);
        self.pass(FaultPoint::RecoveryBegun);
        let incarnation = self.station(host).incarnation;
        self.ledger.event(RunEvent::HostLost {
            host,
            role: role(kind),
            incarnation,
            tick,
            cause: text.clone(),
        })?;
        let now = self.hosts.clock();
        let missed = (cause == LossCause::Slow).then(|| self.deadline(host).0);
        let work = self.work(host);
        let comeback = self
            .station(host)
            .restart
            .get_or_insert_with(|| HostRestart::after_loss(now, &text));
        comeback.is_planned = false;
        comeback.base = None;
        comeback.reexecuted = 0;
        let loss = HostLoss {
            host,
            tick,
            cause,
            work,
            counts,
        };
        match self.policy.decide(&loss, now) {
            RecoveryDecision::Restart { after, carefully } => {
                self.restart(host, now + after, carefully)?
            }
            RecoveryDecision::Poison { crashes } => self.poisoned(host, crashes, now)?,
            RecoveryDecision::Stop(stop) => return Err(self.at_limit(host, stop, missed, text)),
        }
        if let Some(batch) = crashed {
            self.apply(Input::Crashed { batch })?;
        }
        match kind {
            HostKind::Inference => self.apply(Input::EngineLost),
            HostKind::Agents => Ok(()),
        }
    }

    fn at_limit(
        &self,
        host: HostId,
        stop: StopReason,
        key: Option<&'static str>,
        cause: String,
    ) -> RunError {
        RunError::LimitReached {
            stop,
            kind: self.hosts.kind(host).to_string(),
            host,
            tick: self.machine.tick(),
            key,
            cause,
        }
    }

    /// Counts a loss of which it turns out that nobody is guilty.
    pub(super) fn count_loss(&mut self, host: HostId, cause: &str) -> Result<(), RunError> {
        let now = self.hosts.clock();
        match self.policy.count(host, now) {
            Err(stop) => Err(self.at_limit(host, stop, None, cause.to_owned())),
            Ok(_) => Ok(()),
        }
    }

    /// The work of a host that may have crashed it.
    pub(super) fn work(&self, host: HostId) -> HostWork {
        let station = &self.stations[host.index()];
        if !matches!(station.stage, HostStage::Serving) || station.outstanding == 0 {
            return HostWork::Idle;
        }
        match (self.hosts.kind(host), self.batch_at_work(host)) {
            (HostKind::Agents, _) => HostWork::Steps,
            (HostKind::Inference, None) => HostWork::Idle,
            (HostKind::Inference, Some(_)) => HostWork::Batch,
        }
    }

    /// The batch that the inference host works on: it answers them in the order of their numbers. None while it loads.
    fn batch_at_work(&self, host: HostId) -> Option<BatchId> {
        let station = &self.stations[host.index()];
        let is_engine = self.hosts.kind(host) == HostKind::Inference;
        let serves = is_engine && matches!(station.stage, HostStage::Serving);
        let first = self.answering.first();
        first.filter(|_| serves && !self.held.is_loading())
    }

    pub(super) fn restart(
        &mut self,
        host: HostId,
        at: Duration,
        carefully: bool,
    ) -> Result<(), RunError> {
        if self.hosts.kind(host) == HostKind::Inference {
            self.answering.reset_after_crash();
            self.held.bereave();
        }
        let has_work =
            self.hosts.kind(host) == HostKind::Inference || self.living(host).next().is_some();
        let station = self.station(host);
        station.reset_after_crash();
        station.is_isolating = carefully;
        station.stage = if has_work {
            HostStage::Pausing(at)
        } else {
            HostStage::Retired
        };
        Ok(())
    }

    /// The open tick crashes the host again and again: the agent whose step does so is quarantined, and the host comes back
    /// without it.
    fn poisoned(&mut self, host: HostId, crashes: u32, now: Duration) -> Result<(), RunError> {
        let [agent] = self.suspects(host)[..] else {
            self.count_loss(host, "it crashes, and it is not known over whose step")?;
            return self.restart(host, now, true);
        };
        // What was counted against the host was the agent's fault.
        self.policy.forgive(host, crashes - 1);
        self.restart(host, now, false)?;
        let reason = QuarantineReason::StepCrashesHost;
        self.apply(Input::Verdict(Verdict::Quarantined { agent, reason }))?;
        // Nobody may be left to come back for.
        self.restart(host, now, false)
    }

    /// Agents whose step may have killed the host: they were asked, and have neither answered nor wait for an answer.
    fn suspects(&self, host: HostId) -> Vec<AgentId> {
        let station = &self.stations[host.index()];
        if station.tick != self.machine.tick() {
            return Vec::new();
        }
        station.steps[..station.sent]
            .iter()
            .map(|step| step.agent)
            .filter(|agent| {
                self.machine.outcome(*agent).is_none() && !self.machine.is_parked(*agent)
            })
            .collect()
    }

    /// Agents of a host that take further steps.
    pub(super) fn living(&self, host: HostId) -> impl Iterator<Item = AgentId> + '_ {
        self.orders
            .layout
            .agents_of(host)
            .filter(|agent| !self.machine.is_halted(*agent))
    }
}

/// What a kind of host is called in events.
pub(super) fn role(kind: HostKind) -> String {
    match kind {
        HostKind::Agents => AGENTS.to_owned(),
        HostKind::Inference => INFERENCE.to_owned(),
    }
}
