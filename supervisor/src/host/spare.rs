//! An agent host that stands ready to take the place of one that is lost: it
//! has started, confined itself and been told what all agents have in common.

use super::error::{HostKind, HostSetError};
use super::host_set::HostSet;
use super::pool::HostEvent;
use super::process::{IncarnationMemory, SpawnError};
use shm_protocol::fault::{FaultSlot, Pin};
use shm_protocol::id::{HostId, Incarnation};
use shm_protocol::link::{LinkError, SupervisorLink};
use shm_protocol::supervisor_to_agent;
use std::thread::{self, JoinHandle};

/// Memory for an incarnation, which takes some milliseconds to make, so that a thread does it.
pub(super) type PendingMemory = (
    Incarnation,
    JoinHandle<Result<IncarnationMemory, LinkError>>,
);

impl HostSet {
    /// The place of the spare.
    pub(super) fn spare(&self) -> HostId {
        HostId::from_index(self.muster.hosts())
    }

    /// Whether the spare can take this place now. Where a fault is to happen while a host starts, one starts.
    pub(super) fn may_take_spare(&self, host: HostId) -> bool {
        let is_start = |slot: &FaultSlot| slot.phase.pin() == Pin::Start;
        self.kind(host) == HostKind::Agents
            && self.seats[self.spare().index()].is_set_up
            && !self
                .muster
                .faults
                .due_for_host(&self.muster.sight(host))
                .iter()
                .any(is_start)
    }

    /// Starts a spare, if one is wanted and there is none. False while its memory is being made: then it is to be
    /// called again. It costs the caller less than a millisecond.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn keep_spare(&mut self) -> Result<bool, HostSetError> {
        let host = self.spare();
        if self.muster.spare.is_none() || self.pool.host(host).is_some() {
            return Ok(true);
        }
        let Some((incarnation, making)) = self.memory_of_spare.take() else {
            let incarnation = self.next_incarnation();
            let (sizes, may_fault) = (self.muster.agent_sizes, self.muster.faults.may_fault());
            let making = thread::Builder::new()
                .name("memory".to_owned())
                .spawn(move || SupervisorLink::create_with(sizes, incarnation, may_fault))
                .map_err(|source| SpawnError::Start { host, source })?;
            self.memory_of_spare = Some((incarnation, making));
            return Ok(false);
        };
        if !making.is_finished() {
            self.memory_of_spare = Some((incarnation, making));
            return Ok(false);
        }
        let memory = making
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|source| SpawnError::Link { host, source })?;
        self.begin_with(host, incarnation, Some(memory))?;
        Ok(true)
    }

    /// Hears what the spare says, and nobody else. True if it was the spare.
    pub fn hear_spare(&mut self, news: &HostEvent) -> bool {
        let spare = self.spare();
        match news {
            HostEvent::Record { host, header } if *host == spare => {
                let heard = self.welcome(spare, header).and_then(|()| {
                    let setup = self
                        .muster
                        .spare
                        .clone()
                        .ok_or(HostSetError::Gone { host: spare })?;
                    self.command_agents(spare, supervisor_to_agent::AgentCommand::Setup(setup))
                });
                self.seats[spare.index()].is_set_up = heard.is_ok();
                if heard.is_err() {
                    self.end(spare);
                }
            }
            HostEvent::Garbage { host, .. }
            | HostEvent::Exited { host, .. }
            | HostEvent::Dying { host }
                if *host == spare =>
            {
                self.end(spare);
            }
            HostEvent::Fault { host, .. } if *host == spare => {}
            _ => return false,
        }
        true
    }
}
