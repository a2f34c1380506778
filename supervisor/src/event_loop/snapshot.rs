//! Asking agents for their state, between the steps of two ticks.

use super::host_slot::HostStage;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use shm_protocol::agent_state::{SNAPSHOT, Snapshot};
use shm_protocol::codec;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;

impl EventLoop<'_> {
    /// Whether agents are to be asked for their state after the open tick. Not while a host is on its way back: what it
    /// would say is not what the others say.
    pub(super) fn snapshot_is_due(&mut self, committed: Tick) -> bool {
        self.all_serve() && self.ledger.wants_snapshot(committed)
    }

    pub(super) fn all_serve(&self) -> bool {
        self.stations.iter().all(|station| {
            matches!(station.stage, HostStage::Serving | HostStage::Retired)
                && !station.is_restoring()
        })
    }

    /// Asks every host for the state of its agents after a tick. The record lies in the ring before the steps of the
    /// next tick, so each host answers it in between.
    pub(super) fn begin_snapshot(&mut self, tick: Tick, machine: Vec<u8>) -> Result<(), RunError> {
        if !self.all_serve() {
            // One was lost since this was asked for; the next checkpoint will do.
            return Ok(());
        }
        let hosts: Vec<HostId> = (0..self.hosts.agent_hosts())
            .map(HostId::from_index)
            .filter(|host| self.captured(*host).next().is_some())
            .collect();
        let agents = hosts.iter().flat_map(|host| self.captured(*host)).collect();
        let full = self.ledger.snapshot_begun(tick, machine, agents);
        let payload = codec::encode(&Snapshot { full });
        for host in hosts {
            let pushed = self.push(
                host,
                &RecordHeader::new(SNAPSHOT, tick),
                payload.len(),
                &mut std::iter::once(payload.as_slice()),
            );
            self.hosts.notify(host);
            self.handle_host_error(host, pushed)?;
        }
        self.pass(FaultPoint::CheckpointBegun);
        Ok(())
    }

    /// Agents of a host whose state is wanted. That of one that takes no further steps is never needed again.
    fn captured(&self, host: HostId) -> impl Iterator<Item = AgentId> + '_ {
        self.orders
            .layout
            .agents_of(host)
            .filter(|agent| self.opaque[agent.index()].is_none() && !self.machine.is_halted(*agent))
    }

    /// Passes on a part of an agent's state, of which nothing is believed before it is checked.
    pub(super) fn on_state(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let agent = AgentId(header.subject);
        if self.orders.layout.host_of.get(agent.index()) != Some(&host) {
            return Err(LoopError::Host(format!(
                "it gives the state of agent {agent}, which is not one of its own"
            )));
        }
        // Also what was asked for before some host was lost: what comes next is told as a difference to it.
        let payload = self.hosts.take_payload();
        self.ledger.snapshot_part(header.tick, agent, payload);
        self.station(host).on_replies(0);
        Ok(())
    }
}
