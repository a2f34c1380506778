//! All agents of this host.

use crate::agent::{Agent, Stepped};
use crate::bindings::Event;
use crate::determinism;
use crate::error::HostError;
use crate::events;
use crate::fleet::Fleet;
use crate::imports;
use crate::program::Program;
use crate::state::State;
use shm_protocol::agent_state::StateRecord;
use shm_protocol::agent_to_supervisor::{AgentLoaded, Effect, Outcome};
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{AgentSetup, AwaitResult, LoadAgent, ModelPorts, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// All agents of this host, and the engine that runs them.
pub(crate) struct Agents {
    engine: Engine,
    linker: Linker<State>,
    fleet: Arc<Fleet>,
    /// Components by where they are, because agents share them.
    programs: BTreeMap<(u64, u64), Arc<Program>>,
    /// By the number of the agent; others are on other hosts.
    agents: Vec<Option<Box<Agent>>>,
    events: Vec<Event>,
    spare: Vec<Effect>,
}

impl Agents {
    /// An engine without agents.
    ///
    /// # Errors
    /// When this machine cannot run the engine as [`determinism`] wants it.
    pub(crate) fn new(setup: AgentSetup) -> Result<Agents, HostError> {
        let refused = |error: wasmtime::Error| engine_error("this machine", &error);
        let config = determinism::config(setup.canonical_nan).map_err(refused)?;
        let engine = Engine::new(&config).map_err(refused)?;
        let linker = imports::linker(&engine).map_err(refused)?;
        let fleet = Arc::new(Fleet::new(setup));
        Ok(Agents {
            engine,
            linker,
            fleet,
            programs: BTreeMap::new(),
            agents: Vec::new(),
            events: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Instantiates an agent out of the memory with the compiled components, or makes it ready to be restored.
    ///
    /// # Errors
    /// When the component is not one of ours or cannot be restored, or the machine is at its end.
    pub(crate) fn load(
        &mut self,
        load: LoadAgent,
        artifacts: &[u8],
    ) -> Result<AgentLoaded, HostError> {
        let program = self.program(load.agent, load.artifact, artifacts)?;
        let position = load.agent.index();
        let (agent, loaded) = Agent::load(&self.fleet, program, load)?;
        if self.agents.len() <= position {
            self.agents.resize_with(position + 1, || None);
        }
        self.agents[position] = Some(Box::new(agent));
        Ok(loaded)
    }

    /// Tells what the models take and give.
    pub(crate) fn start(&mut self, models: Vec<ModelPorts>) {
        self.fleet.start(models);
    }

    /// Takes a step. The outcome goes back through [`Agents::recycle`].
    ///
    /// # Errors
    /// When this host has no such agent, it is in the middle of a step, or the machine is at its end.
    pub(crate) fn step(&mut self, tick: Tick, step: Step) -> Result<Stepped, HostError> {
        let agent = find(&mut self.agents, step.agent, tick)?;
        events::convert(&self.fleet, step.events, &mut self.events);
        agent.step(tick, &mut self.events, &mut self.spare)
    }

    /// Takes an answer to what a step waits for, or will. None in the second case.
    ///
    /// # Errors
    /// When this host has no such agent, it cannot wait for that, or the machine is at its end.
    pub(crate) fn answer(
        &mut self,
        tick: Tick,
        answered: AwaitResult,
    ) -> Result<Option<Stepped>, HostError> {
        find(&mut self.agents, answered.agent, tick)?.answer(answered)
    }

    /// Gives the states of all agents that can be captured, as [`Agent::save`] does.
    ///
    /// # Errors
    /// Those of `give`, and when an agent still waits for its own state.
    pub(crate) fn save(
        &mut self,
        is_full: bool,
        max_payload_bytes: usize,
        mut give: impl FnMut(&StateRecord) -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        for agent in self.agents.iter_mut().flatten() {
            agent.save(is_full, max_payload_bytes, &mut give)?;
        }
        Ok(())
    }

    /// Takes a record of the state of an agent that was loaded to be restored.
    ///
    /// # Errors
    /// When this host has no such agent, the record does not fit it, or the machine is at its end.
    pub(crate) fn restore(&mut self, tick: Tick, record: StateRecord) -> Result<(), HostError> {
        find(&mut self.agents, record.agent, tick)?.restore(record)
    }

    /// Takes back the memory of an outcome that has been sent.
    pub(crate) fn recycle(&mut self, outcome: Outcome) {
        self.spare = outcome.effects;
    }

    fn program(
        &mut self,
        agent: AgentId,
        extent: Extent,
        artifacts: &[u8],
    ) -> Result<Arc<Program>, HostError> {
        let key = (extent.offset, extent.bytes);
        if let Some(program) = self.programs.get(&key) {
            return Ok(Arc::clone(program));
        }
        let total = artifacts.len();
        let range = extent.within(total).ok_or(HostError::Extent {
            agent,
            extent,
            total,
        })?;
        let program =
            Program::load(&self.engine, &self.linker, &artifacts[range]).map_err(|error| {
                HostError::Engine {
                    what: format!("the compiled component of agent {agent}"),
                    reason: error.to_string(),
                }
            })?;
        let program = Arc::new(program);
        self.programs.insert(key, Arc::clone(&program));
        Ok(program)
    }
}

fn find(
    agents: &mut [Option<Box<Agent>>],
    agent: AgentId,
    tick: Tick,
) -> Result<&mut Agent, HostError> {
    let found = agents.get_mut(agent.index()).and_then(Option::as_deref_mut);
    found.ok_or(HostError::NoSuchAgent { agent, tick })
}

fn engine_error(what: &str, error: &wasmtime::Error) -> HostError {
    HostError::Engine {
        what: what.to_owned(),
        reason: format!("{error:#}"),
    }
}
