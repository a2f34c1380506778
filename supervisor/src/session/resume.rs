//! Going on with a run whose supervisor was killed or stopped.
//!
//! The machine begins with the newest checkpoint and follows the journal from
//! there; the torn end is cut; then every agent host is treated as one that was
//! lost: its agents get their state and execute again what came after it.

use super::catch_up::CaughtUpRun;
use super::live_run::{LiveRun, RunShutdown, RunSummary};
use super::replay::{check_build, shared_hosts};
use super::run::ports;
use super::stats::RunStats;
use crate::analysis::diff;
use crate::error::RunError;
use crate::event_loop::Timeouts;
use crate::fleet::OnLost;
use crate::host::{StopSignals, sweep_socket_folders};
use crate::journal::JournalReader;
use crate::launch::{
    Engines, Manifest, Placement, StartupOptions, fault_setup, moved, run_header, start_hosts,
};
use crate::models::{judge, versions};
use crate::observer::Observer;
use crate::record::RunHeader;
use crate::rundir::{LaunchSettings, NewBounds, RunDir};
use crate::sys::clock::now;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;
use std::path::Path;
use std::time::Duration;

/// What is asked for.
pub struct ResumeRequest<'a> {
    /// The run.
    pub dir: &'a Path,
    /// The engines.
    pub engines: &'a Engines,
    /// Ticks of the whole run, in place of those that it was launched with.
    pub ticks: Option<u64>,
    /// Whether checkpoints are left aside.
    pub from_genesis: bool,
    /// Whether the run may go on with the next provider of a model whose provider is gone.
    pub degrade: bool,
    /// Bounds that are set anew.
    pub bounds: NewBounds,
    /// What ends the run early.
    pub stop: StopSignals,
}

/// Goes on with a run until its end.
///
/// # Errors
/// [`RunError`]. The run can be gone on with again.
pub fn resume(
    request: ResumeRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<RunSummary, RunError> {
    let asked = now();
    let run_dir = RunDir::open(request.dir)?;
    sweep_socket_folders();
    let (header, _) = JournalReader::open(&run_dir)?;
    check_build(&header, request.engines)?;
    let faults = fault_setup::go_on(&run_dir, &header)?;
    let run_dir = if faults.may_fault() {
        run_dir.failing(faults.switch())
    } else {
        run_dir
    };
    faults.pass(FaultPoint::ResumeBegun, Tick::ZERO);
    let mut launch = run_dir.launch()?;
    launch.ticks = request.ticks.or(launch.ticks);
    launch.set(&request.bounds);
    let layout = layout_of(&header, &launch);
    let gone = CaughtUpRun::on(
        &run_dir,
        &header,
        &launch,
        &layout,
        request.from_genesis,
        &faults,
        observer,
    )?;
    run_dir.put_launch(&launch)?;
    if let Some(end) = gone.machine.end().cloned() {
        let finishing = RunShutdown {
            crew: None,
            changed: gone.machine.changed().to_vec(),
            header,
            keeper: gone.keeper,
        };
        return finishing.finish(Ok(end), RunStats::begin(), asked, run_dir.path());
    }
    let whole = header.with(gone.machine.changed());
    let manifest = Manifest::from_run(&whole, &run_dir, &launch.isolated, true)?;
    let mut expected = versions(&header);
    judge(
        &mut expected,
        gone.machine.changed().iter().map(|(_, verdict)| verdict),
    );
    let demands = StartupOptions {
        inference: true,
        agents: false,
        strict_providers: launch.strict_providers,
        faults: faults.clone(),
        spare: launch.spare,
        load_patience: Duration::from_millis(launch.load_ms),
        needed: Some(gone.machine.needed()),
        providers: expected
            .iter()
            .map(|version| version.pin.providers.clone())
            .collect(),
    };
    let mut assembled = start_hosts(
        request.engines,
        &manifest,
        layout,
        &demands,
        request.stop,
        observer,
    )?;
    let losing = match request.degrade {
        true => OnLost::Degrade,
        false => launch.on_provider_lost,
    };
    let lost = moved(&expected, &assembled.facts, &gone.machine.needed(), losing)?;
    let present = run_header(
        &manifest,
        &assembled.facts,
        &header.lockstep,
        &header.wasmtime,
    );
    // Versions were compared one by one.
    let present = RunHeader {
        models: header.models.clone(),
        changes: header.changes.clone(),
        ..present
    };
    if let Some(difference) = diff::run_headers(&header, &present) {
        return Err(RunError::Changed {
            difference: difference.to_string(),
        });
    }
    assembled.start(ports(&header))?;
    observer.begins(&header);
    let launched = LiveRun {
        assembled,
        keeper: gone.keeper,
        machine: gone.machine,
        going_on: Some(gone.asked),
        patience: Timeouts::of(&launch),
        losing,
        lost,
        faults,
        engines: request.engines.clone(),
        strict_providers: launch.strict_providers,
        header,
    };
    launched.follow(asked, run_dir.path(), observer)
}

fn layout_of(header: &RunHeader, launch: &LaunchSettings) -> Placement {
    let isolated: Vec<bool> = header
        .agents
        .iter()
        .map(|agent| launch.isolated.contains(&agent.name))
        .collect();
    Placement::new(&isolated, shared_hosts(launch))
}
