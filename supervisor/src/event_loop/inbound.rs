//! What hosts say, by where they are in their lives.

use super::host_slot::Stage;
use super::{Drive, Trouble};
use crate::analysis::diff;
use crate::error::RunError;
use crate::host::{Kind, News, decoded};
use crate::planted::{Bug, planted};
use crate::record::TickRecord;
use crate::recovery::{Cause, Work};
use crate::tick::Input;
use bincode::Decode;
use shm_protocol::agent_state::STATE;
use shm_protocol::agent_to_supervisor::{OUTCOMES, Outcome, Outcomes, PARKED};
use shm_protocol::fault::Phase;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::Header;
use std::process::ExitStatus;

impl Drive<'_> {
    pub(super) fn hear(&mut self, news: News) -> Result<(), RunError> {
        match news {
            News::Record { host, header } => {
                let heard = self.hear_record(host, &header);
                self.settle(host, heard)
            }
            News::Garbage { host, violation } => self.lose(
                host,
                Cause::Crash,
                &format!("it wrote garbage into its ring: {violation}"),
            ),
            News::Dying { host } => {
                match self.hosts.ending_of(host) {
                    Some(status) => self.exited(host, status),
                    None if self.work(host) == Work::Idle => {
                        self.lose(host, Cause::Outside, "its process died")
                    }
                    // It matters how it ended, which is told once its memory is torn down.
                    None => Ok(()),
                }
            }
            News::Exited { host, status } => self.exited(host, status),
            News::Fault { host, rule } => self.hear_fault(host, rule),
            News::StopAsked => self.apply(Input::Stop),
            News::Silence => Ok(()),
        }
    }

    fn exited(&mut self, host: HostId, status: ExitStatus) -> Result<(), RunError> {
        let cause = match crate::host::is_crash(status) {
            true => Cause::Crash,
            false => Cause::Outside,
        };
        self.lose(host, cause, &crate::host::ending(status))
    }

    fn hear_record(&mut self, host: HostId, header: &Header) -> Result<(), Trouble> {
        let is_engine = self.hosts.kind(host) == Kind::Inference;
        match self.station(host).stage {
            Stage::Starting => self.hear_ready(host, header),
            Stage::Loading(_) => self.hear_loaded(host, header),
            _ if is_engine => self.hear_engine(host, header),
            _ if header.kind == STATE => self.hear_state(host, header),
            _ if header.kind == PARKED => self.hear_parked(host, header),
            _ => self.hear_outcomes(host, header),
        }
    }

    /// Decodes the record that came last, which must be of this kind.
    pub(super) fn expect<T: Decode<()>>(
        &self,
        host: HostId,
        header: &Header,
        wanted: u16,
    ) -> Result<T, Trouble> {
        let kind = self.hosts.kind(host);
        Ok(decoded(kind, host, header, wanted, self.hosts.payload())?)
    }

    fn hear_outcomes(&mut self, host: HostId, header: &Header) -> Result<(), Trouble> {
        let Outcomes { mut outcomes } = self.expect(host, header, OUTCOMES)?;
        let tick = header.tick;
        self.pass(Phase::OutcomeHeard);
        self.station(host).paid(outcomes.len());
        if self.station(host).is_on_its_way_back() {
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
    ) -> Result<Vec<Outcome>, Trouble> {
        let mut fresh = Vec::new();
        for outcome in outcomes {
            match self.station(host).known.remove(&(tick, outcome.agent)) {
                None => {
                    self.compare_waited(host, tick, &outcome)?;
                    fresh.push(outcome);
                }
                Some(known) if known == outcome || planted(Bug::BelieveRedone) => {}
                Some(known) => return self.differs(host, tick, known, outcome).map(|()| fresh),
            }
        }
        self.has_repeated(host)?;
        Ok(fresh)
    }

    /// Looks whether everything that was known has come again.
    pub(super) fn has_repeated(&mut self, host: HostId) -> Result<(), RunError> {
        match self.station(host).is_on_its_way_back() {
            true => Ok(()),
            false => self.back_at_work(host),
        }
    }

    /// A step came to something else than before. Perhaps the state that it began with was wrong: that is tried once
    /// more from the very beginning, and a second difference ends the run.
    pub(super) fn differs(
        &mut self,
        host: HostId,
        tick: Tick,
        known: Outcome,
        outcome: Outcome,
    ) -> Result<(), Trouble> {
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
            .comeback
            .as_ref()
            .and_then(|back| back.base);
        if std::mem::replace(&mut self.station(host).distrusts, true) || began_with.is_none() {
            return Err(Trouble::Run(RunError::Nondeterminism {
                agent: self.agent_name(agent),
                what,
            }));
        }
        Err(Trouble::Gone(format!(
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
