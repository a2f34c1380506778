//! Records of hosts on the open tick, checked before they are used.

use crate::planted::{Bug, planted};
use crate::tick::check::check_effects;
use crate::tick::machine::{AgentPhase, AgentState, TickMachine};
use crate::tick::violation::Violation;
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, HostId, Tick};

impl TickMachine {
    /// Checks all items of one record of a host before any of them is used: a protocol violation leaves no trace. The
    /// record must be about the open tick, and about each agent once.
    pub(super) fn check_record<T>(
        &mut self,
        (host, tick): (HostId, Tick),
        items: &[T],
        agent: impl Fn(&T) -> AgentId,
        check: impl Fn(&TickMachine, &T) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        if tick != self.tick {
            return Err(Violation::WrongTick {
                host,
                answered: tick,
                open: self.tick,
            });
        }
        self.records_read += 1;
        for item in items {
            check(self, item)?;
            let agent = agent(item);
            let read = &mut self.agents[agent.index()].last_record_read;
            if *read == self.records_read {
                return Err(Violation::NotStepping { host, agent, tick });
            }
            *read = self.records_read;
        }
        Ok(())
    }

    pub(super) fn accept_outcomes(
        &mut self,
        host: HostId,
        tick: Tick,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Violation> {
        let check = |machine: &TickMachine, outcome: &Outcome| machine.check_outcome(host, outcome);
        self.check_record((host, tick), &outcomes, |outcome| outcome.agent, check)?;
        for outcome in outcomes {
            let held = &mut self.agents[outcome.agent.index()];
            held.awaits.complete(&outcome);
            held.outcome = Some(outcome);
            self.missing -= 1;
        }
        Ok(())
    }

    fn check_outcome(&self, host: HostId, outcome: &Outcome) -> Result<(), Violation> {
        let held = self.stepping_agent(host, outcome.agent)?;
        check_effects(&self.plan, self.tick, outcome, held.next_request)?;
        self.check_awaited_effects(held, outcome)
    }

    /// An agent that this host was asked to step and has not answered for.
    pub(super) fn stepping_agent(
        &self,
        host: HostId,
        agent: AgentId,
    ) -> Result<&AgentState, Violation> {
        let tick = self.tick;
        let held = self
            .agents
            .get(agent.index())
            .ok_or(Violation::NotStepping { host, agent, tick })?;
        if self.plan.agent(agent).host != host
            || held.phase != AgentPhase::Stepping
            || held.outcome.is_some() && !planted(Bug::OutcomeTwice)
        {
            return Err(Violation::NotStepping { host, agent, tick });
        }
        Ok(held)
    }
}
