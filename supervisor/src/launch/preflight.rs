//! Checks before a run: everything that it does before its first tick.

use super::engines::Engines;
use super::manifest::{Builtin, Manifest};
use super::placement::{Placement, default_hosts};
use super::run_header::{check_signatures, run_header};
use super::startup::{StartedHosts, StartupOptions, start_hosts};
use crate::error::RunError;
use crate::faults::Faults;
use crate::fleet::Fleet;
use crate::host::{HostSet, HostSetError, LOAD_TIMEOUT, SpawnConfig, StopSignals};
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

/// Loads everything that a manifest names, and makes the run header.
pub(crate) fn prepare(
    fleet: &Fleet,
    manifest: &Manifest,
    engines: &Engines,
    strict_providers: bool,
    faults: Faults,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<(StartedHosts, RunHeader), RunError> {
    let placement = Placement::new(
        &manifest.isolated,
        fleet.hosts.unwrap_or_else(default_hosts),
    );
    let options = StartupOptions {
        inference: true,
        agents: true,
        strict_providers,
        faults,
        hot_standby: fleet.hot_standby,
        load_timeout: Duration::from_millis(fleet.load_ms),
        needed: None,
        providers: Vec::new(),
    };
    let started = start_hosts(engines, manifest, placement, &options, stop, observer)?;
    check_signatures(manifest, &started.report)?;
    let header = run_header(
        manifest,
        &started.report,
        &engines.lockstep,
        &engines.wasmtime,
    );
    Ok((started, header))
}

/// Loads everything that a fleet names, and gives the header of its runs.
///
/// # Errors
/// [`RunError`] names the part of the fleet that cannot run.
pub fn check(
    fleet: &Fleet,
    builtin: Builtin<'_>,
    engines: &Engines,
    stop: StopSignals,
    observer: &mut dyn Observer,
) -> Result<RunHeader, RunError> {
    let manifest = Manifest::from_fleet(fleet, builtin)?;
    let (started, header) = prepare(
        fleet,
        &manifest,
        engines,
        false,
        Faults::none(),
        stop,
        observer,
    )?;
    started.hosts.drain()?;
    Ok(header)
}

/// The result of trying a provider.
#[derive(Clone, Debug)]
pub struct ProviderTrial {
    /// The provider.
    pub provider: Provider,
    /// The reason for which it cannot be used, if it cannot.
    pub result: Result<(), String>,
}

/// The state of the hosts of this binary on this machine.
#[derive(Clone, Debug)]
pub struct HostCheck {
    /// The inference engine, or the reason for which there is none.
    pub engine: Result<EngineReady, String>,
    /// The result of trying each provider; none without an engine.
    pub providers: Vec<ProviderTrial>,
    /// The confinement of an agent host.
    pub agent_host: Ready,
    /// The confinement of the inference host.
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
    let spawn_config = SpawnConfig {
        program: Arc::clone(&engines.program),
        agent_hosts: 1,
        agent_sizes: sizes,
        components: nothing,
        inference: Some((also_nothing, sizes)),
        agents: Vec::new(),
        faults: Faults::none(),
        standby_setup: None,
    };
    let mut hosts = HostSet::start(spawn_config, LOAD_TIMEOUT, stop)?;
    let [agent_host, inference_host] =
        <[Ready; 2]>::try_from(hosts.ready()).expect("two hosts were started");
    hosts.command_inference(InferenceCommand::Setup(EngineSetup {
        library: engines.library.clone(),
        intra_op_threads: 1,
        loads_drivers_later: false,
    }))?;
    let (host, header) = hosts.record(LOAD_TIMEOUT)?;
    let engine = match hosts.expect(host, &header, ENGINE_READY) {
        Ok(ready) => Ok(ready),
        Err(HostSetError::Failed { message, .. }) => Err(message),
        Err(error) => return Err(error.into()),
    };
    let providers = match engine {
        Ok(_) => try_providers(&mut hosts)?,
        Err(_) => Vec::new(),
    };
    hosts.drain()?;
    Ok(HostCheck {
        engine,
        providers,
        agent_host,
        inference_host,
    })
}

/// Tries every provider. One that takes the host down with it is named, and those after it are not tried.
fn try_providers(hosts: &mut HostSet) -> Result<Vec<ProviderTrial>, RunError> {
    let mut found = Vec::new();
    let mut is_lost = false;
    for provider in Provider::ALL {
        let result = if is_lost {
            Err("not tried, because the host failed before".to_owned())
        } else {
            match test_provider(hosts, provider.name()) {
                Err(RunError::Crew(HostSetError::Stopped)) => {
                    return Err(HostSetError::Stopped.into());
                }
                Err(error) => {
                    is_lost = true;
                    Err(format!("the host failed: {error}"))
                }
                Ok(result) => result,
            }
        };
        found.push(ProviderTrial { provider, result });
    }
    Ok(found)
}

fn test_provider(hosts: &mut HostSet, provider: &str) -> Result<Result<(), String>, RunError> {
    hosts.command_inference(InferenceCommand::Prove(provider.to_owned()))?;
    let (host, header) = hosts.record(LOAD_TIMEOUT)?;
    let test: ProviderTest = hosts.expect(host, &header, PROVIDER_PROVED)?;
    Ok(test.result)
}
