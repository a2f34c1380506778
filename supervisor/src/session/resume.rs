//! Resuming a run whose supervisor was killed or stopped.
//!
//! The machine begins with the newest checkpoint and follows the journal from there; the torn end is cut; then every
//! agent host is treated as a lost one: its agents get their state and execute the later ticks again.

use super::catch_up::CaughtUpRun;
use super::live_run::{LiveRun, RunReport, RunShutdown};
use super::stats::RunStats;
use crate::analysis::diff;
use crate::error::RunError;
use crate::event_loop::{LoopEnd, Timeouts};
use crate::fleet::OnProviderLost;
use crate::host::{StopSignals, sweep_socket_folders};
use crate::journal::JournalReader;
use crate::launch::{
    Engines, Manifest, Placement, StartupOptions, check_build, fault_setup, ports,
    provider_changes, run_header, shared_hosts, start_hosts,
};
use crate::models::{apply_verdicts, versions};
use crate::observer::Observer;
use crate::record::RunHeader;
use crate::rundir::{BoundOverrides, LaunchSettings, RunDir};
use crate::sys::clock::now;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;
use std::path::Path;
use std::time::Duration;

/// A request to resume a run.
pub struct ResumeRequest<'a> {
    /// The run directory.
    pub dir: &'a Path,
    /// The engines.
    pub engines: &'a Engines,
    /// Ticks of the whole run, in place of those that it was launched with.
    pub ticks: Option<u64>,
    /// True if checkpoints are ignored.
    pub ignore_checkpoints: bool,
    /// True if the run may continue on the next provider of a model whose provider is lost.
    pub allow_next_provider: bool,
    /// Bounds that replace those of the launch.
    pub bounds: BoundOverrides,
    /// Signals that end the run early.
    pub stop: StopSignals,
}

/// Resumes a run and runs it to its end.
///
/// # Errors
/// [`RunError`]. The run can be resumed again.
pub fn resume(
    request: ResumeRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<RunReport, RunError> {
    let requested_at = now();
    let run_dir = RunDir::open(request.dir)?;
    sweep_socket_folders();
    let (header, _) = JournalReader::open(&run_dir)?;
    check_build(&header, request.engines)?;
    let faults = fault_setup::resume(&run_dir, &header)?;
    let run_dir = if faults.may_fault() {
        run_dir.with_disk_faults(faults.switch())
    } else {
        run_dir
    };
    faults.pass(FaultPoint::ResumeStarted, Tick::ZERO);
    let mut launch = run_dir.launch()?;
    launch.ticks = request.ticks.or(launch.ticks);
    launch.apply(&request.bounds);
    let placement = placement_of(&header, &launch);
    let caught_up = CaughtUpRun::load(
        &run_dir,
        &header,
        &launch,
        &placement,
        request.ignore_checkpoints,
        &faults,
        observer,
    )?;
    run_dir.put_launch(&launch)?;
    if let Some(end) = LoopEnd::of(&caught_up.machine) {
        let shutdown = RunShutdown {
            hosts: None,
            plan_changes: caught_up.machine.plan_changes().to_vec(),
            header,
            store: caught_up.store,
        };
        return shutdown.finish(Ok(end), RunStats::begin(), requested_at, run_dir.path());
    }
    let full_header = header.with(caught_up.machine.plan_changes());
    let manifest = Manifest::from_run(&full_header, &run_dir, &launch.isolated, true)?;
    let mut expected = versions(&header);
    apply_verdicts(
        &mut expected,
        caught_up
            .machine
            .plan_changes()
            .iter()
            .map(|(_, verdict)| verdict),
    );
    let options = StartupOptions {
        inference: true,
        agents: false,
        strict_providers: launch.strict_providers,
        faults: faults.clone(),
        hot_standby: launch.hot_standby,
        load_timeout: Duration::from_millis(launch.load_ms),
        needed: Some(caught_up.machine.needed_versions()),
        providers: expected
            .iter()
            .map(|version| version.pin.providers.clone())
            .collect(),
    };
    let mut started = start_hosts(
        request.engines,
        &manifest,
        placement,
        &options,
        request.stop,
        observer,
    )?;
    let on_provider_lost = match request.allow_next_provider {
        true => OnProviderLost::Fallback,
        false => launch.on_provider_lost,
    };
    let initial_verdicts = provider_changes(
        &expected,
        &started.report,
        &caught_up.machine.needed_versions(),
        on_provider_lost,
    )?;
    let present = run_header(
        &manifest,
        &started.report,
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
    started.start(ports(&header))?;
    observer.begins(&header);
    let live_run = LiveRun {
        started,
        store: caught_up.store,
        machine: caught_up.machine,
        resume_actions: Some(caught_up.actions),
        timeouts: Timeouts::of(&launch),
        pace: launch.pace,
        on_provider_lost,
        initial_verdicts,
        faults,
        engines: request.engines.clone(),
        strict_providers: launch.strict_providers,
        header,
    };
    live_run.run(requested_at, run_dir.path(), observer)
}

fn placement_of(header: &RunHeader, launch: &LaunchSettings) -> Placement {
    let isolated: Vec<bool> = header
        .agents
        .iter()
        .map(|agent| launch.isolated.contains(&agent.name))
        .collect();
    Placement::new(&isolated, shared_hosts(launch))
}
