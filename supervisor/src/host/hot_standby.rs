//! The hot standby: an agent host that has started, confined itself and received the setup that all agents share, so
//! that it can take the place of a failed one at once.

use super::error::{HostKind, HostSetError};
use super::event::HostEvent;
use super::host_set::HostSet;
use super::pending_memory::PendingMemory;
use super::spawn::SpawnError;
use shm_protocol::fault::{FaultSlot, Pin};
use shm_protocol::id::HostId;
use shm_protocol::supervisor_to_agent;

impl HostSet {
    /// The slot of the standby, behind those of the hosts.
    pub(super) fn standby(&self) -> HostId {
        HostId::from_index(self.config.hosts())
    }

    /// Whether the standby can take this slot now. Where a fault is to happen while a host starts, one must start.
    pub(super) fn may_take_standby(&self, host: HostId) -> bool {
        let is_start = |slot: &FaultSlot| slot.point.pin() == Pin::Start;
        self.kind(host) == HostKind::Agents
            && self.slots[self.standby().index()].is_set_up
            && !self
                .config
                .faults
                .due_for_host(&self.config.view(host))
                .iter()
                .any(is_start)
    }

    /// Starts a standby if one is configured and none runs. `false` while its memory is being created: call it again
    /// then. It takes the caller less than a millisecond.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn ensure_standby(&mut self) -> Result<bool, HostSetError> {
        let host = self.standby();
        if self.config.standby_setup.is_none() || self.pool.host(host).is_some() {
            return Ok(true);
        }
        let Some(memory) = self.standby_memory.take_if(|memory| memory.is_finished()) else {
            if self.standby_memory.is_none() {
                let (sizes, may_fault) = (self.config.agent_sizes, self.config.faults.may_fault());
                let memory = PendingMemory::begin(self.next_incarnation(), sizes, may_fault)
                    .map_err(|source| SpawnError::Start { host, source })?;
                self.standby_memory = Some(memory);
            }
            return Ok(false);
        };
        let (incarnation, memory) = memory
            .finish()
            .map_err(|source| SpawnError::Link { host, source })?;
        self.spawn_with(host, incarnation, Some(memory))?;
        Ok(true)
    }

    /// Handles an event of the standby. `false` when it is of another host.
    pub fn on_standby_event(&mut self, event: &HostEvent) -> bool {
        let standby = self.standby();
        match event {
            HostEvent::Record { host, header } if *host == standby => {
                let result = self.complete_handshake(standby, header).and_then(|()| {
                    let setup = self.config.standby_setup.clone();
                    let setup = setup.ok_or(HostSetError::Gone { host: standby })?;
                    self.command_agents(standby, supervisor_to_agent::AgentCommand::Setup(setup))
                });
                self.slots[standby.index()].is_set_up = result.is_ok();
                if result.is_err() {
                    self.end(standby);
                }
            }
            HostEvent::InvalidRing { host, .. }
            | HostEvent::Exited { host, .. }
            | HostEvent::Dying { host }
                if *host == standby =>
            {
                self.end(standby);
            }
            HostEvent::Fault { host, .. } if *host == standby => {}
            _ => return false,
        }
        true
    }
}
