//! A run of a fleet, with a journal to write.

use super::live_run::{LiveRun, RunReport};
use super::run_store::RunStore;
use crate::error::RunError;
use crate::event_loop::Timeouts;
use crate::faults::{FaultPlan, Faults};
use crate::fleet::Fleet;
use crate::host::StopSignals;
use crate::journal::{JournalWriter, create_run_dir, discard_run_dir};
use crate::launch::{Builtin, Engines, Manifest, Placement, fault_setup, plan, ports, prepare};
use crate::observer::Observer;
use crate::rundir::{LaunchSettings, Outbox, RunDir};
use crate::sys::clock::now;
use crate::tick::TickMachine;
use shm_protocol::id::Tick;
use std::path::Path;

/// A request to run a fleet.
pub struct RunRequest<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The fleet file, or the name of an embedded fleet, for people.
    pub origin: String,
    /// The run directory.
    pub dir: &'a Path,
    /// Finds embedded parts of the binary.
    pub builtin: Builtin<'a>,
    /// The engines.
    pub engines: &'a Engines,
    /// Injected faults, beside those of the fleet file.
    pub faults: FaultPlan,
    /// True if only a model's first provider is accepted.
    pub strict_providers: bool,
    /// Signals that end the run early.
    pub stop: StopSignals,
}

/// Runs a fleet until its end.
///
/// # Errors
/// [`RunError`]. Nothing is left behind when the run did not begin; a run that
/// began leaves a journal that verifies.
pub fn run(request: RunRequest<'_>, observer: &mut dyn Observer) -> Result<RunReport, RunError> {
    let requested_at = now();
    let run_dir = create_run_dir(request.dir)?;
    let plan = request.fleet.faults.clone().joined(request.faults.clone());
    let faults = fault_setup::begin(&run_dir, &plan)?;
    let run_dir = if faults.may_fault() {
        run_dir.with_disk_faults(faults.switch())
    } else {
        run_dir
    };
    let live_run = match begin(request, faults, &run_dir, observer) {
        Ok(launched) => launched,
        Err(error) => {
            // The first error is reported; a folder that cannot be emptied is the lesser problem.
            let _ = discard_run_dir(run_dir);
            return Err(error);
        }
    };
    live_run.run(requested_at, run_dir.path(), observer)
}

/// Everything before the first tick.
fn begin(
    request: RunRequest<'_>,
    faults: Faults,
    run_dir: &RunDir,
    observer: &mut dyn Observer,
) -> Result<LiveRun, RunError> {
    let (fleet, engines) = (request.fleet, request.engines);
    let manifest = Manifest::from_fleet(fleet, request.builtin)?;
    for bytes in manifest.objects.values() {
        run_dir.put_object(bytes)?;
    }
    let (mut started, header) = prepare(
        fleet,
        &manifest,
        engines,
        request.strict_providers,
        faults.clone(),
        request.stop,
        observer,
    )?;
    let placement = &started.host_config.placement;
    let launch = launch_settings(request.origin, fleet, request.strict_providers, placement);
    run_dir.put_launch(&launch)?;
    let machine = TickMachine::new(plan(&header, placement), fleet.ticks.map(Tick));
    started.start(ports(&header))?;
    let writer = JournalWriter::create(run_dir, &header, fleet.durability)?;
    let names = header
        .agents
        .iter()
        .map(|agent| agent.name.clone())
        .collect();
    let outbox = Outbox::open(run_dir, writer.run_id(), names)?;
    observer.begins(&header);
    Ok(LiveRun {
        started,
        store: RunStore::new(run_dir, writer, outbox, &header, &launch, faults.clone())?,
        faults,
        machine,
        resume_actions: None,
        timeouts: Timeouts::of(&launch),
        pace: launch.pace,
        on_provider_lost: launch.on_provider_lost,
        initial_verdicts: Vec::new(),
        engines: engines.clone(),
        strict_providers: launch.strict_providers,
        header,
    })
}

fn launch_settings(
    origin: String,
    fleet: &Fleet,
    strict_providers: bool,
    placement: &Placement,
) -> LaunchSettings {
    let isolated = fleet.agents.iter().filter(|agent| agent.isolate);
    LaunchSettings {
        fleet: origin,
        hosts: u32::try_from(placement.hosts).expect("at most limit::HOSTS"),
        isolated: isolated.map(|agent| agent.name.clone()).collect(),
        durability: fleet.durability,
        ticks: fleet.ticks,
        strict_providers,
        deadline_ms: fleet.deadline_ms,
        agent_ready_ms: fleet.agent_ready_ms,
        inference_ready_ms: fleet.inference_ready_ms,
        load_ms: fleet.load_ms,
        checkpoint_ticks: fleet.checkpoint_ticks,
        checkpoint_min_ms: fleet.checkpoint_min_ms,
        checkpoints_kept: fleet.checkpoints_kept,
        restarts: fleet.restarts,
        hot_standby: fleet.hot_standby,
        pace: fleet.pace,
        on_provider_lost: fleet.on_provider_lost,
    }
}
