//! From a manifest to hosts that have everything loaded.

use super::engines::Engines;
use super::host_config::HostConfig;
use super::load::{self, LoadReport};
use super::manifest::Manifest;
use super::placement::Placement;
use crate::artifact::Compiler;
use crate::error::RunError;
use crate::faults::Faults;
use crate::host::{HostSet, SpawnConfig, StopSignals};
use crate::observer::Observer;
use crate::record::Digest;
use shm_protocol::boot::Extent;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, ModelId, Tick, VersionId};
use shm_protocol::limit;
use shm_protocol::link::LinkSizes;
use shm_protocol::supervisor_to_agent::{ModelPorts, StartAgents};
use shm_protocol::sys::sealed_memory;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a record beside the data of a step: its messages and their encoding, or a batch.
const RECORD_OVERHEAD_BYTES: usize = limit::INBOX_BYTES + (1 << 20);

/// Limit of the starts of all hosts before the first tick, if one is lost meanwhile.
const MAX_STARTS: u32 = 3;

const _: () = assert!(RECORD_OVERHEAD_BYTES >= limit::BATCH_BYTES);
const _: () = assert!(ring_bytes(limit::STEP_BYTES) == 16 << 20);

/// Bytes of each ring of every host, by the limit of a step. A record may be a quarter of the ring.
const fn ring_bytes(max_step_bytes: usize) -> usize {
    (4 * (max_step_bytes + RECORD_OVERHEAD_BYTES)).next_power_of_two()
}

/// Hosts that have everything loaded but have no start command yet.
pub struct StartedHosts {
    /// The hosts.
    pub hosts: HostSet,
    /// The report of the loading.
    pub report: LoadReport,
    /// The configuration of the hosts, also for restarts.
    pub host_config: HostConfig,
    /// True if the agents are loaded.
    pub has_agents: bool,
}

