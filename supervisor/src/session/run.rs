//! A run of a fleet, with a journal to write.

use super::live_run::{LiveRun, RunSummary};
use super::run_store::RunStore;
use crate::error::RunError;
use crate::event_loop::Timeouts;
use crate::faults::{FaultPlan, Faults};
use crate::fleet::Fleet;
use crate::host::StopSignals;
use crate::journal::{JournalWriter, create_run_dir, discard_run_dir};
use crate::launch::{Builtin, Engines, Manifest, Placement, fault_setup, plan, prepare};
use crate::observer::Observer;
use crate::record::{ModelPin, RunHeader};
use crate::rundir::{LaunchSettings, Outbox, RunDir};
use crate::sys::clock::now;
use crate::tick::TickMachine;
use shm_protocol::id::Tick;
use shm_protocol::supervisor_to_agent::ModelPorts;
use std::path::Path;

/// What is asked for.
pub struct RunRequest<'a> {
    /// The fleet.
    pub fleet: &'a Fleet,
    /// The fleet file, or the name of an embedded fleet, for people.
    pub origin: String,
    /// Where the run is kept.
    pub dir: &'a Path,
    /// Finds parts of the binary.
    pub builtin: Builtin<'a>,
    /// The engines.
    pub engines: &'a Engines,
    /// What is made to go wrong, beside what the fleet file says.
    pub faults: FaultPlan,
    /// Whether anything but a model's first provider is a refusal.
    pub strict_providers: bool,
    /// What ends the run early.
    pub stop: StopSignals,
}

/// Runs a fleet until its end.
///
/// # Errors
/// [`RunError`]. Nothing is left behind when the run did not begin; a run that
/// began leaves a journal that verifies.
pub fn run(request: RunRequest<'_>, observer: &mut dyn Observer) -> Result<RunSummary, RunError> {
    let asked = now();
    let run_dir = create_run_dir(request.dir)?;
    let plan = request.fleet.faults.clone().joined(request.faults.clone());
    let faults = fault_setup::begin(&run_dir, &plan)?;
    let run_dir = if faults.may_fault() {
        run_dir.failing(faults.switch())
    } else {
        run_dir
    };
    let launched = match begin(request, faults, &run_dir, observer) {
        Ok(launched) => launched,
        Err(error) => {
            // What went wrong first is what is told; a folder that cannot be emptied is the lesser trouble.
            let _ = discard_run_dir(run_dir);
            return Err(error);
        }
    };
    launched.follow(asked, run_dir.path(), observer)
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
    let (mut assembled, header) = prepare(
        fleet,
        &manifest,
        engines,
        request.strict_providers,
        faults.clone(),
        request.stop,
        observer,
    )?;
    let layout = &assembled.orders.layout;
    let launch = launch(request.origin, fleet, request.strict_providers, layout);
    run_dir.put_launch(&launch)?;
    let machine = TickMachine::new(plan(&header, layout), fleet.ticks.map(Tick));
    assembled.start(ports(&header))?;
    let writer = JournalWriter::create(run_dir, &header, fleet.durability)?;
    let names = header
        .agents
        .iter()
        .map(|agent| agent.name.clone())
        .collect();
    let outbox = Outbox::open(run_dir, writer.run_id(), names)?;
    observer.begins(&header);
    Ok(LiveRun {
        assembled,
        keeper: RunStore::new(run_dir, writer, outbox, &header, &launch, faults.clone())?,
        faults,
        machine,
        going_on: None,
        patience: Timeouts::of(&launch),
        losing: launch.on_provider_lost,
        lost: Vec::new(),
        engines: engines.clone(),
        strict_providers: launch.strict_providers,
        header,
    })
}

fn launch(
    origin: String,
    fleet: &Fleet,
    strict_providers: bool,
    layout: &Placement,
) -> LaunchSettings {
    let isolated = fleet.agents.iter().filter(|agent| agent.isolate);
    LaunchSettings {
        fleet: origin,
        hosts: u32::try_from(layout.hosts).expect("at most limit::HOSTS"),
        isolated: isolated.map(|agent| agent.name.clone()).collect(),
        durability: fleet.durability,
        ticks: fleet.ticks,
        strict_providers,
        deadline_ms: fleet.deadline_ms,
        agent_ready_ms: fleet.agent_ready_ms,
        inference_ready_ms: fleet.inference_ready_ms,
        load_ms: fleet.load_ms,
        checkpoint_ticks: fleet.checkpoint_ticks,
        checkpoint_ms: fleet.checkpoint_ms,
        keep: fleet.keep,
        restarts: fleet.restarts,
        spare: fleet.spare,
        on_provider_lost: fleet.on_provider_lost,
    }
}

/// What agents must know of the models.
pub(crate) fn ports(header: &RunHeader) -> Vec<ModelPorts> {
    let of = |model: &ModelPin| ModelPorts {
        signature: model.signature.clone(),
        on_mismatch: model.on_mismatch,
    };
    header.models.iter().map(of).collect()
}
