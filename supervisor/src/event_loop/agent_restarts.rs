//! Restarts of agent hosts: a new incarnation is told what to load, gets the state of its agents, executes the ticks
//! after it, and takes up the open one.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slot::HostStage;
use super::host_slots::HostSlots;
use super::reexecute::Reexecution;
use super::restart::LoadProgress;
use crate::host::LoadSequence;
use crate::launch::plan;
use crate::planted::{Bug, planted};
use shm_protocol::agent_state::RESTORE;
use shm_protocol::agent_to_supervisor::{AGENT_LOADED, AgentLoaded};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent as agents;
use std::collections::BTreeMap;

/// Outcomes that may be under way while ticks are executed again. Enough to keep the host busy, and bounded.
const MAX_REEXECUTED_AHEAD: usize = 4096;

/// Restarts of agent hosts.
#[derive(Debug)]
pub(super) struct AgentRestarts {
    /// The reason for which the state of an agent cannot be captured, by the number of the agent; none if it can.
    pub(super) opaque: Vec<Option<String>>,
}

impl AgentRestarts {
    /// Tells an agent host that is ready what to load.
    pub(super) fn begin_loading(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
    ) -> Result<(), LoopError> {
        let living: Vec<AgentId> = context.living(host).collect();
        let base = match slots.get(host).ignores_checkpoints {
            true => None,
            false => context.ledger.base(&living)?,
        };
        let restored = |agent: AgentId| {
            base.as_ref()
                .is_some_and(|base| base.states.iter().any(|(held, _)| *held == agent))
        };
        let loads = living.iter().map(|agent| agents::LoadAgent {
            restored: restored(*agent),
            ..context.config.loads[agent.index()].clone()
        });
        let loads = LoadSequence::agents(loads);
        let slot = slots.get_mut(host);
        if let Some(restart) = &mut slot.restart {
            restart.base = base.as_ref().map(|base| base.mark.tick);
        }
        slot.stage = HostStage::Loading(LoadProgress::Agents { loads, base });
        if !context.hosts.is_set_up(host) && !planted(Bug::SkipSetup) {
            let setup = agents::AgentCommand::Setup(context.config.agent_setup.clone());
            context.hosts.command_agents(host, setup)?;
        }
        load_more(context, slots, host)
    }

    /// An agent is loaded.
    pub(super) fn on_loaded(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let loaded: AgentLoaded = context.decode(host, header, AGENT_LOADED)?;
        loaded.result.map_err(LoopError::Host)?;
        let slot = slots.get_mut(host);
        slot.on_replies(1);
        if let Some(opaque) = self.opaque.get_mut(loaded.agent.index()) {
            *opaque = loaded.opaque;
        }
        if let HostStage::Loading(LoadProgress::Agents { loads, .. }) = &mut slot.stage {
            loads.on_reply();
        }
        load_more(context, slots, host)
    }

    /// Sends committed ticks as long as there is room, and the open one behind them.
    pub(super) fn continue_reexecution(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
    ) -> Result<(), LoopError> {
        let slot = slots.get_mut(host);
        if slot.known.len() >= MAX_REEXECUTED_AHEAD {
            return Ok(());
        }
        let stage = std::mem::replace(&mut slot.stage, HostStage::Starting);
        let HostStage::Reexecuting(mut reexecution) = stage else {
            unreachable!("the caller has looked");
        };
        // The open tick is not committed, whatever else the journal has.
        let committed = Tick(context.machine.tick().0 - 1);
        while reexecution.tick() < committed && slots.get(host).known.len() < MAX_REEXECUTED_AHEAD {
            let Some(past) = reexecution.next()? else {
                let reader = context.ledger.ticks_after(reexecution.mark())?;
                reexecution.read_from(reader);
                continue;
            };
            let slot = slots.get_mut(host);
            if let Some(restart) = &mut slot.restart {
                restart.reexecuted += u64::from(!past.steps.is_empty());
            }
            for outcome in past.outcomes {
                slot.known.insert((past.tick, outcome.agent), outcome);
            }
            if !past.steps.is_empty() {
                slots.push_await_results(context, host, past.tick, &past.answers)?;
                slots.push_steps(context, host, past.tick, &past.steps)?;
            }
        }
        if reexecution.tick() < committed {
            slots.get_mut(host).stage = HostStage::Reexecuting(reexecution);
            return Ok(());
        }
        resume_open_tick(context, slots, host)
    }
}