/// Compiles components, starts the hosts and loads everything.
///
/// # Errors
/// [`RunError`]; hosts that were started are ended.
pub fn start_hosts(
    engines: &Engines,
    manifest: &Manifest,
    placement: Placement,
    options: &StartupOptions,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<StartedHosts, RunError> {
    observer.stage("compiling agents");
    let (components, component_memory) = compile(engines, manifest)?;
    let (models, model_memory) = bundle_models(manifest, options.inference)?;
    observer.stage("starting hosts");
    let ring = ring_bytes(manifest.step_size());
    let sizes = LinkSizes {
        down_bytes: ring,
        up_bytes: ring,
    };
    let mut host_config = HostConfig::new(
        engines,
        manifest,
        placement,
        &components,
        &models,
        options.strict_providers,
        &initial_versions(manifest, options.needed.as_ref()),
    );
    for (load, providers) in host_config.versions.iter_mut().zip(&options.providers) {
        load.providers.clone_from(providers);
    }
    let copy = |memory: &OwnedFd| {
        memory.try_clone().map_err(|source| RunError::System {
            what: "memory for components and models",
            source,
        })
    };
    let spawn_config = || -> Result<SpawnConfig, RunError> {
        let model_memory = model_memory.as_ref().map(copy).transpose()?;
        Ok(SpawnConfig {
            program: Arc::clone(&engines.program),
            agent_hosts: host_config.placement.hosts,
            agent_sizes: sizes,
            components: copy(&component_memory)?,
            inference: model_memory.map(|memory| (memory, sizes)),
            agents: (0..host_config.placement.hosts)
                .map(|host| {
                    host_config
                        .placement
                        .agents_of(HostId::from_index(host))
                        .collect()
                })
                .collect(),
            faults: options.faults.clone(),
            standby_setup: options.hot_standby.then(|| host_config.agent_setup.clone()),
        })
    };
    let mut starts = 0;
    let (hosts, report) = loop {
        starts += 1;
        options.faults.pass(FaultPoint::BeforeSpawn, Tick::ZERO);
        let timeout = options.load_timeout;
        let started = HostSet::start(spawn_config()?, timeout, stop.clone())
            .map_err(RunError::from)
            .and_then(|mut hosts| {
                observer.confined(&hosts.ready());
                observer.stage("loading agents and models");
                let report =
                    load::load(&mut hosts, &host_config, options.agents, timeout, observer)?;
                Ok((hosts, report))
            });
        match started {
            // There are no ticks yet that would have to be executed again.
            Err(RunError::Crew(lost)) if lost.is_loss() && starts < MAX_STARTS => {
                tracing::warn!("start failed, trying again: {lost}");
            }
            started => break started?,
        }
    };
    Ok(StartedHosts {
        hosts,
        report,
        host_config,
        has_agents: options.agents,
    })
}

/// Options of the start of hosts.
#[derive(Clone, Debug)]
pub struct StartupOptions {
    /// True if models are run; a replay takes their results from the journal.
    pub inference: bool,
    /// True if agents are loaded; when a run is resumed, they are loaded later, each with its state.
    pub agents: bool,
    /// True if only a model's first provider is accepted.
    pub strict_providers: bool,
    /// The injected faults.
    pub faults: Faults,
    /// True if a hot standby of the agent hosts is kept.
    pub hot_standby: bool,
    /// Time limit for silence of the hosts while they start and load.
    pub load_timeout: Duration,
    /// Versions of models that stay loaded; those of the first tick without it. The others are probed and unloaded.
    pub needed: Option<BTreeSet<VersionId>>,
    /// Providers to try for each version, by its number, where they are not those of its model.
    pub providers: Vec<Vec<String>>,
}

impl StartedHosts {
    /// Tells all hosts that are loaded to take work, once the models' ports are known.
    ///
    /// # Errors
    /// [`RunError::Crew`].
    pub fn start(&mut self, ports: Vec<ModelPorts>) -> Result<(), RunError> {
        self.host_config.start = StartAgents { models: ports };
        load::start(&mut self.hosts, &self.host_config, self.has_agents)
    }
}

fn compile(
    engines: &Engines,
    manifest: &Manifest,
) -> Result<(BTreeMap<Digest, Extent>, OwnedFd), RunError> {
    let compiler = Compiler {
        program: engines.program.path(),
        cache: engines.cache.clone(),
        canonical_nan: manifest.canonical_nan,
        wasmtime_version: engines.wasmtime.clone(),
        config_fingerprint: engines.wasmtime_settings.clone(),
    };
    let mut artifacts: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    for agent in &manifest.agents {
        if artifacts.contains_key(&agent.component) {
            continue;
        }
        let refused = |source| RunError::Component {
            agent: agent.name.clone(),
            source,
        };
        let artifact = compiler
            .artifact(manifest.object(&agent.component))
            .map_err(refused)?;
        artifacts.insert(agent.component, artifact);
    }
    bundle(
        "lockstep-components",
        artifacts
            .iter()
            .map(|(digest, bytes)| (*digest, bytes.as_slice())),
    )
}

fn initial_versions(
    manifest: &Manifest,
    needed: Option<&BTreeSet<VersionId>>,
) -> BTreeSet<VersionId> {
    needed.cloned().unwrap_or_else(|| {
        let numbers = (0..manifest.models.len()).map(ModelId::from_index);
        let is_kept = |model: &ModelId| {
            let mut changes = manifest.changes.iter();
            !changes.any(|change| change.model == *model && change.from <= Tick(1))
        };
        numbers
            .filter(is_kept)
            .map(|model| VersionId(model.0))
            .collect()
    })
}

fn bundle_models(
    manifest: &Manifest,
    inference: bool,
) -> Result<(BTreeMap<Digest, Extent>, Option<OwnedFd>), RunError> {
    if !inference || manifest.models.is_empty() {
        return Ok((BTreeMap::new(), None));
    }
    let files: BTreeMap<Digest, &[u8]> = manifest
        .versions()
        .map(|(_, file)| (*file, manifest.object(file)))
        .collect();
    let (extents, memory) = bundle("lockstep-models", files.into_iter())?;
    Ok((extents, Some(memory)))
}

/// Sealed memory with all parts, each at a page of its own.
pub(crate) fn bundle<'a>(
    name: &str,
    parts: impl Iterator<Item = (Digest, &'a [u8])>,
) -> Result<(BTreeMap<Digest, Extent>, OwnedFd), RunError> {
    const PAGE: usize = 4096;
    const PADDING: [u8; PAGE] = [0; PAGE];
    let (mut extents, mut parts_and_padding, mut offset) = (BTreeMap::new(), Vec::new(), 0);
    for (digest, bytes) in parts {
        let padding = bytes.len().next_multiple_of(PAGE) - bytes.len();
        extents.insert(
            digest,
            Extent {
                offset,
                bytes: bytes.len() as u64,
            },
        );
        offset += (bytes.len() + padding) as u64;
        parts_and_padding.extend([bytes, &PADDING[..padding]]);
    }
    let memory = sealed_memory(name, &parts_and_padding).map_err(|source| RunError::System {
        what: "memory for components and models",
        source,
    })?;
    Ok((extents, memory))
}
