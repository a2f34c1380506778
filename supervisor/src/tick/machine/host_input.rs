//! What hosts say of the open tick, checked before it is used.

use crate::planted::{Bug, planted};
use crate::tick::check::check_effects;
use crate::tick::machine::{AgentPhase, AgentState, TickMachine};
use crate::tick::violation::Violation;
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, HostId, Tick};

impl TickMachine {
    /// Checks all that one record of a host says before anything of it is used: a host that breaks its word leaves no
    /// trace. It is about the open tick, and about each agent once.
    pub(super) fn read_all<T>(
        &mut self,
        (host, tick): (HostId, Tick),
        said: &[T],
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
        self.reading += 1;
        for one in said {
            check(self, one)?;
            let agent = agent(one);
            let read = &mut self.agents[agent.index()].read;
            if *read == self.reading {
                return Err(Violation::NotAsked { host, agent, tick });
            }
            *read = self.reading;
        }
        Ok(())
    }

    pub(super) fn take_outcomes(
        &mut self,
        host: HostId,
        tick: Tick,
        outcomes: Vec<Outcome>,
    ) -> Result<(), Violation> {
        let check = |machine: &TickMachine, outcome: &Outcome| machine.check_outcome(host, outcome);
        self.read_all((host, tick), &outcomes, |outcome| outcome.agent, check)?;
        for outcome in outcomes {
            let held = &mut self.agents[outcome.agent.index()];
            held.waits.complete(&outcome);
            held.outcome = Some(outcome);
            self.missing -= 1;
        }
        Ok(())
    }

    fn check_outcome(&self, host: HostId, outcome: &Outcome) -> Result<(), Violation> {
        let held = self.asked_of(host, outcome.agent)?;
        check_effects(&self.plan, self.tick, outcome, held.next_request)?;
        self.check_waited(held, outcome)
    }

    /// An agent that this host was asked to step, and of which it has said nothing since.
    pub(super) fn asked_of(&self, host: HostId, agent: AgentId) -> Result<&AgentState, Violation> {
        let tick = self.tick;
        let held =
            self.agents
                .get(agent.index())
                .ok_or(Violation::NotAsked { host, agent, tick })?;
        if self.plan.agent(agent).host != host
            || held.standing != AgentPhase::Asked
            || held.outcome.is_some() && !planted(Bug::OutcomeTwice)
        {
            return Err(Violation::NotAsked { host, agent, tick });
        }
        Ok(held)
    }
}
