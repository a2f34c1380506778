//! The configuration that every host gets at its start and at every restart.

use super::engines::Engines;
use super::manifest::Manifest;
use super::placement::Placement;
use crate::record::{Digest, ModelDefinition, ModelPin, RunHeader};
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, HostId, ModelId, VersionId};
use shm_protocol::supervisor_to_agent::ModelPorts;
use shm_protocol::{supervisor_to_agent as agents, supervisor_to_inference as inference};
use std::collections::{BTreeMap, BTreeSet};

/// The configuration that every host gets at its start and at every restart.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The placement of agents on hosts.
    pub placement: Placement,
    /// The settings that all agents share.
    pub agent_setup: agents::AgentSetup,
    /// The load commands of the agents, by number.
    pub loads: Vec<agents::LoadAgent>,
    /// The ports of the models, for the agents; empty until the models are loaded.
    pub start: agents::StartAgents,
    /// The settings of the inference engine.
    pub engine: inference::EngineSetup,
    /// The load commands of the versions, by number; none when models are not run.
    pub versions: Vec<inference::LoadModel>,
}

impl HostConfig {
    /// The configuration of the hosts of a manifest.
    pub(crate) fn new(
        engines: &Engines,
        manifest: &Manifest,
        placement: Placement,
        components: &BTreeMap<Digest, Extent>,
        models: &BTreeMap<Digest, Extent>,
        strict_providers: bool,
        kept: &BTreeSet<VersionId>,
    ) -> HostConfig {
        let load = |(number, pin): (usize, &crate::record::AgentPin)| agents::LoadAgent {
            agent: AgentId::from_index(number),
            artifact: components[&pin.component],
            settings: pin.settings.clone(),
            fuel: pin.fuel,
            memory_bytes: pin.memory_bytes,
            on_failure: pin.on_failure,
            may_finish: pin.may_finish,
            restored: false,
        };
        let names: Vec<&str> = manifest
            .later_versions()
            .map(|(_, new)| new.version.as_str())
            .collect();
        let version = |(number, (id, file)): (usize, (ModelId, &Digest))| {
            let model = &manifest.models[id.index()];
            let version = VersionId::from_index(number);
            Some(inference::LoadModel {
                name: match number < manifest.models.len() {
                    true => model.name.clone(),
                    false => version_title(&model.name, names[number - manifest.models.len()]),
                },
                keep: kept.contains(&version),
                ..load_command(model, (version, id), *models.get(file)?, strict_providers)
            })
        };
        HostConfig {
            placement,
            agent_setup: agent_setup(manifest),
            loads: manifest.agents.iter().enumerate().map(load).collect(),
            start: agents::StartAgents { models: Vec::new() },
            engine: inference::EngineSetup {
                library: engines.library.clone(),
                intra_op_threads: manifest.intra_op_threads,
                loads_drivers_later: !manifest.changes.is_empty()
                    && manifest
                        .models
                        .iter()
                        .any(|model| model.providers.iter().any(|name| name != "cpu")),
            },
            versions: manifest
                .versions()
                .enumerate()
                .filter_map(version)
                .collect(),
        }
    }

    /// The configuration of an inference host with one model, without agents.
    pub(crate) fn of_model(
        engine: inference::EngineSetup,
        load: inference::LoadModel,
    ) -> HostConfig {
        HostConfig {
            placement: Placement::default(),
            agent_setup: agents::AgentSetup::default(),
            loads: Vec::new(),
            start: agents::StartAgents { models: Vec::new() },
            engine,
            versions: vec![load],
        }
    }

    /// The load commands of the agents of a host.
    pub fn loads_of(&self, host: HostId) -> impl Iterator<Item = &agents::LoadAgent> {
        self.placement
            .agents_of(host)
            .map(|agent| &self.loads[agent.index()])
    }
}

/// The load command of a model, as the version that is named as the model itself.
pub(crate) fn load_command<F>(
    definition: &ModelDefinition<F>,
    (version, model): (VersionId, ModelId),
    artifact: Extent,
    strict_providers: bool,
) -> inference::LoadModel {
    inference::LoadModel {
        version,
        model,
        keep: true,
        name: definition.name.clone(),
        artifact,
        providers: definition.providers.clone(),
        strict_providers,
        may_batch: definition.may_batch,
        memory_bytes: definition.settings.memory_bytes,
        generator: definition.settings.generator,
    }
}

/// The name in messages of a version that is not the first of its model.
pub(crate) fn version_title(model: &str, version: &str) -> String {
    format!("{model}, version {version}")
}

fn agent_setup(manifest: &Manifest) -> agents::AgentSetup {
    let names = manifest.agents.iter().map(|agent| agent.name.clone());
    let models = manifest.models.iter().map(|model| model.name.clone());
    agents::AgentSetup {
        random_key: blake3::derive_key(
            "lockstep 2026 random numbers of a run",
            &manifest.seed.to_le_bytes(),
        ),
        canonical_nan: manifest.canonical_nan,
        max_step_bytes: manifest.max_step_bytes,
        agents: names.collect(),
        models: models.collect(),
    }
}

/// The ports of the models, for the agents.
pub(crate) fn ports(header: &RunHeader) -> Vec<ModelPorts> {
    let of = |model: &ModelPin| ModelPorts {
        signature: model.signature.clone(),
        on_mismatch: model.settings.on_mismatch,
    };
    header.models.iter().map(of).collect()
}
