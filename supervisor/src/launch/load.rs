//! Loads agents and models into the hosts of a run before its first tick, all
//! hosts at once, with a bounded number of unanswered commands each.

use super::host_config::HostConfig;
use crate::error::RunError;
use crate::host::HostSet;
use crate::observer::Observer;
use shm_protocol::agent_to_supervisor::{AGENT_LOADED, AgentLoaded};
use shm_protocol::id::HostId;
use shm_protocol::inference_to_supervisor::{
    ENGINE_READY, EngineReady, LoadRefused, MODEL_LOADED, ModelInfo, ModelLoaded,
};
use shm_protocol::{limit, supervisor_to_agent as agents, supervisor_to_inference as inference};
use std::collections::VecDeque;
use std::time::Duration;

/// What was found out while loading.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// The engine, if it was started.
    pub engine: Option<EngineReady>,
    /// The models, by the number of the version.
    pub models: Vec<ModelInfo>,
    /// Why the state of an agent cannot be captured, by the number of the agent, for those of which it cannot.
    pub opaque: Vec<Option<String>>,
}

/// Loads the models and, if `agents` says so, the agents. Gives what was found out.
pub(crate) fn load(
    crew: &mut HostSet,
    orders: &HostConfig,
    agents: bool,
    patience: Duration,
    observer: &mut dyn Observer,
) -> Result<LoadReport, RunError> {
    load_all(crew, orders, agents, patience, observer).map_err(|error| explained(crew, error))
}

/// Tells the hosts that nothing more will be loaded.
pub(crate) fn start(crew: &mut HostSet, orders: &HostConfig, agents: bool) -> Result<(), RunError> {
    start_all(crew, orders, agents).map_err(|error| explained(crew, error))
}

/// A host that refuses says so and goes, while commands may be under way to it.
fn explained(crew: &mut HostSet, error: RunError) -> RunError {
    match error {
        RunError::Crew(error) => crew.explain(error).into(),
        error => error,
    }
}

fn load_all(
    crew: &mut HostSet,
    orders: &HostConfig,
    agents: bool,
    patience: Duration,
    observer: &mut dyn Observer,
) -> Result<LoadReport, RunError> {
    let mut loading = InitialLoad {
        agents: Vec::new(),
        engine: None,
        models: Vec::new(),
        opaque: vec![None; orders.loads.len()],
        agents_left: if agents { orders.loads.len() } else { 0 },
    };
    loading.begin_inference(crew, orders)?;
    if agents {
        loading.begin_agents(crew, orders)?;
    }
    let models = if crew.inference_host().is_some() {
        orders.versions.len()
    } else {
        0
    };
    while loading.agents_left > 0 || loading.models.len() < models {
        let (host, header) = crew.record(patience)?;
        if Some(host) == crew.inference_host() {
            if header.kind == ENGINE_READY {
                loading.engine = Some(crew.expect(host, &header, ENGINE_READY)?);
            } else {
                let loaded = crew.expect(host, &header, MODEL_LOADED)?;
                loading.model_loaded(crew, orders, loaded)?;
            }
        } else {
            let loaded: AgentLoaded = crew.expect(host, &header, AGENT_LOADED)?;
            loaded
                .logs
                .iter()
                .for_each(|line| observer.init_log(loaded.agent, line));
            loading.agent_loaded(crew, host, loaded)?;
        }
    }
    Ok(LoadReport {
        engine: loading.engine,
        models: loading.models,
        opaque: loading.opaque,
    })
}

fn start_all(crew: &mut HostSet, orders: &HostConfig, agents: bool) -> Result<(), RunError> {
    let hosts = if agents { crew.agent_hosts() } else { 0 };
    for host in (0..hosts).map(HostId::from_index) {
        crew.command_agents(host, agents::AgentCommand::Start(orders.start.clone()))?;
        crew.started(host)?;
    }
    if let Some(host) = crew.inference_host() {
        crew.command_inference(inference::InferenceCommand::Start)?;
        crew.started(host)?;
    }
    Ok(())
}

struct InitialLoad {
    /// Commands that wait for room, by host.
    agents: Vec<VecDeque<agents::LoadAgent>>,
    agents_left: usize,
    engine: Option<EngineReady>,
    models: Vec<ModelInfo>,
    opaque: Vec<Option<String>>,
}

impl InitialLoad {
    fn begin_inference(&mut self, crew: &HostSet, orders: &HostConfig) -> Result<(), RunError> {
        if crew.inference_host().is_none() {
            return Ok(());
        }
        crew.command_inference(inference::InferenceCommand::Setup(orders.engine.clone()))?;
        self.load_model(crew, orders)
    }

    /// Models are loaded one after the other: each may take all the memory there is for a while.
    fn load_model(&mut self, crew: &HostSet, orders: &HostConfig) -> Result<(), RunError> {
        match orders.versions.get(self.models.len()) {
            Some(load) => {
                Ok(crew.command_inference(inference::InferenceCommand::Load(load.clone()))?)
            }
            None => Ok(()),
        }
    }

    fn begin_agents(&mut self, crew: &HostSet, orders: &HostConfig) -> Result<(), RunError> {
        for host in (0..crew.agent_hosts()).map(HostId::from_index) {
            crew.command_agents(host, agents::AgentCommand::Setup(orders.setup.clone()))?;
            self.agents.push(orders.loads_of(host).cloned().collect());
            for _ in 0..limit::COMMANDS_OUTSTANDING / 2 {
                self.load_next_agent(crew, host)?;
            }
        }
        Ok(())
    }

    fn load_next_agent(&mut self, crew: &HostSet, host: HostId) -> Result<(), RunError> {
        match self.agents[host.index()].pop_front() {
            Some(load) => Ok(crew.command_agents(host, agents::AgentCommand::Load(load))?),
            None => Ok(()),
        }
    }

    fn agent_loaded(
        &mut self,
        crew: &HostSet,
        host: HostId,
        loaded: AgentLoaded,
    ) -> Result<(), RunError> {
        loaded.result.map_err(RunError::AgentRefused)?;
        if let Some(opaque) = self.opaque.get_mut(loaded.agent.index()) {
            *opaque = loaded.opaque;
        }
        self.agents_left -= 1;
        self.load_next_agent(crew, host)
    }

    fn model_loaded(
        &mut self,
        crew: &HostSet,
        orders: &HostConfig,
        loaded: ModelLoaded,
    ) -> Result<(), RunError> {
        let facts = loaded.result.map_err(|refusal| {
            let LoadRefused { blame, message } = refusal;
            RunError::ModelRefused { blame, message }
        })?;
        self.models.push(facts);
        self.load_model(crew, orders)
    }
}
