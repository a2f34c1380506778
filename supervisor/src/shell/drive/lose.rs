//! A host is lost: its incarnation ends, and it is decided what becomes of it.

use super::Drive;
use super::comeback::Comeback;
use super::station::Stage;
use crate::host::Kind;
use crate::journal::record::Verdict;
use crate::recovery::{Decision, Loss};
use crate::rundir::Event;
use crate::rundir::events::{AGENTS, INFERENCE};
use crate::shell::error::RunError;
use crate::tick::Input;
use shm_protocol::fault::Phase;
use shm_protocol::id::{AgentId, HostId};
use std::time::Duration;

impl Drive<'_> {
    /// Ends the incarnation of a host and decides what becomes of it.
    pub(super) fn lose(&mut self, host: HostId, cause: &str) -> Result<(), RunError> {
        let last_words = self.hosts.end(host);
        let cause = if last_words.is_empty() {
            cause.to_owned()
        } else {
            format!("{cause}; its last words: {last_words}")
        };
        let (kind, tick) = (self.hosts.kind(host), self.machine.tick());
        self.spare_is_due = Some(tick);
        self.pass(Phase::RecoveryBegun);
        let incarnation = self.station(host).incarnation;
        self.ledger.event(Event::HostLost {
            host,
            role: role(kind),
            incarnation,
            tick,
            cause: cause.clone(),
        })?;
        let now = self.hosts.clock();
        let station = self.station(host);
        let was_at_work = matches!(station.stage, Stage::Serving) && station.owed > 0;
        let comeback = station
            .comeback
            .get_or_insert_with(|| Comeback::after_loss(now, &cause));
        comeback.is_planned = false;
        comeback.base = None;
        comeback.redone = 0;
        let loss = Loss {
            host,
            tick,
            was_at_work,
            counts: !self.faults.is_injected(host),
        };
        let decision = self.policy.decide(&loss, now);
        match decision {
            Decision::Restart { after, carefully } => self.restart(host, now + after, carefully),
            Decision::Poison { losses } => self.poisoned(host, losses, &cause, now),
            Decision::GiveUp { losses } => self.give_up(host, losses, &cause),
            Decision::Stop { losses } => Err(RunError::TooManyLosses { losses, cause }),
        }
    }

    pub(super) fn restart(
        &mut self,
        host: HostId,
        at: Duration,
        carefully: bool,
    ) -> Result<(), RunError> {
        if self.hosts.kind(host) == Kind::Inference {
            self.answering.bereave();
            self.held.bereave();
        }
        let has_work =
            self.hosts.kind(host) == Kind::Inference || self.living(host).next().is_some();
        let station = self.station(host);
        station.bereave();
        station.is_careful = carefully;
        station.stage = if has_work {
            Stage::Pausing(at)
        } else {
            Stage::GivenUp
        };
        Ok(())
    }

    /// The open tick kills the host again and again: who does it is given up, and the host comes back without.
    fn poisoned(
        &mut self,
        host: HostId,
        losses: u32,
        cause: &str,
        now: Duration,
    ) -> Result<(), RunError> {
        if self.hosts.kind(host) == Kind::Inference {
            return self.leave_unanswered(host, losses, cause, now);
        }
        match self.suspects(host)[..] {
            [agent] => {
                let reason = format!("its host was lost {losses} times while it stepped: {cause}");
                self.restart(host, now, false)?;
                self.quarantine(agent, reason)?;
                // Nobody may be left to come back for.
                self.restart(host, now, false)
            }
            _ => self.restart(host, now, true),
        }
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

    fn quarantine(&mut self, agent: AgentId, reason: String) -> Result<(), RunError> {
        self.judge(Verdict::Quarantined { agent, reason })
    }

    /// Lets a verdict take effect, and tells of it.
    pub(super) fn judge(&mut self, verdict: Verdict) -> Result<(), RunError> {
        self.ledger.event(Event::Verdict {
            tick: self.machine.tick(),
            text: verdict.text(self.header),
        })?;
        self.apply(Input::Verdict(verdict))
    }

    /// The engine is lost again and again over one batch: its requests are answered without it.
    fn leave_unanswered(
        &mut self,
        host: HostId,
        losses: u32,
        cause: &str,
        now: Duration,
    ) -> Result<(), RunError> {
        let first = self.answering.first();
        let batch = self
            .machine
            .running()
            .find(|batch| Some(batch.id) == first)
            .map(|batch| (batch.model, batch.tick));
        self.restart(host, now, false)?;
        let Some((model, asked)) = batch else {
            return Ok(());
        };
        let reason = format!("the inference host was lost {losses} times over it: {cause}");
        self.judge(Verdict::Unanswered {
            model,
            asked,
            reason,
        })
    }

    /// The host does not come back: its agents are given up with it. Without an engine, the run stops.
    fn give_up(&mut self, host: HostId, losses: u32, cause: &str) -> Result<(), RunError> {
        if self.hosts.kind(host) == Kind::Inference {
            return Err(RunError::EngineLost {
                losses,
                cause: cause.to_owned(),
            });
        }
        let station = self.station(host);
        station.bereave();
        (station.stage, station.comeback) = (Stage::GivenUp, None);
        let agents: Vec<AgentId> = self.living(host).collect();
        for agent in agents {
            let reason = format!("its host was lost {losses} times: {cause}");
            self.quarantine(agent, reason)?;
        }
        Ok(())
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
pub(super) fn role(kind: Kind) -> String {
    match kind {
        Kind::Agents => AGENTS.to_owned(),
        Kind::Inference => INFERENCE.to_owned(),
    }
}