/// Keeps a bounded number of loads under way. After the last one, the host is told to start.
fn load_more(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
) -> Result<(), LoopError> {
    let slot = slots.get_mut(host);
    let HostStage::Loading(LoadProgress::Agents { loads, .. }) = &mut slot.stage else {
        return Ok(());
    };
    let next: Vec<agents::LoadAgent> = std::iter::from_fn(|| loads.next_to_send()).collect();
    let is_done = loads.is_done();
    slot.expect_replies(next.len());
    for load in next {
        context
            .hosts
            .command_agents(host, agents::AgentCommand::Load(load))?;
    }
    match is_done {
        true => begin_reexecution(context, slots, host),
        false => Ok(()),
    }
}

/// Gives the agents their state, and prepares the ticks that it does not contain.
fn begin_reexecution(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
) -> Result<(), LoopError> {
    let stage = std::mem::replace(&mut slots.get_mut(host).stage, HostStage::Starting);
    let HostStage::Loading(LoadProgress::Agents { base, .. }) = stage else {
        unreachable!("the caller has looked");
    };
    let start = agents::AgentCommand::Start(context.config.start.clone());
    context.hosts.command_agents(host, start)?;
    context.hosts.started(host)?;
    let living = context.living(host);
    let mut contained: BTreeMap<AgentId, Tick> = living.map(|agent| (agent, Tick::ZERO)).collect();
    for (agent, records) in base.iter().flat_map(|base| &base.states) {
        let tick = base.as_ref().map_or(Tick::ZERO, |base| base.mark.tick);
        contained.insert(*agent, tick);
        restore(context, slots, host, (*agent, tick), records)?;
    }
    for (agent, tick) in &contained {
        let base = Some(*tick).filter(|tick| *tick > Tick::ZERO);
        context.ledger.begun_again(*agent, base);
    }
    context.hosts.notify(host);
    let begins_anew = contained.values().any(|tick| *tick == Tick::ZERO);
    let from = base.filter(|_| !begins_anew);
    let mark = from.as_ref().map(|base| &base.mark);
    let reader = context.ledger.ticks_after(mark)?;
    context.pass(FaultPoint::RecoveryRestored);
    let plan = plan(context.header, &context.config.placement);
    let reexecution = Reexecution::new(host, plan, from.as_ref(), contained, reader)?;
    slots.get_mut(host).stage = HostStage::Reexecuting(Box::new(reexecution));
    Ok(())
}

/// Sends the state that an agent had after a tick.
fn restore(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
    (agent, tick): (AgentId, Tick),
    records: &[Vec<u8>],
) -> Result<(), LoopError> {
    for (position, record) in records.iter().enumerate() {
        let mut header = RecordHeader::new(RESTORE, tick);
        header.subject = agent.0;
        header.correlation = u64::from(position + 1 == records.len());
        slots.push_bytes(context, host, &header, record)?;
    }
    Ok(())
}

/// The host has been told of every committed tick, and gets what is asked of it in the open one.
fn resume_open_tick(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
) -> Result<(), LoopError> {
    let open = context.machine.tick();
    context.pass(FaultPoint::RecoveryCaughtUp);
    let machine = &context.machine;
    let slot = slots.get_mut(host);
    slot.stage = HostStage::Serving;
    if slot.tick == open {
        slot.steps.retain(|step| !machine.is_halted(step.agent));
        slot.ask_again(|agent| machine.outcome(agent).is_some());
        for step in &slot.steps {
            if let Some(outcome) = machine.outcome(step.agent) {
                slot.known.insert((open, step.agent), outcome.clone());
            } else if !machine.awaited_requests(step.agent).is_empty() {
                slot.repeating.insert(step.agent, false);
            }
        }
    } else {
        slot.ask_nothing();
    }
    slots.finish_restart(context, host)?;
    slots.send_steps(context, host)
}
