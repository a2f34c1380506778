//! How a host comes back: a new incarnation is started, told what to load, gets
//! the state of its agents, executes the ticks after it, and takes up the open one.

use super::host_failure::role;
use super::host_slot::HostStage;
use super::ledger::BaseState;
use super::reexecute::Reexecution;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::host::HostKind;
use crate::launch::plan;
use crate::planted::{Bug, planted};
use crate::recovery::LossCause;
use crate::rundir::RunEvent;
use shm_protocol::agent_state::RESTORE;
use shm_protocol::agent_to_supervisor::{AGENT_LOADED, AgentLoaded};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick, VersionId};
use shm_protocol::ring::RecordHeader;
use shm_protocol::{limit, supervisor_to_agent as agents, supervisor_to_inference as inference};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Outcomes that may be under way while ticks are executed again. Enough to keep the host busy, and bounded.
const REDO_AHEAD: usize = 4096;

/// A host on its way back.
#[derive(Debug)]
pub(super) struct HostRestart {
    pub(super) lost_at: Duration,
    pub(super) cause: String,
    /// The checkpoint that its agents began with.
    pub(super) base: Option<Tick>,
    pub(super) reexecuted: u64,
    /// It is told of as a part of the run that goes on, and not alone.
    pub(super) is_resume: bool,
    /// It was not lost but is started anew, which is not told.
    pub(super) is_planned: bool,
}

impl HostRestart {
    /// After a loss.
    pub(super) fn after_loss(lost_at: Duration, cause: &str) -> HostRestart {
        HostRestart {
            lost_at,
            cause: cause.to_owned(),
            base: None,
            reexecuted: 0,
            is_resume: false,
            is_planned: false,
        }
    }

    /// After an end that was meant.
    pub(super) fn as_planned(ended_at: Duration, cause: &str) -> HostRestart {
        HostRestart {
            is_planned: true,
            ..HostRestart::after_loss(ended_at, cause)
        }
    }

    /// With a run that goes on.
    pub(super) fn after_resume(lost_at: Duration) -> HostRestart {
        HostRestart {
            is_resume: true,
            ..HostRestart::after_loss(lost_at, "the run goes on")
        }
    }
}

/// What a new incarnation has still to be told.
#[derive(Debug)]
pub(super) enum LoadProgress {
    /// Of agents.
    Agents {
        left: VecDeque<agents::LoadAgent>,
        unanswered: usize,
        base: Option<BaseState>,
    },
    /// Of the engine and the models: the versions that are still to be loaded, once the engine is.
    Engine { left: Option<VecDeque<VersionId>> },
}

