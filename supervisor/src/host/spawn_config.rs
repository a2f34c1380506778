//! The configuration that the hosts of a run are started and restarted with.

use crate::faults::{Faults, HostView};
use crate::host::program::HostProgram;
use shm_protocol::id::{AgentId, HostId};
use shm_protocol::link::LinkSizes;
use shm_protocol::supervisor_to_agent;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The configuration that the hosts of a run are started and restarted with.
#[derive(Debug)]
pub struct SpawnConfig {
    /// The binary.
    pub program: Arc<HostProgram>,
    /// The number of agent hosts.
    pub agent_hosts: usize,
    /// The sizes of their rings.
    pub agent_sizes: LinkSizes,
    /// Sealed memory with the compiled components.
    pub components: OwnedFd,
    /// Sealed memory with the models and the sizes of the inference host's rings, if there are models.
    pub inference: Option<(OwnedFd, LinkSizes)>,
    /// The agents of each agent host.
    pub agents: Vec<Vec<AgentId>>,
    /// The faults that may be injected.
    pub faults: Faults,
    /// The setup of the hot standby; without it there is none.
    pub standby_setup: Option<supervisor_to_agent::AgentSetup>,
}

impl SpawnConfig {
    /// A host as fault rules see it.
    pub(super) fn view(&self, host: HostId) -> HostView<'_> {
        HostView {
            host,
            is_inference: self.inference.is_some() && host.index() == self.agent_hosts,
            agents: self.agents.get(host.index()).map_or(&[][..], Vec::as_slice),
        }
    }

    /// The number of hosts of both kinds.
    pub(super) fn hosts(&self) -> usize {
        self.agent_hosts + usize::from(self.inference.is_some())
    }
}
