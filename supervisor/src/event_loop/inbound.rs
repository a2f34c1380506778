//! What hosts say, by where they are in their lives.

use super::host_slot::HostStage;
use super::{EventLoop, LoopError};
use crate::analysis::diff;
use crate::error::RunError;
use crate::host::{HostEvent, HostKind, decoded};
use crate::planted::{Bug, planted};
use crate::record::TickRecord;
use crate::recovery::{HostWork, LossCause};
use crate::tick::Input;
use bincode::Decode;
use shm_protocol::agent_state::STATE;
use shm_protocol::agent_to_supervisor::{AWAIT_REQUESTS, OUTCOMES, Outcome, Outcomes};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;
use std::process::ExitStatus;

impl EventLoop<'_> {
    pub(super) fn on_event(&mut self, news: HostEvent) -> Result<(), RunError> {
        match news {
            HostEvent::Record { host, header } => {
                let heard = self.on_record(host, &header);
                self.handle_host_error(host, heard)
            }
            HostEvent::Garbage { host, violation } => self.fail_host(
                host,
                LossCause::Crash,
                &format!("it wrote garbage into its ring: {violation}"),
            ),
            HostEvent::Dying { host } => {
                match self.hosts.ending_of(host) {
                    Some(status) => self.exited(host, status),
                    None if self.work(host) == HostWork::Idle => {
                        self.fail_host(host, LossCause::Outside, "its process died")
                    }
                    // It matters how it ended, which is told once its memory is torn down.
                    None => Ok(()),
                }
            }
            HostEvent::Exited { host, status } => self.exited(host, status),
            HostEvent::Fault { host, rule } => self.on_fault(host, rule),
            HostEvent::StopAsked => self.apply(Input::Stop),
            HostEvent::Silence => Ok(()),
        }
    }

    fn exited(&mut self, host: HostId, status: ExitStatus) -> Result<(), RunError> {
        let cause = match crate::host::is_crash(status) {
            true => LossCause::Crash,
            false => LossCause::Outside,
        };
        self.fail_host(host, cause, &crate::host::ending(status))
    }

    fn on_record(&mut self, host: HostId, header: &RecordHeader) -> Result<(), LoopError> {
        let is_engine = self.hosts.kind(host) == HostKind::Inference;
        match self.station(host).stage {
            HostStage::Starting => self.on_ready(host, header),
            HostStage::Loading(_) => self.on_loaded(host, header),
            _ if is_engine => self.on_engine_record(host, header),
            _ if header.kind == STATE => self.on_state(host, header),
            _ if header.kind == AWAIT_REQUESTS => self.on_await_requests(host, header),
            _ => self.on_outcomes(host, header),
        }
    }

    /// Decodes the record that came last, which must be of this kind.
    pub(super) fn expect<T: Decode<()>>(
        &self,
        host: HostId,
        header: &RecordHeader,
        wanted: u16,
    ) -> Result<T, LoopError> {
        let kind = self.hosts.kind(host);
        Ok(decoded(kind, host, header, wanted, self.hosts.payload())?)
    }

    fn on_outcomes(&mut self, host: HostId, header: &RecordHeader) -> Result<(), LoopError> {
        let Outcomes { mut outcomes } = self.expect(host, header, OUTCOMES)?;
        let tick = header.tick;
        self.pass(FaultPoint::OutcomeHeard);
        self.station(host).on_replies(outcomes.len());
        if self.station(host).is_restoring() {
            outcomes = self.compare_known(host, tick, outcomes)?;
        }
        if !outcomes.is_empty() {
            self.try_apply(Input::Outcomes {
                host,
                tick,
                outcomes,
            })?;
        }
        Ok(self.send_steps(host)?)
    }

    /// Takes out the outcomes that are known already, and checks that they are the same again.
    fn compare_known(
        &mut self,
        host: HostId,
        tick: Tick,
        outcomes: Vec<Outcome>,
    ) -> Result<Vec<Outcome>, LoopError> {
        let mut fresh = Vec::new();
        for outcome in outcomes {
            match self.station(host).known.remove(&(tick, outcome.agent)) {
                None => {
                    self.compare_awaited(host, tick, &outcome)?;
                    fresh.push(outcome);
                }
                Some(known) if known == outcome || planted(Bug::BelieveRedone) => {}
                Some(known) => {
                    return self
                        .handle_difference(host, tick, known, outcome)
                        .map(|()| fresh);
                }
            }
        }
        self.check_restored(host)?;
        Ok(fresh)
    }

    /// Looks whether everything that was known has come again.
    pub(super) fn check_restored(&mut self, host: HostId) -> Result<(), RunError> {
        match self.station(host).is_restoring() {
            true => Ok(()),
            false => self.finish_restart(host),
        }
    }

    /// A step came to something else than before. Perhaps the state that it began with was wrong: that is tried once
    /// more from the very beginning, and a second difference ends the run.
    pub(super) fn handle_difference(
        &mut self,
        host: HostId,
        tick: Tick,
        known: Outcome,
        outcome: Outcome,
    ) -> Result<(), LoopError> {
        let agent = outcome.agent;
        let record = |outcome| TickRecord {
            outcomes: vec![outcome],
            ..TickRecord::default()
        };
        let what = diff::ticks(self.header, tick, &record(known), &record(outcome)).map_or_else(
            || format!("tick {tick}, agent {agent}"),
            |what| what.to_string(),
        );
        let began_with = self
            .station(host)
            .restart
            .as_ref()
            .and_then(|back| back.base);
        if std::mem::replace(&mut self.station(host).ignores_checkpoints, true)
            || began_with.is_none()
        {
            return Err(LoopError::Run(RunError::Nondeterminism {
                agent: self.agent_name(agent),
                what,
            }));
        }
        Err(LoopError::Gone(format!(
            "an agent did something else than the journal says, beginning with a checkpoint: {what}"
        )))
    }

    pub(super) fn agent_name(&self, agent: AgentId) -> String {
        self.header
            .agents
            .get(agent.index())
            .map_or_else(|| agent.to_string(), |pin| pin.name.clone())
    }
}
