//! The agents of this host and the engine that runs them.

use crate::agent::{HostedAgent, StepProgress};
use crate::bindings::Event;
use crate::compiled_component::CompiledComponent;
use crate::determinism;
use crate::error::AgentHostError;
use crate::events;
use crate::imports;
use crate::shared_config::SharedConfig;
use crate::store_data::StoreData;
use shm_protocol::agent_state::StateRecord;
use shm_protocol::agent_to_supervisor::{AgentLoaded, Effect, Outcome};
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{AgentSetup, AwaitResult, LoadAgent, ModelPorts, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::Engine;
use wasmtime::component::Linker;

/// The agents of this host and the engine that runs them.
pub(crate) struct AgentSet {
    engine: Engine,
    linker: Linker<StoreData>,
    shared: Arc<SharedConfig>,
    /// Components by offset and length in the artifact memory, because agents share them.
    components: BTreeMap<(u64, u64), Arc<CompiledComponent>>,
    /// By agent number. Agents of other hosts are `None`.
    agents: Vec<Option<Box<HostedAgent>>>,
    /// The events of the current step; its allocation is reused.
    events: Vec<Event>,
    /// A list for the effects of the next step; its allocation is reused.
    spare: Vec<Effect>,
}

impl AgentSet {
    /// An engine without agents.
    ///
    /// # Errors
    /// When this machine cannot run the engine with the settings of [`determinism`].
    pub(crate) fn new(setup: AgentSetup) -> Result<AgentSet, AgentHostError> {
        let refused = |error: wasmtime::Error| AgentHostError::Engine {
            what: "this machine".to_owned(),
            reason: format!("{error:#}"),
        };
        let config = determinism::config(setup.canonical_nan).map_err(refused)?;
        let engine = Engine::new(&config).map_err(refused)?;
        let linker = imports::linker(&engine).map_err(refused)?;
        let shared = Arc::new(SharedConfig::new(setup));
        Ok(AgentSet {
            engine,
            linker,
            shared,
            components: BTreeMap::new(),
            agents: Vec::new(),
            events: Vec::new(),
            spare: Vec::new(),
        })
    }

    /// Instantiates an agent whose component is in the artifact memory, or prepares it for being restored.
    ///
    /// # Errors
    /// When the artifact is not valid, the agent cannot be restored, or the machine lacks memory.
    pub(crate) fn load(
        &mut self,
        load: LoadAgent,
        artifacts: &[u8],
    ) -> Result<AgentLoaded, AgentHostError> {
        let component = self.component(load.agent, load.artifact, artifacts)?;
        let position = load.agent.index();
        let (agent, loaded) = HostedAgent::load(&self.shared, component, load)?;
        if self.agents.len() <= position {
            self.agents.resize_with(position + 1, || None);
        }
        self.agents[position] = Some(Box::new(agent));
        Ok(loaded)
    }

    /// Sets the inputs and outputs of the models.
    pub(crate) fn set_models(&mut self, models: Vec<ModelPorts>) {
        self.shared.set_ports(models);
    }

    /// Takes a step. [`AgentSet::recycle`] takes the outcome back.
    ///
    /// # Errors
    /// When this host has no such agent, its last step is not finished, or the machine lacks memory.
    pub(crate) fn step(&mut self, tick: Tick, step: Step) -> Result<StepProgress, AgentHostError> {
        let agent = find(&mut self.agents, step.agent, tick)?;
        events::convert(&self.shared, step.events, &mut self.events);
        agent.step(tick, &mut self.events, &mut self.spare)
    }

    /// Accepts a result that a step awaits, or that a later step will await: `None` in the second case.
    ///
    /// # Errors
    /// When this host has no such agent, the agent does not await this result, or the machine lacks memory.
    pub(crate) fn resume(
        &mut self,
        tick: Tick,
        result: AwaitResult,
    ) -> Result<Option<StepProgress>, AgentHostError> {
        find(&mut self.agents, result.agent, tick)?.resume(result)
    }

    /// Passes the states of all agents that can be captured to `send`, as [`HostedAgent::save`] does.
    ///
    /// # Errors
    /// Those of `send`, and when an agent's own state is not restored yet.
    pub(crate) fn save(
        &mut self,
        is_full: bool,
        max_payload_bytes: usize,
        mut send: impl FnMut(&StateRecord) -> Result<(), AgentHostError>,
    ) -> Result<(), AgentHostError> {
        for agent in self.agents.iter_mut().flatten() {
            agent.save(is_full, max_payload_bytes, &mut send)?;
        }
        Ok(())
    }

    /// Applies a record to an agent that was loaded to be restored.
    ///
    /// # Errors
    /// When this host has no such agent, the record does not fit it, or the machine lacks memory.
    pub(crate) fn restore(
        &mut self,
        tick: Tick,
        record: StateRecord,
    ) -> Result<(), AgentHostError> {
        find(&mut self.agents, record.agent, tick)?.restore(record)
    }

    /// Takes back the allocation of an outcome that has been sent.
    pub(crate) fn recycle(&mut self, outcome: Outcome) {
        self.spare = outcome.effects;
    }

    /// The component of an artifact, loaded at its first use.
    fn component(
        &mut self,
        agent: AgentId,
        extent: Extent,
        artifacts: &[u8],
    ) -> Result<Arc<CompiledComponent>, AgentHostError> {
        let key = (extent.offset, extent.bytes);
        if let Some(component) = self.components.get(&key) {
            return Ok(Arc::clone(component));
        }
        let total = artifacts.len();
        let range = extent.within(total).ok_or(AgentHostError::Extent {
            agent,
            extent,
            total,
        })?;
        let artifact = &artifacts[range];
        let component = CompiledComponent::load(&self.engine, &self.linker, artifact);
        let component = component.map_err(|error| AgentHostError::Engine {
            what: format!("the compiled component of agent {agent}"),
            reason: error.to_string(),
        })?;
        let component = Arc::new(component);
        self.components.insert(key, Arc::clone(&component));
        Ok(component)
    }
}

fn find(
    agents: &mut [Option<Box<HostedAgent>>],
    agent: AgentId,
    tick: Tick,
) -> Result<&mut HostedAgent, AgentHostError> {
    let found = agents.get_mut(agent.index()).and_then(Option::as_deref_mut);
    found.ok_or(AgentHostError::NoSuchAgent { agent, tick })
}
