//! Snapshots: agents are asked for their state, between the steps of two ticks.

use super::agent_restarts::AgentRestarts;
use super::context::RunContext;
use super::error::LoopError;
use super::host_slots::HostSlots;
use shm_protocol::agent_state::{SNAPSHOT, Snapshot};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;

/// The records that ask for a snapshot: each of these hosts gets this payload.
pub(super) struct SnapshotRequest {
    pub(super) hosts: Vec<HostId>,
    payload: Vec<u8>,
    tick: Tick,
}

impl SnapshotRequest {
    /// Begins a snapshot of the state after a tick.
    pub(super) fn begin(
        context: &mut RunContext<'_>,
        agents: &AgentRestarts,
        tick: Tick,
        machine: Vec<u8>,
    ) -> SnapshotRequest {
        let hosts: Vec<HostId> = (0..context.hosts.agent_hosts())
            .map(HostId::from_index)
            .filter(|host| captured(context, agents, *host).next().is_some())
            .collect();
        let captured = |host: &HostId| captured(context, agents, *host);
        let all = hosts.iter().flat_map(captured).collect();
        let full = context.ledger.snapshot_begun(tick, machine, all);
        SnapshotRequest {
            hosts,
            payload: codec::encode(&Snapshot { full }),
            tick,
        }
    }

    /// Asks a host. The record lies in the ring before the steps of the next tick, so it is answered in between.
    pub(super) fn send(
        &self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
    ) -> Result<(), LoopError> {
        let header = RecordHeader::new(SNAPSHOT, self.tick);
        let pushed = slots.push_bytes(context, host, &header, &self.payload);
        context.hosts.notify(host);
        pushed
    }
}

/// Agents of a host whose state is wanted. That of one that takes no further steps is never needed again.
fn captured<'c>(
    context: &'c RunContext<'_>,
    agents: &'c AgentRestarts,
    host: HostId,
) -> impl Iterator<Item = AgentId> + 'c {
    context
        .living(host)
        .filter(|agent| agents.opaque[agent.index()].is_none())
}

/// Passes on a part of an agent's state, of which nothing is believed before it is checked.
pub(super) fn on_state(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    header: &RecordHeader,
) -> Result<(), LoopError> {
    let agent = AgentId(header.subject);
    if context.config.placement.host_of.get(agent.index()) != Some(&host) {
        return Err(LoopError::Host(format!(
            "it sent the state of agent {agent}, which it does not host"
        )));
    }
    // Also what was asked for before some host was lost: what comes next is told as a difference to it.
    let payload = context.hosts.take_payload();
    context.ledger.snapshot_part(header.tick, agent, payload);
    slots.get_mut(host).on_replies(0);
    Ok(())
}
