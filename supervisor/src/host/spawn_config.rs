//! What the hosts of a run are started with, and started again.

use crate::faults::{Faults, HostView};
use crate::host::program::HostProgram;
use shm_protocol::id::{AgentId, HostId};
use shm_protocol::link::LinkSizes;
use shm_protocol::supervisor_to_agent;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the hosts are started with, and started again.
#[derive(Debug)]
pub struct SpawnConfig {
    /// The binary.
    pub program: Arc<HostProgram>,
    /// How many agent hosts.
    pub agent_hosts: usize,
    /// How large their rings are.
    pub agent_sizes: LinkSizes,
    /// Sealed memory with the compiled components.
    pub components: OwnedFd,
    /// Sealed memory with the models, and how large the inference host's rings are, if there are models to run.
    pub inference: Option<(OwnedFd, LinkSizes)>,
    /// The agents of each agent host.
    pub agents: Vec<Vec<AgentId>>,
    /// What may be made to go wrong.
    pub faults: Faults,
    /// What an agent host that stands ready to take another's place is told beforehand; none stands ready without it.
    pub spare: Option<supervisor_to_agent::AgentSetup>,
}

impl SpawnConfig {
    /// A host, as rules of faults are matched with it.
    pub(super) fn sight(&self, host: HostId) -> HostView<'_> {
        HostView {
            host,
            is_inference: self.inference.is_some() && host.index() == self.agent_hosts,
            agents: self.agents.get(host.index()).map_or(&[][..], Vec::as_slice),
        }
    }

    pub(super) fn hosts(&self) -> usize {
        self.agent_hosts + usize::from(self.inference.is_some())
    }
}
