//! Steps in, outcomes out: what a host does all day. Now and then it is asked
//! for the states of its agents, and in the beginning it may be given some.

use crate::agent::Stepped;
use crate::agents::Agents;
use crate::error::HostError;
use crate::list_record::ListRecord;
use bincode::Decode;
use shm_protocol::agent_state::{RESTORE, SNAPSHOT, STATE, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{AWAIT_REQUESTS, OUTCOMES};
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::Tick;
use shm_protocol::link::{HostLink, WaitPolicy};
use shm_protocol::progress;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AWAIT_RESULTS, AwaitResults, STEPS, Steps};

/// Answers steps until `is_draining` holds and the ring is empty.
///
/// # Errors
/// When the supervisor or the machine does what it must not. Agents cannot cause any.
pub(crate) fn serve(
    link: &mut HostLink,
    agents: &mut Agents,
    mut is_draining: impl FnMut() -> bool,
) -> Result<(), HostError> {
    let mut records = Records {
        outcomes: ListRecord::new(link.up.max_payload_bytes()),
        waits: ListRecord::new(link.up.max_payload_bytes()),
    };
    let mut bytes = Vec::new();
    loop {
        // Asked first: what was sent before the supervisor said so is then in the ring.
        let is_last_look = is_draining();
        while let Some(header) = link.down.try_take(&mut bytes)? {
            answer(link, agents, &mut records, &header, &bytes)?;
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
    records: &mut Records,
    header: &RecordHeader,
    bytes: &[u8],
) -> Result<(), HostError> {
    let tick = header.tick;
    match header.kind {
        STEPS => step(link, agents, records, tick, decode(tick, bytes)?),
        AWAIT_RESULTS => go_on(link, agents, records, tick, decode(tick, bytes)?),
        SNAPSHOT => save(link, agents, tick, decode(tick, bytes)?),
        RESTORE => {
            fault::at(FaultPoint::BeforeRestore, tick, header.subject);
            agents.restore(tick, decode(tick, bytes)?)?;
            fault::at(FaultPoint::AfterRestore, tick, header.subject);
            Ok(())
        }
        other => Err(HostError::Kind(other)),
    }
}

fn decode<T: Decode<()>>(tick: Tick, bytes: &[u8]) -> Result<T, HostError> {
    codec::decode_record::<T>(bytes).map_err(|source| HostError::Decode { tick, source })
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
    fault::at(FaultPoint::BeforeSnapshot, tick, fault::ANY);
    agents.save(snapshot.full, max_payload_bytes, |record: &StateRecord| {
        bytes.clear();
        codec::encode_into(record, &mut bytes);
        let header = RecordHeader {
            subject: record.agent.0,
            correlation: u64::from(record.is_last),
            ..RecordHeader::new(STATE, tick)
        };
        send(link, &header, &bytes)?;
        fault::at(FaultPoint::MidSnapshot, tick, record.agent.0);
        Ok(())
    })?;
    fault::at(FaultPoint::AfterSnapshot, tick, fault::ANY);
    Ok(())
}

/// What goes up of the steps of a tick.
struct Records {
    outcomes: ListRecord,
    waits: ListRecord,
}

impl Records {
    /// Adds how far a step has come.
    fn add(
        &mut self,
        link: &mut HostLink,
        agents: &mut Agents,
        tick: Tick,
        stepped: Stepped,
    ) -> Result<(), HostError> {
        match stepped {
            Stepped::Done(outcome) => {
                let mut send = |payload: &[u8]| send_outcomes(link, tick, payload);
                self.outcomes.add(&outcome, &mut send)?;
                agents.recycle(outcome);
                Ok(())
            }
            Stepped::Waits(wait) => {
                let mut send = |payload: &[u8]| send_waits(link, tick, payload);
                self.waits.add(&wait, &mut send)
            }
        }
    }

    /// Sends what is there; outcomes first, and if there is nothing at all, that there are no outcomes.
    fn flush(&mut self, link: &mut HostLink, tick: Tick) -> Result<(), HostError> {
        if !self.outcomes.is_empty() || self.waits.is_empty() {
            self.outcomes
                .flush(&mut |payload: &[u8]| send_outcomes(link, tick, payload))?;
        }
        if !self.waits.is_empty() {
            self.waits
                .flush(&mut |payload: &[u8]| send_waits(link, tick, payload))?;
        }
        Ok(())
    }
}

/// Takes the steps of one record.
fn step(
    link: &mut HostLink,
    agents: &mut Agents,
    records: &mut Records,
    tick: Tick,
    steps: Steps,
) -> Result<(), HostError> {
    for step in steps.steps {
        let agent = step.agent.0;
        fault::at(FaultPoint::BeforeStep, tick, agent);
        let stepped = agents.step(tick, step)?;
        note(tick, &stepped);
        records.add(link, agents, tick, stepped)?;
    }
    records.flush(link, tick)
}

/// Lets the agents of one record go on that wait within their steps. Answers for steps that are still to come are kept.
fn go_on(
    link: &mut HostLink,
    agents: &mut Agents,
    records: &mut Records,
    tick: Tick,
    answers: AwaitResults,
) -> Result<(), HostError> {
    let mut went_on = false;
    for answered in answers.answers {
        fault::at(FaultPoint::BeforeAnswer, tick, answered.agent.0);
        if let Some(stepped) = agents.answer(tick, answered)? {
            note(tick, &stepped);
            records.add(link, agents, tick, stepped)?;
            went_on = true;
        }
    }
    if went_on {
        records.flush(link, tick)?;
    }
    Ok(())
}

/// Reports progress: outcomes go up with those of the next agents, and the deadline counts from the last step.
fn note(tick: Tick, stepped: &Stepped) {
    if let Stepped::Done(outcome) = stepped {
        fault::at(FaultPoint::AfterStep, tick, outcome.agent.0);
    }
    progress::report();
}

fn send_outcomes(link: &mut HostLink, tick: Tick, payload: &[u8]) -> Result<(), HostError> {
    fault::at(FaultPoint::BeforeOutcomes, tick, fault::ANY);
    send(link, &RecordHeader::new(OUTCOMES, tick), payload)?;
    fault::at(FaultPoint::AfterOutcomes, tick, fault::ANY);
    Ok(())
}

fn send_waits(link: &mut HostLink, tick: Tick, payload: &[u8]) -> Result<(), HostError> {
    send(link, &RecordHeader::new(AWAIT_REQUESTS, tick), payload)?;
    fault::at(FaultPoint::AfterParked, tick, fault::ANY);
    Ok(())
}

fn send(link: &mut HostLink, header: &RecordHeader, payload: &[u8]) -> Result<(), HostError> {
    let tick = header.tick;
    link.push(header, payload)
        .map_err(|source| HostError::Push { tick, source })
}

#[cfg(test)]
mod tests;
