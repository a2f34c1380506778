//! Loads agents and models into the hosts of a run before its first tick, all hosts at once. The order within a host is
//! that of every restart: [`LoadSequence`].

use super::host_config::HostConfig;
use crate::error::RunError;
use crate::host::{HostSet, HostSetError, LoadSequence};
use crate::observer::Observer;
use shm_protocol::agent_to_supervisor::{AGENT_LOADED, AgentLoaded};
use shm_protocol::id::HostId;
use shm_protocol::inference_to_supervisor::{
    ENGINE_READY, EngineReady, LoadRefused, MODEL_LOADED, ModelInfo, ModelLoaded,
};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AgentCommand, LoadAgent};
use shm_protocol::supervisor_to_inference::{InferenceCommand, LoadModel};
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
    let mut loading = InitialLoad::new(hosts, host_config, agents);
    let result = loading
        .begin(hosts, host_config)
        .map_err(RunError::from)
        .and_then(|()| {
            while !loading.is_done() {
                let (host, header) = hosts.record(timeout)?;
                loading.on_record(hosts, host, &header, observer)?;
            }
            Ok(())
        });
    result.map_err(|error| explained(hosts, error))?;
    Ok(loading.report)
}

/// Tells the hosts that nothing more will be loaded.
pub(crate) fn start(
    hosts: &mut HostSet,
    host_config: &HostConfig,
    agents: bool,
) -> Result<(), RunError> {
    start_all(hosts, host_config, agents).map_err(|error| explained(hosts, error.into()))
}

/// Explains an error: a host that refuses says so and exits, while commands may be in flight to it.
fn explained(hosts: &mut HostSet, error: RunError) -> RunError {
    match error {
        RunError::Crew(error) => hosts.explain(error).into(),
        error => error,
    }
}

fn start_all(
    hosts: &mut HostSet,
    host_config: &HostConfig,
    agents: bool,
) -> Result<(), HostSetError> {
    let agent_hosts = if agents { hosts.agent_hosts() } else { 0 };
    for host in (0..agent_hosts).map(HostId::from_index) {
        hosts.command_agents(host, AgentCommand::Start(host_config.start.clone()))?;
        hosts.started(host)?;
    }
    if let Some(host) = hosts.inference_host() {
        hosts.command_inference(InferenceCommand::Start)?;
        hosts.started(host)?;
    }
    Ok(())
}

/// The loads of all hosts.
struct InitialLoad {
    /// The agents, by host.
    agents: Vec<LoadSequence<LoadAgent>>,
    /// The models, if there is an inference host.
    models: Option<(HostId, LoadSequence<LoadModel>)>,
    report: LoadReport,
}

impl InitialLoad {
    fn new(hosts: &HostSet, host_config: &HostConfig, agents: bool) -> InitialLoad {
        let agent_hosts = if agents { hosts.agent_hosts() } else { 0 };
        let loads = |host| LoadSequence::agents(host_config.loads_of(host).cloned());
        let versions = || LoadSequence::models_after_setup(host_config.versions.iter().cloned());
        InitialLoad {
            agents: (0..agent_hosts)
                .map(HostId::from_index)
                .map(loads)
                .collect(),
            models: hosts.inference_host().map(|host| (host, versions())),
            report: LoadReport {
                opaque: vec![None; host_config.loads.len()],
                ..LoadReport::default()
            },
        }
    }

    fn is_done(&self) -> bool {
        let agents = self.agents.iter().all(LoadSequence::is_done);
        let models = self.models.as_ref();
        agents && models.is_none_or(|(_, models)| models.is_done())
    }

    /// The first commands of all hosts.
    fn begin(&mut self, hosts: &HostSet, host_config: &HostConfig) -> Result<(), HostSetError> {
        if self.models.is_some() {
            let engine = host_config.engine.clone();
            hosts.command_inference(InferenceCommand::Setup(engine))?;
        }
        for host in (0..self.agents.len()).map(HostId::from_index) {
            let setup = host_config.agent_setup.clone();
            hosts.command_agents(host, AgentCommand::Setup(setup))?;
            self.send_agents(hosts, host)?;
        }
        Ok(())
    }

    /// The answer to a command, and the next commands.
    fn on_record(
        &mut self,
        hosts: &HostSet,
        host: HostId,
        header: &RecordHeader,
        observer: &mut dyn Observer,
    ) -> Result<(), RunError> {
        let Some((_, models)) = self.models.as_mut().filter(|(models, _)| *models == host) else {
            let loaded: AgentLoaded = hosts.expect(host, header, AGENT_LOADED)?;
            let lines = loaded.logs.iter();
            lines.for_each(|line| observer.init_log(loaded.agent, line));
            loaded.result.map_err(RunError::AgentRefused)?;
            if let Some(opaque) = self.report.opaque.get_mut(loaded.agent.index()) {
                *opaque = loaded.opaque;
            }
            self.agents[host.index()].on_reply();
            return Ok(self.send_agents(hosts, host)?);
        };
        if header.kind == ENGINE_READY {
            self.report.engine = Some(hosts.expect(host, header, ENGINE_READY)?);
        } else {
            let loaded: ModelLoaded = hosts.expect(host, header, MODEL_LOADED)?;
            let refused =
                |LoadRefused { blame, message }| RunError::ModelRefused { blame, message };
            self.report.models.push(loaded.result.map_err(refused)?);
        }
        models.on_reply();
        if let Some(load) = models.next_to_send() {
            hosts.command_inference(InferenceCommand::Load(load))?;
        }
        Ok(())
    }

    fn send_agents(&mut self, hosts: &HostSet, host: HostId) -> Result<(), HostSetError> {
        while let Some(load) = self.agents[host.index()].next_to_send() {
            hosts.command_agents(host, AgentCommand::Load(load))?;
        }
        Ok(())
    }
}
