//! What every host is told when it starts, and when it starts again.

use super::manifest::Manifest;
use super::placement::Placement;
use super::startup::Engines;
use crate::record::Digest;
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, HostId, ModelId, VersionId};
use shm_protocol::{supervisor_to_agent as agents, supervisor_to_inference as inference};
use std::collections::{BTreeMap, BTreeSet};

/// What every host is told when it starts, and when it starts again.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Which host steps which agent.
    pub layout: Placement,
    /// What all agents have in common.
    pub setup: agents::AgentSetup,
    /// By the number of the agent.
    pub loads: Vec<agents::LoadAgent>,
    /// What agents must know of the models; empty until they are loaded.
    pub start: agents::StartAgents,
    /// Which engine.
    pub engine: inference::EngineSetup,
    /// By the number of the version; none when models are not run.
    pub versions: Vec<inference::LoadModel>,
}

impl HostConfig {
    /// What the hosts of this manifest are told.
    pub(crate) fn new(
        engines: &Engines,
        manifest: &Manifest,
        layout: Placement,
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
            restored: false,
        };
        let names: Vec<&str> = manifest.later_versions().map(|(_, name)| name).collect();
        let version = |(number, (id, file)): (usize, (ModelId, &Digest))| {
            let model = &manifest.models[id.index()];
            let version = VersionId::from_index(number);
            Some(inference::LoadModel {
                version,
                model: id,
                keep: kept.contains(&version),
                name: match number < manifest.models.len() {
                    true => model.name.clone(),
                    false => version_title(&model.name, names[number - manifest.models.len()]),
                },
                artifact: *models.get(file)?,
                providers: model.providers.clone(),
                strict_providers,
                may_batch: model.may_batch,
                memory_bytes: model.memory_bytes,
                generator: model.generator,
            })
        };
        HostConfig {
            layout,
            setup: setup(manifest),
            loads: manifest.agents.iter().enumerate().map(load).collect(),
            start: agents::StartAgents { models: Vec::new() },
            engine: inference::EngineSetup {
                library: engines.library.clone(),
                intra_threads: manifest.intra_threads,
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

    /// What the agents of a host are loaded with.
    pub fn loads_of(&self, host: HostId) -> impl Iterator<Item = &agents::LoadAgent> {
        self.layout
            .agents_of(host)
            .map(|agent| &self.loads[agent.index()])
    }
}

/// What messages call a version that is not the first of its model.
pub(crate) fn version_title(model: &str, version: &str) -> String {
    format!("{model}, version {version}")
}

fn setup(manifest: &Manifest) -> agents::AgentSetup {
    let names = manifest.agents.iter().map(|agent| agent.name.clone());
    let models = manifest.models.iter().map(|model| model.name.clone());
    agents::AgentSetup {
        random_key: blake3::derive_key(
            "lockstep 2026 random numbers of a run",
            &manifest.seed.to_le_bytes(),
        ),
        canonical_nan: manifest.canonical_nan,
        step_bytes: manifest.step_bytes,
        agents: names.collect(),
        models: models.collect(),
    }
}
