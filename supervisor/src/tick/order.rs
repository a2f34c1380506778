//! The schedule order: the total order in which a tick's outcomes become real.
//!
//! (stage, priority, agent index). Every agent of a round-robin fleet is in one
//! stage, so priority and index decide; a higher priority goes earlier.

use super::planned::PlannedAgent;
use shm_protocol::id::{AgentId, Tick};
use std::cmp::Reverse;

/// All agents in schedule order.
#[must_use]
pub fn schedule_order(agents: &[PlannedAgent]) -> Vec<AgentId> {
    let mut order: Vec<AgentId> = (0..agents.len()).map(AgentId::from_index).collect();
    order.sort_by_key(|agent| (Reverse(agents[agent.index()].priority), *agent));
    order
}

/// True if an agent steps in a tick.
#[must_use]
pub fn is_due(agent: &PlannedAgent, tick: Tick) -> bool {
    tick.0.is_multiple_of(agent.every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::id::HostId;
    use shm_protocol::supervisor_to_agent::OnFailure;

    fn agent(priority: i32, every: u64) -> PlannedAgent {
        PlannedAgent {
            host: HostId(0),
            priority,
            every,
            on_failure: OnFailure::Halt,
            may_finish: false,
        }
    }

    #[test]
    fn higher_priority_steps_earlier_then_the_lower_index() {
        let agents = [agent(0, 1), agent(-5, 1), agent(7, 1), agent(0, 1)];
        assert_eq!(
            schedule_order(&agents),
            [AgentId(2), AgentId(0), AgentId(3), AgentId(1)]
        );
    }

    #[test]
    fn an_agent_is_due_in_every_tick_that_its_period_divides() {
        let due: Vec<u64> = (1..=9)
            .filter(|tick| is_due(&agent(0, 3), Tick(*tick)))
            .collect();
        assert_eq!(due, [3, 6, 9]);
    }
}
