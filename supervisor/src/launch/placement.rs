//! The placement of agents on hosts. No outcome depends on it.

use crate::rundir::LaunchSettings;
use shm_protocol::id::{AgentId, HostId};
use shm_protocol::limit;
use std::thread::available_parallelism;

/// The placement of agents on hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The host of each agent, by the agent's number.
    pub host_of: Vec<HostId>,
    /// The number of agent hosts.
    pub hosts: usize,
}

impl Placement {
    /// Spreads agents over `shared_hosts` hosts in blocks of equal size; an
    /// isolated agent has a host of its own.
    #[must_use]
    pub fn new(isolated: &[bool], shared_hosts: u32) -> Placement {
        let sharing = isolated.iter().filter(|alone| !**alone).count();
        let shared = usize::try_from(shared_hosts)
            .unwrap_or(limit::HOSTS)
            .clamp(1, limit::HOSTS)
            .min(sharing);
        let block = sharing.div_ceil(shared.max(1)).max(1);
        let (mut placed, mut own) = (0, shared);
        let host_of = isolated
            .iter()
            .map(|alone| {
                let host = if *alone { &mut own } else { &mut placed };
                let position = if *alone { *host } else { *host / block };
                *host += 1;
                HostId::from_index(position)
            })
            .collect();
        let used_of_shared = placed.div_ceil(block);
        Placement {
            host_of,
            hosts: own,
        }
        .without_gap(used_of_shared, shared)
    }

    /// Agents of a host, in the order of their numbers.
    pub fn agents_of(&self, host: HostId) -> impl Iterator<Item = AgentId> + '_ {
        self.host_of
            .iter()
            .enumerate()
            .filter(move |(_, held)| **held == host)
            .map(|(position, _)| AgentId::from_index(position))
    }

    /// Blocks of equal size may leave the last shared hosts empty; the hosts of isolated agents move up.
    fn without_gap(mut self, used: usize, shared: usize) -> Placement {
        let gap = shared - used;
        for host in self
            .host_of
            .iter_mut()
            .filter(|host| host.index() >= shared)
        {
            *host = HostId::from_index(host.index() - gap);
        }
        self.hosts -= gap;
        self
    }
}

/// Agent hosts of a fleet without a number of them: one for each core but the supervisor's, and at least one.
#[must_use]
pub fn default_hosts() -> u32 {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.saturating_sub(1).max(1)).unwrap_or(1)
}

/// The shared hosts that a run had, so that its agents are placed alike. No outcome depends on it.
pub(crate) fn shared_hosts(launch: &LaunchSettings) -> u32 {
    let isolated = u32::try_from(launch.isolated.len()).unwrap_or(u32::MAX);
    launch.hosts.saturating_sub(isolated).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(placement: &Placement) -> Vec<u32> {
        placement.host_of.iter().map(|host| host.0).collect()
    }

    #[test]
    fn agents_are_spread_in_blocks() {
        let placement = Placement::new(&[false; 5], 2);
        assert_eq!(
            (hosts(&placement), placement.hosts),
            (vec![0, 0, 0, 1, 1], 2)
        );
    }

    #[test]
    fn there_are_no_more_hosts_than_agents_and_none_without_agents() {
        let placement = Placement::new(&[false; 2], 8);
        assert_eq!((hosts(&placement), placement.hosts), (vec![0, 1], 2));
        let placement = Placement::new(&[false; 4], 3);
        assert_eq!((hosts(&placement), placement.hosts), (vec![0, 0, 1, 1], 2));
    }

    #[test]
    fn an_isolated_agent_has_a_host_of_its_own() {
        let placement = Placement::new(&[false, true, false, false, false, true], 3);
        assert_eq!(
            (hosts(&placement), placement.hosts),
            (vec![0, 2, 0, 1, 1, 3], 4)
        );
        let placement = Placement::new(&[true, true], 4);
        assert_eq!((hosts(&placement), placement.hosts), (vec![0, 1], 2));
    }
}
