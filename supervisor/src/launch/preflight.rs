//! Everything that a run does before its first tick, and nothing after it.

use super::manifest::{Builtin, Manifest};
use super::placement::{Placement, default_hosts};
use super::run_header::{check_signatures, run_header};
use super::startup::{Engines, StartedHosts, StartupOptions, start_hosts};
use crate::error::RunError;
use crate::faults::Faults;
use crate::fleet::Fleet;
use crate::host::{HostSet, HostSetError, LOAD_PATIENCE, SpawnConfig, StopSignals};
use crate::observer::Observer;
use crate::record::RunHeader;
use shm_protocol::agent_to_supervisor::Ready;
use shm_protocol::inference_to_supervisor::{
    ENGINE_READY, EngineReady, PROVIDER_PROVED, ProviderTest,
};
use shm_protocol::link::LinkSizes;
use shm_protocol::provider::Provider;
use shm_protocol::supervisor_to_inference::{EngineSetup, InferenceCommand};
use shm_protocol::sys::sealed_memory;
use std::sync::Arc;
use std::time::Duration;

/// Loads everything that a manifest names and says what the run is.
pub(crate) fn prepare(
    fleet: &Fleet,
    manifest: &Manifest,
    engines: &Engines,
    strict_providers: bool,
    faults: Faults,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<(StartedHosts, RunHeader), RunError> {
    let layout = Placement::new(
        &manifest.isolated,
        fleet.hosts.unwrap_or_else(default_hosts),
    );
    let demands = StartupOptions {
        inference: true,
        agents: true,
        strict_providers,
        faults,
        spare: fleet.spare,
        load_patience: Duration::from_millis(fleet.load_ms),
        needed: None,
        providers: Vec::new(),
    };
    let assembled = start_hosts(engines, manifest, layout, &demands, stop, observer)?;
    check_signatures(manifest, &assembled.facts)?;
    let header = run_header(
        manifest,
        &assembled.facts,
        &engines.lockstep,
        &engines.wasmtime,
    );
    Ok((assembled, header))
}

/// Loads everything that a fleet names and says what its runs are.
///
/// # Errors
/// What is wrong with the fleet.
pub fn check(
    fleet: &Fleet,
    builtin: Builtin<'_>,
    engines: &Engines,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<RunHeader, RunError> {
    let manifest = Manifest::from_fleet(fleet, builtin)?;
    let (assembled, header) = prepare(
        fleet,
        &manifest,
        engines,
        false,
        Faults::none(),
        stop,
        observer,
    )?;
    assembled.crew.drain()?;
    Ok(header)
}

/// What came of trying a provider.
#[derive(Clone, Debug)]
pub struct ProviderTrial {
    /// Which.
    pub provider: Provider,
    /// Why it is no good, if it is not.
    pub result: Result<(), String>,
}

/// What the hosts of this binary say on this machine.
#[derive(Clone, Debug)]
pub struct HostCheck {
    /// The inference engine, or why there is none.
    pub engine: Result<EngineReady, String>,
    /// What came of trying each provider; none without an engine.
    pub providers: Vec<ProviderTrial>,
    /// What an agent host said of its confinement.
    pub agent_host: Ready,
    /// What the inference host said of its confinement.
    pub inference_host: Ready,
}

/// Starts one host of each kind, asks for the engine and ends them.
///
/// # Errors
/// When hosts cannot be started at all.
pub fn check_hosts(engines: &Engines, stop: StopSignals) -> Result<HostCheck, RunError> {
    let nothing =
        sealed_memory("lockstep-nothing", &[&[0]]).map_err(|source| RunError::System {
            what: "memory for components and models",
            source,
        })?;
    let sizes = LinkSizes {
        down_bytes: 0,
        up_bytes: 0,
    };
    let also_nothing = nothing.try_clone().map_err(|source| RunError::System {
        what: "memory for components and models",
        source,
    })?;
    let muster = SpawnConfig {
        program: Arc::clone(&engines.program),
        agent_hosts: 1,
        agent_sizes: sizes,
        components: nothing,
        inference: Some((also_nothing, sizes)),
        agents: Vec::new(),
        faults: Faults::none(),
        spare: None,
    };
    let mut crew = HostSet::start(muster, LOAD_PATIENCE, stop)?;
    let [agent_host, inference_host] =
        <[Ready; 2]>::try_from(crew.ready()).expect("two hosts were started");
    crew.command_inference(InferenceCommand::Setup(EngineSetup {
        library: engines.library.clone(),
        intra_threads: 1,
        loads_drivers_later: false,
    }))?;
    let (host, header) = crew.record(LOAD_PATIENCE)?;
    let engine = match crew.expect(host, &header, ENGINE_READY) {
        Ok(ready) => Ok(ready),
        Err(HostSetError::Failed { message, .. }) => Err(message),
        Err(error) => return Err(error.into()),
    };
    let providers = match engine {
        Ok(_) => providers(&mut crew)?,
        Err(_) => Vec::new(),
    };
    crew.drain()?;
    Ok(HostCheck {
        engine,
        providers,
        agent_host,
        inference_host,
    })
}

/// Tries every provider. One that takes the host down with it is named, and those after it are not tried.
fn providers(crew: &mut HostSet) -> Result<Vec<ProviderTrial>, RunError> {
    let mut found = Vec::new();
    let mut is_lost = false;
    for provider in Provider::ALL {
        let result = if is_lost {
            Err("not tried, because the host was lost before".to_owned())
        } else {
            match prove(crew, provider.name()) {
                Err(RunError::Crew(HostSetError::Stopped)) => {
                    return Err(HostSetError::Stopped.into());
                }
                Err(error) => {
                    is_lost = true;
                    Err(format!("the host was lost: {error}"))
                }
                Ok(result) => result,
            }
        };
        found.push(ProviderTrial { provider, result });
    }
    Ok(found)
}

fn prove(crew: &mut HostSet, provider: &str) -> Result<Result<(), String>, RunError> {
    crew.command_inference(InferenceCommand::Prove(provider.to_owned()))?;
    let (host, header) = crew.record(LOAD_PATIENCE)?;
    let proved: ProviderTest = crew.expect(host, &header, PROVIDER_PROVED)?;
    Ok(proved.result)
}