impl EventLoop<'_> {
    /// Does what can be done for hosts on their way back: starts those whose pause is over, and lets others go on.
    pub(super) fn advance_restarts(&mut self) -> Result<(), RunError> {
        // It takes a while to start one, and nobody waits for it: the tick in which a host was lost comes first.
        if self
            .spare_is_due
            .is_some_and(|tick| tick < self.machine.tick())
            && self.all_serve()
            && self.hosts.keep_spare()
        {
            self.spare_is_due = None;
        }
        for position in 0..self.stations.len() {
            let host = HostId::from_index(position);
            let station = &self.stations[position];
            match &station.stage {
                HostStage::Pausing(until) if *until <= self.hosts.clock() => {
                    self.start_again(host)?
                }
                HostStage::Reexecuting(_) if station.known.len() < REDO_AHEAD => {
                    let gone_on = self.continue_reexecution(host);
                    self.handle_host_error(host, gone_on)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn start_again(&mut self, host: HostId) -> Result<(), RunError> {
        self.pass(FaultPoint::BeforeSpawn);
        match self.hosts.spawn(host) {
            Ok(incarnation) => {
                let station = self.station(host);
                if !planted(Bug::ReuseIncarnation) {
                    station.incarnation = incarnation;
                }
                station.stage = HostStage::Starting;
                if self.hosts.is_ready(host) {
                    return self.begin_loading(host);
                }
                self.station(host).expect_replies(1);
                Ok(())
            }
            Err(error) => self.fail_host(host, LossCause::Outside, &error.to_string()),
        }
    }

    pub(super) fn on_ready(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        self.hosts.complete_handshake(host, header)?;
        self.station(host).on_replies(1);
        match self.hosts.kind(host) {
            HostKind::Agents => Ok(self.begin_loading(host)?),
            HostKind::Inference => {
                self.station(host).stage = HostStage::Loading(LoadProgress::Engine { left: None });
                self.station(host).expect_replies(1);
                let setup = inference::InferenceCommand::Setup(self.orders.engine.clone());
                Ok(self.hosts.command_inference(setup)?)
            }
        }
    }

    /// Tells an agent host that is ready what to load.
    pub(super) fn begin_loading(&mut self, host: HostId) -> Result<(), RunError> {
        let living: Vec<AgentId> = self.living(host).collect();
        let base = if self.station(host).ignores_checkpoints {
            None
        } else {
            self.ledger.base(&living)?
        };
        let restored = |agent: AgentId| {
            base.as_ref()
                .is_some_and(|base| base.states.iter().any(|(held, _)| *held == agent))
        };
        let left = living
            .iter()
            .map(|agent| agents::LoadAgent {
                restored: restored(*agent),
                ..self.orders.loads[agent.index()].clone()
            })
            .collect();
        let station = self.station(host);
        if let Some(comeback) = &mut station.restart {
            comeback.base = base.as_ref().map(|base| base.mark.tick);
        }
        station.stage = HostStage::Loading(LoadProgress::Agents {
            left,
            unanswered: 0,
            base,
        });
        let told = self.set_up(host).and_then(|()| self.load_more(host));
        self.handle_host_error(host, told)
    }

    fn set_up(&mut self, host: HostId) -> Result<(), LoopError> {
        if self.hosts.is_set_up(host) || planted(Bug::SkipSetup) {
            return Ok(());
        }
        let setup = agents::AgentCommand::Setup(self.orders.setup.clone());
        Ok(self.hosts.command_agents(host, setup)?)
    }

    /// Keeps a bounded number of loads under way. After the last one, the host is told to start.
    fn load_more(&mut self, host: HostId) -> Result<(), LoopError> {
        let mut loads = Vec::new();
        let station = &mut self.stations[host.index()];
        let HostStage::Loading(LoadProgress::Agents {
            left, unanswered, ..
        }) = &mut station.stage
        else {
            return Ok(());
        };
        while *unanswered < limit::COMMANDS_OUTSTANDING / 2
            && let Some(load) = left.pop_front()
        {
            *unanswered += 1;
            loads.push(load);
        }
        let is_done = *unanswered == 0;
        station.expect_replies(loads.len());
        for load in loads {
            self.hosts
                .command_agents(host, agents::AgentCommand::Load(load))?;
        }
        if is_done {
            self.begin_reexecution(host)?;
        }
        Ok(())
    }

    pub(super) fn on_loaded(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        if self.hosts.kind(host) == HostKind::Inference {
            return self.on_engine_loading(host, header);
        }
        let loaded: AgentLoaded = self.expect(host, header, AGENT_LOADED)?;
        loaded.result.map_err(LoopError::Host)?;
        self.station(host).on_replies(1);
        if let Some(opaque) = self.opaque.get_mut(loaded.agent.index()) {
            *opaque = loaded.opaque;
        }
        if let HostStage::Loading(LoadProgress::Agents { unanswered, .. }) =
            &mut self.station(host).stage
        {
            *unanswered = unanswered.saturating_sub(1);
        }
        self.load_more(host)
    }

    /// Gives the agents their state, and the ticks that it does not contain.
    fn begin_reexecution(&mut self, host: HostId) -> Result<(), LoopError> {
        let stage = std::mem::replace(&mut self.station(host).stage, HostStage::Starting);
        let HostStage::Loading(LoadProgress::Agents { base, .. }) = stage else {
            unreachable!("the caller has looked");
        };
        let start = agents::AgentCommand::Start(self.orders.start.clone());
        self.hosts.command_agents(host, start)?;
        self.hosts.started(host)?;
        let mut contained: BTreeMap<AgentId, Tick> =
            self.living(host).map(|agent| (agent, Tick::ZERO)).collect();
        for (agent, records) in base.iter().flat_map(|base| &base.states) {
            let tick = base.as_ref().map_or(Tick::ZERO, |base| base.mark.tick);
            contained.insert(*agent, tick);
            self.restore(host, *agent, tick, records)?;
        }
        for (agent, tick) in &contained {
            let base = Some(*tick).filter(|tick| *tick > Tick::ZERO);
            self.ledger.begun_again(*agent, base);
        }
        self.hosts.notify(host);
        let begins_anew = contained.values().any(|tick| *tick == Tick::ZERO);
        let from = base.filter(|_| !begins_anew);
        let reader = self
            .ledger
            .ticks_after(from.as_ref().map(|base| &base.mark))?;
        self.pass(FaultPoint::RecoveryRestored);
        let plan = plan(self.header, &self.orders.layout);
        let redo = Reexecution::new(host, plan, from.as_ref(), contained, reader)?;
        self.station(host).stage = HostStage::Reexecuting(Box::new(redo));
        Ok(())
    }

    fn restore(
        &mut self,
        host: HostId,
        agent: AgentId,
        tick: Tick,
        records: &[Vec<u8>],
    ) -> Result<(), LoopError> {
        for (position, record) in records.iter().enumerate() {
            let mut header = RecordHeader::new(RESTORE, tick);
            header.subject = agent.0;
            header.correlation = u64::from(position + 1 == records.len());
            self.push(
                host,
                &header,
                record.len(),
                &mut std::iter::once(record.as_slice()),
            )?;
        }
        Ok(())
    }

    /// Sends committed ticks as long as there is room, and the open one behind them.
    fn continue_reexecution(&mut self, host: HostId) -> Result<(), LoopError> {
        let stage = std::mem::replace(&mut self.station(host).stage, HostStage::Starting);
        let HostStage::Reexecuting(mut redo) = stage else {
            unreachable!("the caller has looked");
        };
        // The open tick is not committed, whatever else the journal has.
        let committed = Tick(self.machine.tick().0 - 1);
        while redo.tick() < committed && self.station(host).known.len() < REDO_AHEAD {
            let Some(again) = redo.next()? else {
                let reader = self.ledger.ticks_after(redo.mark())?;
                redo.read_from(reader);
                continue;
            };
            let station = self.station(host);
            if let Some(comeback) = &mut station.restart {
                comeback.reexecuted += u64::from(!again.steps.is_empty());
            }
            for outcome in again.outcomes {
                station.known.insert((again.tick, outcome.agent), outcome);
            }
            if !again.steps.is_empty() {
                self.push_answers(host, again.tick, &again.answers)?;
                self.push_steps(host, again.tick, &again.steps)?;
            }
        }
        if redo.tick() < committed {
            self.station(host).stage = HostStage::Reexecuting(redo);
            return Ok(());
        }
        self.resume_open_tick(host)
    }

    /// The host has been told of every committed tick, and gets what is asked of it in the open one.
    fn resume_open_tick(&mut self, host: HostId) -> Result<(), LoopError> {
        let open = self.machine.tick();
        self.pass(FaultPoint::RecoveryRedone);
        let station = &mut self.stations[host.index()];
        station.stage = HostStage::Serving;
        if station.tick == open {
            station
                .steps
                .retain(|step| !self.machine.is_halted(step.agent));
            station.ask_again(|agent| self.machine.outcome(agent).is_some());
            for step in &station.steps {
                if let Some(outcome) = self.machine.outcome(step.agent) {
                    station.known.insert((open, step.agent), outcome.clone());
                } else if !self.machine.asked(step.agent).is_empty() {
                    station.repeating.insert(step.agent, false);
                }
            }
        } else {
            station.ask_nothing();
        }
        self.check_restored(host)?;
        Ok(self.send_steps(host)?)
    }

    /// Everything that was known has come again as it was.
    pub(super) fn finish_restart(&mut self, host: HostId) -> Result<(), RunError> {
        let (kind, tick, now) = (
            self.hosts.kind(host),
            self.machine.tick(),
            self.hosts.clock(),
        );
        let station = self.station(host);
        if !matches!(station.stage, HostStage::Serving) {
            return Ok(());
        }
        station.ignores_checkpoints = false;
        let incarnation = station.incarnation;
        let Some(comeback) = station.restart.take() else {
            return Ok(());
        };
        if comeback.is_planned {
            return Ok(());
        }
        if comeback.is_resume {
            let (checkpoint, redone) = (comeback.base, comeback.reexecuted);
            return self.ledger.resumed(host, checkpoint, redone);
        }
        self.ledger.event(RunEvent::HostRestored {
            host,
            role: role(kind),
            incarnation,
            tick,
            checkpoint: comeback.base.map(|tick| tick.0),
            redone: comeback.reexecuted,
            ms: now.saturating_sub(comeback.lost_at).as_secs_f64() * 1e3,
            cause: comeback.cause,
        })
    }
}
