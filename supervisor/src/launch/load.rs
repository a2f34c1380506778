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

/// The report of the initial loading.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// The engine, if it was started.
    pub engine: Option<EngineReady>,
    /// The models, by the number of the version.
    pub models: Vec<ModelInfo>,
    /// The reason for which the state of an agent cannot be captured, by the number of the agent, for those of which it
    /// cannot.
    pub opaque: Vec<Option<String>>,
}

/// Loads the models and, if `agents` is true, the agents.
pub(crate) fn load(
    hosts: &mut HostSet,
    host_config: &HostConfig,
    agents: bool,
    timeout: Duration,
    observer: &mut dyn Observer,
) -> Result<LoadReport, RunError> {
    load_all(hosts, host_config, agents, timeout, observer).map_err(|error| explained(hosts, error))
}

/// Tells the hosts that nothing more will be loaded.
pub(crate) fn start(
    hosts: &mut HostSet,
    host_config: &HostConfig,
    agents: bool,
) -> Result<(), RunError> {
    start_all(hosts, host_config, agents).map_err(|error| explained(hosts, error))
}

/// Explains an error: a host that refuses says so and exits, while commands may be in flight to it.
fn explained(hosts: &mut HostSet, error: RunError) -> RunError {
    match error {
        RunError::Crew(error) => hosts.explain(error).into(),
        error => error,
    }
}

fn load_all(
    hosts: &mut HostSet,
    host_config: &HostConfig,
    agents: bool,
    timeout: Duration,
    observer: &mut dyn Observer,
) -> Result<LoadReport, RunError> {
    let mut loading = InitialLoad {
        agents: Vec::new(),
        engine: None,
        models: Vec::new(),
        opaque: vec![None; host_config.loads.len()],
        agents_left: if agents { host_config.loads.len() } else { 0 },
    };
    loading.begin_inference(hosts, host_config)?;
    if agents {
        loading.begin_agents(hosts, host_config)?;
    }
    let models = if hosts.inference_host().is_some() {
        host_config.versions.len()
    } else {
        0
    };
    while loading.agents_left > 0 || loading.models.len() < models {
        let (host, header) = hosts.record(timeout)?;
        if Some(host) == hosts.inference_host() {
            if header.kind == ENGINE_READY {
                loading.engine = Some(hosts.expect(host, &header, ENGINE_READY)?);
            } else {
                let loaded = hosts.expect(host, &header, MODEL_LOADED)?;
                loading.model_loaded(hosts, host_config, loaded)?;
            }
        } else {
            let loaded: AgentLoaded = hosts.expect(host, &header, AGENT_LOADED)?;
            loaded
                .logs
                .iter()
                .for_each(|line| observer.init_log(loaded.agent, line));
            loading.agent_loaded(hosts, host, loaded)?;
        }
    }
    Ok(LoadReport {
        engine: loading.engine,
        models: loading.models,
        opaque: loading.opaque,
    })
}

fn start_all(hosts: &mut HostSet, host_config: &HostConfig, agents: bool) -> Result<(), RunError> {
    let agent_hosts = if agents { hosts.agent_hosts() } else { 0 };
    for host in (0..agent_hosts).map(HostId::from_index) {
        hosts.command_agents(host, agents::AgentCommand::Start(host_config.start.clone()))?;
        hosts.started(host)?;
    }
    if let Some(host) = hosts.inference_host() {
        hosts.command_inference(inference::InferenceCommand::Start)?;
        hosts.started(host)?;
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
    fn begin_inference(
        &mut self,
        hosts: &HostSet,
        host_config: &HostConfig,
    ) -> Result<(), RunError> {
        if hosts.inference_host().is_none() {
            return Ok(());
        }
        hosts.command_inference(inference::InferenceCommand::Setup(
            host_config.engine.clone(),
        ))?;
        self.load_model(hosts, host_config)
    }

    /// Models are loaded one after the other: each may take all the memory there is for a while.
    fn load_model(&mut self, hosts: &HostSet, host_config: &HostConfig) -> Result<(), RunError> {
        match host_config.versions.get(self.models.len()) {
            Some(load) => {
                Ok(hosts.command_inference(inference::InferenceCommand::Load(load.clone()))?)
            }
            None => Ok(()),
        }
    }

    fn begin_agents(&mut self, hosts: &HostSet, host_config: &HostConfig) -> Result<(), RunError> {
        for host in (0..hosts.agent_hosts()).map(HostId::from_index) {
            hosts.command_agents(
                host,
                agents::AgentCommand::Setup(host_config.agent_setup.clone()),
            )?;
            self.agents
                .push(host_config.loads_of(host).cloned().collect());
            for _ in 0..limit::COMMANDS_OUTSTANDING / 2 {
                self.load_next_agent(hosts, host)?;
            }
        }
        Ok(())
    }

    fn load_next_agent(&mut self, hosts: &HostSet, host: HostId) -> Result<(), RunError> {
        match self.agents[host.index()].pop_front() {
            Some(load) => Ok(hosts.command_agents(host, agents::AgentCommand::Load(load))?),
            None => Ok(()),
        }
    }

    fn agent_loaded(
        &mut self,
        hosts: &HostSet,
        host: HostId,
        loaded: AgentLoaded,
    ) -> Result<(), RunError> {
        loaded.result.map_err(RunError::AgentRefused)?;
        if let Some(opaque) = self.opaque.get_mut(loaded.agent.index()) {
            *opaque = loaded.opaque;
        }
        self.agents_left -= 1;
        self.load_next_agent(hosts, host)
    }

    fn model_loaded(
        &mut self,
        hosts: &HostSet,
        host_config: &HostConfig,
        loaded: ModelLoaded,
    ) -> Result<(), RunError> {
        let info = loaded.result.map_err(|refusal| {
            let LoadRefused { blame, message } = refusal;
            RunError::ModelRefused { blame, message }
        })?;
        self.models.push(info);
        self.load_model(hosts, host_config)
    }
}
