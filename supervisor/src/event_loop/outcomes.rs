//! Outcomes of steps, and the requests that agents await within them. What is new goes to the tick machine.
//!
//! Of a step that is taken again, both must be what they were before: what is known is taken out and compared.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slots::HostSlots;
use crate::analysis::diff;
use crate::error::RunError;
use crate::planted::{Bug, planted};
use crate::record::TickRecord;
use crate::tick::{AwaitedRequest, TickInput};
use shm_protocol::agent_to_supervisor::{
    AWAIT_REQUESTS, AwaitRequest, AwaitRequests, OUTCOMES, Outcome, Outcomes, Status,
};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;

/// Steps have ended.
pub(super) fn on_outcomes(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    header: &RecordHeader,
) -> Result<(), LoopError> {
    let Outcomes { mut outcomes } = context.decode(host, header, OUTCOMES)?;
    let tick = header.tick;
    context.pass(FaultPoint::OutcomeReceived);
    slots.get_mut(host).on_replies(outcomes.len());
    if slots.get(host).is_restoring() {
        outcomes = new_outcomes(context, slots, host, tick, outcomes)?;
    }
    if !outcomes.is_empty() {
        context.apply(TickInput::Outcomes {
            host,
            tick,
            outcomes,
        })?;
    }
    slots.send_steps(context, host)
}

/// Agents await results within their steps.
pub(super) fn on_awaits(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    header: &RecordHeader,
) -> Result<(), LoopError> {
    let AwaitRequests { mut requests } = context.decode(host, header, AWAIT_REQUESTS)?;
    let tick = header.tick;
    slots.get_mut(host).on_replies(requests.len());
    if slots.get(host).is_restoring() {
        requests = new_awaits(context, slots, host, tick, requests)?;
    }
    if !requests.is_empty() {
        context.apply(TickInput::Parked {
            host,
            tick,
            awaits: requests,
        })?;
    }
    slots.send_steps(context, host)
}

/// The outcomes that are not known already.
///
/// # Errors
/// When one differs from what is known.
fn new_outcomes(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    tick: Tick,
    outcomes: Vec<Outcome>,
) -> Result<Vec<Outcome>, LoopError> {
    let mut fresh = Vec::new();
    for outcome in outcomes {
        match slots.get_mut(host).known.remove(&(tick, outcome.agent)) {
            None => {
                compare_awaited(context, slots, host, tick, &outcome)?;
                fresh.push(outcome);
            }
            Some(known) if known == outcome || planted(Bug::BelieveRedone) => {}
            Some(known) => return Err(difference(context, slots, host, tick, known, outcome)),
        }
    }
    slots.finish_restart(context, host)?;
    Ok(fresh)
}

/// The requests that agents await and that are not known already.
///
/// # Errors
/// When one differs from what is known.
fn new_awaits(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    tick: Tick,
    requests: Vec<AwaitRequest>,
) -> Result<Vec<AwaitRequest>, LoopError> {
    let mut fresh = Vec::new();
    for request in requests {
        let agent = request.agent;
        let awaited = AwaitedRequest {
            model: request.model,
            inputs: request.inputs.clone(),
        };
        // A step whose outcome is known was told all results, and awaits no more.
        if let Some(known) = slots.get_mut(host).known.remove(&(tick, agent)) {
            let mut outcome = known.clone();
            outcome
                .effects
                .retain(|effect| AwaitedRequest::of(effect).is_some());
            outcome.effects.push(awaited.effect());
            return Err(difference(context, slots, host, tick, known, outcome));
        }
        match awaited_before(context, slots, host, tick, &request) {
            None => fresh.push(request),
            Some(before) if before == awaited || planted(Bug::BelieveRedone) => {}
            Some(before) => {
                let (known, outcome) = (await_alone(agent, &before), await_alone(agent, &awaited));
                return Err(difference(context, slots, host, tick, known, outcome));
            }
        }
    }
    Ok(fresh)
}

/// What an agent awaited before, in the place of the first await of a step that is taken again.
fn awaited_before(
    context: &RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    tick: Tick,
    request: &AwaitRequest,
) -> Option<AwaitedRequest> {
    if tick != context.machine.tick() {
        return None;
    }
    let has_awaited = slots.get_mut(host).repeating.get_mut(&request.agent)?;
    if std::mem::replace(has_awaited, true) {
        return None;
    }
    let asked = context.machine.awaited_requests(request.agent);
    asked.get(request.number as usize).cloned()
}

/// Checks that a step which is taken again has awaited the same as before.
fn compare_awaited(
    context: &RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    tick: Tick,
    outcome: &Outcome,
) -> Result<(), LoopError> {
    let agent = outcome.agent;
    let is_open = tick == context.machine.tick();
    if !is_open || slots.get_mut(host).repeating.remove(&agent).is_none() {
        return Ok(());
    }
    let mut known = outcome.clone();
    let mut asked = context.machine.awaited_requests(agent).iter();
    for effect in &mut known.effects {
        if AwaitedRequest::of(effect).is_some()
            && let Some(asked) = asked.next()
        {
            *effect = asked.effect();
        }
    }
    known.effects.extend(asked.map(AwaitedRequest::effect));
    match known == *outcome {
        true => Ok(()),
        false => Err(difference(
            context,
            slots,
            host,
            tick,
            known,
            outcome.clone(),
        )),
    }
}

/// A step came to something else than before. The state that it began with may have been wrong: that is tried once
/// more from the very beginning, and a second difference ends the run.
fn difference(
    context: &RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    tick: Tick,
    known: Outcome,
    outcome: Outcome,
) -> LoopError {
    let agent = outcome.agent;
    let record = |outcome| TickRecord {
        outcomes: vec![outcome],
        ..TickRecord::default()
    };
    let what = diff::ticks(context.header, tick, &record(known), &record(outcome)).map_or_else(
        || format!("tick {tick}, agent {agent}"),
        |what| what.to_string(),
    );
    let slot = slots.get_mut(host);
    let base = slot.restart.as_ref().and_then(|restart| restart.base);
    if std::mem::replace(&mut slot.ignores_checkpoints, true) || base.is_none() {
        return LoopError::Run(RunError::Nondeterminism {
            agent: context.agent_name(agent),
            what,
        });
    }
    LoopError::Gone(format!(
        "re-execution from a checkpoint differs from the journal: {what}"
    ))
}

/// An outcome that has nothing but an await, to be compared with another one.
fn await_alone(agent: AgentId, awaited: &AwaitedRequest) -> Outcome {
    Outcome {
        agent,
        status: Status::Completed,
        fuel_used: 0,
        effects: vec![awaited.effect()],
    }
}
