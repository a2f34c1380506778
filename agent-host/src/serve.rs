//! Steps in, outcomes out: what a host does all day. Now and then it is asked
//! for the states of its agents, and in the beginning it may be given some.

use crate::agents::Agents;
use crate::error::HostError;
use crate::outcomes::OutcomeRecord;
use crate::pace::{self, Pace};
use bincode::Decode;
use shm_protocol::agent_state::{RESTORE, SNAPSHOT, STATE, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::OUTCOMES;
use shm_protocol::fault::{self, Phase};
use shm_protocol::id::Tick;
use shm_protocol::link::{HostLink, WaitPolicy};
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_agent::{STEPS, Steps};
use shm_protocol::{codec, limit};

/// Answers steps until `is_draining` holds and the ring is empty.
///
/// # Errors
/// When the supervisor or the machine does what it must not. Agents cannot cause any.
pub(crate) fn serve(
    link: &mut HostLink,
    agents: &mut Agents,
    mut is_draining: impl FnMut() -> bool,
) -> Result<(), HostError> {
    let mut record = OutcomeRecord::new(link.up.max_payload_bytes());
    let mut bytes = Vec::new();
    loop {
        // Asked first: what was sent before the supervisor said so is then in the ring.
        let is_last_look = is_draining();
        while let Some(header) = link.down.try_take(&mut bytes)? {
            answer(link, agents, &mut record, &header, &bytes)?;
        }
        if is_last_look {
            return Ok(());
        }
        link.wait(&WaitPolicy::HOST);
    }
}

/// Answers one record.
fn answer(
    link: &mut HostLink,
    agents: &mut Agents,
    record: &mut OutcomeRecord,
    header: &Header,
    bytes: &[u8],
) -> Result<(), HostError> {
    let tick = header.tick;
    match header.kind {
        STEPS => step(link, agents, record, tick, decode(tick, bytes)?),
        SNAPSHOT => save(link, agents, tick, decode(tick, bytes)?),
        RESTORE => {
            fault::at(Phase::BeforeRestore, tick, header.subject);
            agents.restore(tick, decode(tick, bytes)?)?;
            fault::at(Phase::AfterRestore, tick, header.subject);
            Ok(())
        }
        other => Err(HostError::Kind(other)),
    }
}

fn decode<T: Decode<()>>(tick: Tick, bytes: &[u8]) -> Result<T, HostError> {
    codec::decode::<T, { limit::RECORD_BYTES }>(bytes)
        .map_err(|source| HostError::Decode { tick, source })
}

/// Sends up the states of all agents.
fn save(
    link: &mut HostLink,
    agents: &mut Agents,
    tick: Tick,
    snapshot: Snapshot,
) -> Result<(), HostError> {
    let mut bytes = Vec::new();
    let max_payload_bytes = link.up.max_payload_bytes();
    fault::at(Phase::BeforeSnapshot, tick, fault::ANY);
    agents.save(snapshot.full, max_payload_bytes, |record: &StateRecord| {
        bytes.clear();
        codec::encode_into(record, &mut bytes);
        let header = Header {
            subject: record.agent.0,
            correlation: u64::from(record.is_last),
            ..Header::new(STATE, tick)
        };
        send(link, &header, &bytes)?;
        fault::at(Phase::MidSnapshot, tick, record.agent.0);
        Ok(())
    })?;
    fault::at(Phase::AfterSnapshot, tick, fault::ANY);
    Ok(())
}

/// Takes the steps of one record.
fn step(
    link: &mut HostLink,
    agents: &mut Agents,
    record: &mut OutcomeRecord,
    tick: Tick,
    steps: Steps,
) -> Result<(), HostError> {
    let mut send = |payload: &[u8]| send_outcomes(link, tick, payload);
    let mut pace = Pace::new(pace::clock());
    for step in steps.steps {
        // Before a step and not after one: the last flush then has something to send.
        if pace.is_due() {
            record.flush(&mut send)?;
        }
        if agents.is_fallen(step.agent) {
            pace.note_init();
        }
        let agent = step.agent.0;
        fault::at(Phase::BeforeStep, tick, agent);
        let outcome = agents.step(tick, step)?;
        fault::at(Phase::AfterStep, tick, agent);
        pace.note(outcome.fuel_used);
        record.add(&outcome, &mut send)?;
        agents.recycle(outcome);
    }
    record.flush(&mut send)
}

fn send_outcomes(link: &mut HostLink, tick: Tick, payload: &[u8]) -> Result<(), HostError> {
    fault::at(Phase::BeforeOutcomes, tick, fault::ANY);
    send(link, &Header::new(OUTCOMES, tick), payload)?;
    fault::at(Phase::AfterOutcomes, tick, fault::ANY);
    Ok(())
}

fn send(link: &mut HostLink, header: &Header, payload: &[u8]) -> Result<(), HostError> {
    let tick = header.tick;
    link.push(header, payload)
        .map_err(|source| HostError::Push { tick, source })
}

#[cfg(test)]
mod tests;
