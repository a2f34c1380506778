//! From a manifest to hosts that have everything loaded.

use super::host_config::HostConfig;
use super::load::{self, LoadReport};
use super::manifest::Manifest;
use super::placement::Placement;
use crate::artifact::Compiler;
use crate::error::RunError;
use crate::faults::Faults;
use crate::host::{HostProgram, HostSet, SpawnConfig, StopSignals};
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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What of a record is not what a step may hold: the messages of the step and the words around them, or a joined batch.
const BESIDE_STEP: usize = limit::INBOX_BYTES + (1 << 20);

/// How often hosts are started before the first tick, if one is lost meanwhile.
const STARTS: u32 = 3;

const _: () = assert!(BESIDE_STEP >= limit::BATCH_BYTES);
const _: () = assert!(ring_bytes(limit::STEP_BYTES) == 16 << 20);

/// Bytes of each ring of every host, for steps that may hold so many. A record may be a quarter of it.
const fn ring_bytes(step_bytes: usize) -> usize {
    (4 * (step_bytes + BESIDE_STEP)).next_power_of_two()
}

/// The engines of this binary and how to start them.
#[derive(Clone, Debug)]
pub struct Engines {
    /// The binary that knows the roles.
    pub program: Arc<HostProgram>,
    /// Version of Lockstep.
    pub lockstep: String,
    /// Version of wasmtime.
    pub wasmtime: String,
    /// The settings of wasmtime that machine code depends on, as text.
    pub wasmtime_settings: String,
    /// Where compiled components are kept; nowhere without it.
    pub cache: Option<PathBuf>,
    /// An ONNX Runtime library to use instead of the embedded one.
    pub library: Option<String>,
}

/// Hosts that have everything loaded but have not been told to start.
pub struct StartedHosts {
    /// The hosts.
    pub crew: HostSet,
    /// What was found out while loading.
    pub facts: LoadReport,
    /// What the hosts were told, and are told again when they come back.
    pub orders: HostConfig,
    /// Whether the agents are loaded.
    pub has_agents: bool,
}

/// Compiles components, starts the hosts and loads everything.
///
/// # Errors
/// [`RunError`]; hosts that were started are ended.
pub fn start_hosts(
    engines: &Engines,
    manifest: &Manifest,
    layout: Placement,
    demands: &StartupOptions,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<StartedHosts, RunError> {
    observer.stage("compiling agents");
    let (components, component_memory) = compile(engines, manifest)?;
    let (models, model_memory) = gather_models(manifest, demands.inference)?;
    observer.stage("starting hosts");
    let ring = ring_bytes(manifest.step_size());
    let sizes = LinkSizes {
        down_bytes: ring,
        up_bytes: ring,
    };
    let mut orders = HostConfig::new(
        engines,
        manifest,
        layout,
        &components,
        &models,
        demands.strict_providers,
        &kept(manifest, demands.needed.as_ref()),
    );
    for (load, providers) in orders.versions.iter_mut().zip(&demands.providers) {
        load.providers.clone_from(providers);
    }
    let copy = |memory: &OwnedFd| {
        memory.try_clone().map_err(|source| RunError::System {
            what: "memory for components and models",
            source,
        })
    };
    let muster = || -> Result<SpawnConfig, RunError> {
        let model_memory = model_memory.as_ref().map(copy).transpose()?;
        Ok(SpawnConfig {
            program: Arc::clone(&engines.program),
            agent_hosts: orders.layout.hosts,
            agent_sizes: sizes,
            components: copy(&component_memory)?,
            inference: model_memory.map(|memory| (memory, sizes)),
            agents: (0..orders.layout.hosts)
                .map(|host| orders.layout.agents_of(HostId::from_index(host)).collect())
                .collect(),
            faults: demands.faults.clone(),
            spare: demands.spare.then(|| orders.setup.clone()),
        })
    };
    let mut starts = 0;
    let (crew, facts) = loop {
        starts += 1;
        demands.faults.pass(FaultPoint::BeforeSpawn, Tick::ZERO);
        let patience = demands.load_patience;
        let started = HostSet::start(muster()?, patience, stop.clone())
            .map_err(RunError::from)
            .and_then(|mut crew| {
                observer.confined(&crew.ready());
                observer.stage("loading agents and models");
                let facts = load::load(&mut crew, &orders, demands.agents, patience, observer)?;
                Ok((crew, facts))
            });
        match started {
            // Nothing has happened yet that would have to be done again.
            Err(RunError::Crew(lost)) if lost.is_loss() && starts < STARTS => {
                tracing::warn!("a start has failed and is tried again: {lost}");
            }
            started => break started?,
        }
    };
    Ok(StartedHosts {
        crew,
        facts,
        orders,
        has_agents: demands.agents,
    })
}

/// What the hosts are needed for.
#[derive(Clone, Debug)]
pub struct StartupOptions {
    /// Whether models are run; a replay takes their results from the journal.
    pub inference: bool,
    /// Whether agents are loaded; when a run goes on, they come back later, each with its state.
    pub agents: bool,
    /// Whether anything but a model's first provider is a refusal.
    pub strict_providers: bool,
    /// What may be made to go wrong.
    pub faults: Faults,
    /// Whether an agent host stands ready to take the place of one that is lost.
    pub spare: bool,
    /// How long hosts may be silent while they start and load.
    pub load_patience: Duration,
    /// Versions of models that answer first; those of the first tick without it. The others are looked at and let go.
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
        self.orders.start = StartAgents { models: ports };
        load::start(&mut self.crew, &self.orders, self.has_agents)
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

fn kept(manifest: &Manifest, needed: Option<&BTreeSet<VersionId>>) -> BTreeSet<VersionId> {
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

fn gather_models(
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
    let (mut extents, mut pieces, mut offset) = (BTreeMap::new(), Vec::new(), 0);
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
        pieces.extend([bytes, &PADDING[..padding]]);
    }
    let memory = sealed_memory(name, &pieces).map_err(|source| RunError::System {
        what: "memory for components and models",
        source,
    })?;
    Ok((extents, memory))
}
