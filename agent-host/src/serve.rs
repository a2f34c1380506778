//! The serving loop: steps from the ring down, outcomes into the ring up. Snapshots and restores of agent states go the
//! same way.

use crate::agent::StepProgress;
use crate::agent_set::AgentSet;
use crate::error::AgentHostError;
use crate::record_batcher::RecordBatcher;
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

/// Serves records until `is_draining` holds and the ring is empty.
///
/// # Errors
/// When the supervisor violates the protocol or the machine lacks memory. Agents cannot cause an error.
pub(crate) fn serve(
    link: &mut HostLink,
    agents: &mut AgentSet,
    mut is_draining: impl FnMut() -> bool,
) -> Result<(), AgentHostError> {
    let mut batches = OutboundBatches {
        outcomes: RecordBatcher::new(link.up.max_payload_bytes()),
        await_requests: RecordBatcher::new(link.up.max_payload_bytes()),
    };
    let mut bytes = Vec::new();
    loop {
        // Checked before the ring: all records sent before the command to drain are then in the ring.
        let is_last_round = is_draining();
        while let Some(header) = link.down.try_take(&mut bytes)? {
            handle_record(link, agents, &mut batches, &header, &bytes)?;
        }
        if is_last_round {
            return Ok(());
        }
        link.wait(&WaitPolicy::HOST);
    }
}

fn handle_record(
    link: &mut HostLink,
    agents: &mut AgentSet,
    batches: &mut OutboundBatches,
    header: &RecordHeader,
    bytes: &[u8],
) -> Result<(), AgentHostError> {
    let tick = header.tick;
    match header.kind {
        STEPS => take_steps(link, agents, batches, tick, decode(tick, bytes)?),
        AWAIT_RESULTS => resume_awaits(link, agents, batches, tick, decode(tick, bytes)?),
        SNAPSHOT => send_states(link, agents, tick, decode(tick, bytes)?),
        RESTORE => {
            fault::at(FaultPoint::BeforeRestore, tick, header.subject);
            agents.restore(tick, decode(tick, bytes)?)?;
            fault::at(FaultPoint::AfterRestore, tick, header.subject);
            Ok(())
        }
        other => Err(AgentHostError::Kind(other)),
    }
}

fn decode<T: Decode<()>>(tick: Tick, bytes: &[u8]) -> Result<T, AgentHostError> {
    codec::decode_record::<T>(bytes).map_err(|source| AgentHostError::Decode { tick, source })
}

/// Sends the states of all agents.
fn send_states(
    link: &mut HostLink,
    agents: &mut AgentSet,
    tick: Tick,
    snapshot: Snapshot,
) -> Result<(), AgentHostError> {
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

/// The records of a tick's steps that are not sent yet.
struct OutboundBatches {
    outcomes: RecordBatcher,
    await_requests: RecordBatcher,
}

impl OutboundBatches {
    /// Adds the progress of a step.
    fn add(
        &mut self,
        link: &mut HostLink,
        agents: &mut AgentSet,
        tick: Tick,
        progress: StepProgress,
    ) -> Result<(), AgentHostError> {
        match progress {
            StepProgress::Done(outcome) => {
                let mut send = |payload: &[u8]| send_outcomes(link, tick, payload);
                self.outcomes.add(&outcome, &mut send)?;
                agents.recycle(outcome);
                Ok(())
            }
            StepProgress::Awaiting(request) => {
                let mut send = |payload: &[u8]| send_await_requests(link, tick, payload);
                self.await_requests.add(&request, &mut send)
            }
        }
    }

    /// Sends both batches, outcomes first. If both are empty, sends an empty record of outcomes.
    fn flush(&mut self, link: &mut HostLink, tick: Tick) -> Result<(), AgentHostError> {
        if !self.outcomes.is_empty() || self.await_requests.is_empty() {
            self.outcomes
                .flush(&mut |payload: &[u8]| send_outcomes(link, tick, payload))?;
        }
        if !self.await_requests.is_empty() {
            self.await_requests
                .flush(&mut |payload: &[u8]| send_await_requests(link, tick, payload))?;
        }
        Ok(())
    }
}

/// Takes the steps of one record.
fn take_steps(
    link: &mut HostLink,
    agents: &mut AgentSet,
    batches: &mut OutboundBatches,
    tick: Tick,
    steps: Steps,
) -> Result<(), AgentHostError> {
    for step in steps.steps {
        let agent = step.agent.0;
        fault::at(FaultPoint::BeforeStep, tick, agent);
        let progress = agents.step(tick, step)?;
        report_progress(tick, &progress);
        batches.add(link, agents, tick, progress)?;
    }
    batches.flush(link, tick)
}

/// Resumes the steps that await the results of one record. Results for steps that are still to come are kept.
fn resume_awaits(
    link: &mut HostLink,
    agents: &mut AgentSet,
    batches: &mut OutboundBatches,
    tick: Tick,
    results: AwaitResults,
) -> Result<(), AgentHostError> {
    let mut has_resumed = false;
    for result in results.answers {
        fault::at(FaultPoint::AwaitAnswered, tick, result.agent.0);
        if let Some(progress) = agents.resume(tick, result)? {
            report_progress(tick, &progress);
            batches.add(link, agents, tick, progress)?;
            has_resumed = true;
        }
    }
    if has_resumed {
        batches.flush(link, tick)?;
    }
    Ok(())
}

/// Reports progress, because outcomes are sent in batches and the supervisor's deadline counts from the last step.
fn report_progress(tick: Tick, progress: &StepProgress) {
    if let StepProgress::Done(outcome) = progress {
        fault::at(FaultPoint::AfterStep, tick, outcome.agent.0);
    }
    progress::report();
}

fn send_outcomes(link: &mut HostLink, tick: Tick, payload: &[u8]) -> Result<(), AgentHostError> {
    fault::at(FaultPoint::BeforeOutcomes, tick, fault::ANY);
    send(link, &RecordHeader::new(OUTCOMES, tick), payload)?;
    fault::at(FaultPoint::AfterOutcomes, tick, fault::ANY);
    Ok(())
}

fn send_await_requests(
    link: &mut HostLink,
    tick: Tick,
    payload: &[u8],
) -> Result<(), AgentHostError> {
    send(link, &RecordHeader::new(AWAIT_REQUESTS, tick), payload)?;
    fault::at(FaultPoint::AwaitSent, tick, fault::ANY);
    Ok(())
}

fn send(link: &mut HostLink, header: &RecordHeader, payload: &[u8]) -> Result<(), AgentHostError> {
    link.push(header, payload)
        .map_err(AgentHostError::push(header))
}

#[cfg(test)]
mod tests;
