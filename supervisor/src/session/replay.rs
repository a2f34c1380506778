//! A replay: the same machine and the same hosts, with a journal to compare
//! with instead of one to write. Nothing is emitted.
//!
//! Without `reinfer` the inference results come from the journal; with it the
//! models are run again, and their results are compared as part of the tick.

use super::comparing_ledger::ComparingLedger;
use super::journal_scan::{JournalScan, scan_journal};
use crate::analysis::diff::{self, Difference};
use crate::analysis::{UlpDistance, UlpStatistics};
use crate::error::RunError;
use crate::event_loop::{EventLoop, RealHosts, Timeouts};
use crate::faults::Faults;
use crate::host::StopSignals;
use crate::journal::JournalReader;
use crate::launch::{
    Engines, Manifest, Placement, StartupOptions, check_build, plan, ports, run_header,
    shared_hosts, start_hosts,
};
use crate::models::header_at;
use crate::observer::Observer;
use crate::record::{Digest, ModelChange, RunHeader, Verdict};
use crate::rundir::RunDir;
use crate::tick::{RunEnd, TickMachine};
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::Batching;
use std::path::Path;
use std::time::Duration;

/// A request to replay a run.
pub struct ReplayRequest<'a> {
    /// The run directory.
    pub dir: &'a Path,
    /// The engines.
    pub engines: &'a Engines,
    /// True if the models are run again.
    pub reinfer: bool,
    /// Other providers to run them on; only the first is accepted. Results may then differ, and their distance is
    /// measured.
    pub providers: Vec<String>,
    /// Signals that end the replay early.
    pub stop: StopSignals,
}

/// The report of a replay.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// The header of the run.
    pub header: RunHeader,
    /// Ticks that are equal to the journal's.
    pub ticks: u64,
    /// Steps of agents in them.
    pub steps: u64,
    /// Requests to models in them.
    pub inferences: u64,
    /// Restarts of hosts during the replay.
    pub restarts: u64,
    /// Verdicts, with their ticks.
    pub verdicts: Vec<(Tick, Verdict)>,
    /// The chain of the journal.
    pub chain: Digest,
    /// Time from the first tick to the last.
    pub wall: Duration,
    /// The first difference, if there is one; left is the journal, right the replay.
    pub divergence: Option<Difference>,
    /// The provider of each model in this replay, by its number.
    pub providers: Vec<String>,
    /// The distances of the results from the journal's, if other providers were requested.
    pub ulp_distances: Vec<UlpDistance>,
    /// True if it was stopped before the end of the journal.
    pub stopped: bool,
}

/// Replays a run and compares it tick by tick.
///
/// # Errors
/// [`RunError`] when the journal does not verify, was made by another build, or the replay cannot be carried out. A
/// replay that differs is no error; see [`ReplayReport::divergence`].
pub fn replay(
    request: ReplayRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<ReplayReport, RunError> {
    let run_dir = RunDir::read(request.dir)?;
    // The whole journal is checked before anything starts, which also finds its end.
    let JournalScan {
        until,
        chain,
        verdicts,
        recorded_answers,
    } = scan_journal(&run_dir)?;
    let (header, journal) = JournalReader::open(&run_dir)?;
    check_build(&header, request.engines)?;
    let full_header = {
        let flat = verdicts
            .iter()
            .flat_map(|(tick, verdicts)| verdicts.iter().map(|verdict| (*tick, verdict.clone())));
        header.with(&flat.collect::<Vec<_>>())
    };
    let launch = run_dir.launch()?;
    let with_models = request.reinfer && !header.models.is_empty();
    let mut manifest = Manifest::from_run(&full_header, &run_dir, &launch.isolated, with_models)?;
    let uses_other_providers = !request.providers.is_empty();
    if uses_other_providers {
        for model in &mut manifest.models {
            model.providers.clone_from(&request.providers);
        }
    }
    let placement = Placement::new(&manifest.isolated, shared_hosts(&launch));
    let options = StartupOptions {
        inference: with_models,
        agents: true,
        strict_providers: uses_other_providers,
        faults: Faults::none(),
        hot_standby: false,
        load_timeout: Duration::from_millis(launch.load_ms),
        needed: None,
        providers: Vec::new(),
    };
    let mut started = start_hosts(
        request.engines,
        &manifest,
        placement,
        &options,
        request.stop,
        observer,
    )?;
    let mut report = ReplayReport {
        header,
        ticks: 0,
        steps: 0,
        inferences: 0,
        restarts: 0,
        verdicts: Vec::new(),
        chain,
        wall: Duration::ZERO,
        divergence: None,
        providers: Vec::new(),
        ulp_distances: Vec::new(),
        stopped: false,
    };
    let mut other_header = None;
    if with_models {
        let mut present = run_header(
            &manifest,
            &started.report,
            &report.header.lockstep,
            &report.header.wasmtime,
        );
        if uses_other_providers {
            other_header = Some(present.clone());
            excuse_providers(&mut present, &full_header);
        }
        excuse_untried(&mut present, &full_header);
        report.divergence = diff::run_headers(&full_header, &present);
    }
    if report.divergence.is_none() && until > Tick::ZERO {
        started.start(ports(&report.header))?;
        observer.begins(&report.header);
        let placement = &started.host_config.placement;
        let mut machine = TickMachine::new(plan(&report.header, placement), Some(until));
        for (tick, verdicts) in verdicts {
            machine.preload_verdicts(tick, verdicts);
        }
        if with_models {
            machine.preload_answers(recorded_answers);
        } else {
            machine = machine.without_engine();
        }
        let mut ledger =
            ComparingLedger::new(&run_dir, &report.header, journal, !with_models, observer);
        ledger.ulp_statistics = uses_other_providers.then(UlpStatistics::default);
        let mut hosts = RealHosts::new(&mut started.hosts);
        let mut event_loop = EventLoop::new(
            &mut hosts,
            machine,
            &report.header,
            &started.host_config,
            &mut ledger,
            Timeouts::of(&launch),
        );
        if let Some(present) = &other_header {
            event_loop = event_loop.with_header_override(present);
        }
        let end = event_loop.run()?;
        let ComparingLedger {
            divergence,
            stats,
            ulp_statistics,
            ..
        } = ledger;
        report.ulp_distances = ulp_statistics
            .map(UlpStatistics::finish)
            .unwrap_or_default();
        (report.ticks, report.steps, report.inferences) =
            (stats.ticks, stats.steps, stats.inferences);
        report.restarts = stats.restarts;
        (report.wall, report.divergence, report.stopped) = (
            stats.wall(),
            divergence,
            end.is_some_and(|end| end.end == RunEnd::Stopped) && stats.ticks < until.0,
        );
        report.verdicts = stats.verdicts;
    }
    let shown =
        other_header.unwrap_or_else(|| header_at(&report.header, report.verdicts.iter(), until));
    report.providers = shown
        .models
        .into_iter()
        .map(|model| model.provider)
        .collect();
    started.hosts.drain()?;
    Ok(report)
}

/// Differences that follow from another provider are excused.
fn excuse_providers(present: &mut RunHeader, recorded: &RunHeader) {
    present.engine.clone_from(&recorded.engine);
    for (present, recorded) in present.models.iter_mut().zip(&recorded.models) {
        present.providers.clone_from(&recorded.providers);
        present.provider.clone_from(&recorded.provider);
        present.refused.clone_from(&recorded.refused);
        present.batching.clone_from(&recorded.batching);
    }
    for (present, recorded) in present.changes.iter_mut().zip(&recorded.changes) {
        if let (ModelChange::Replace(present), ModelChange::Replace(recorded)) =
            (&mut present.change, &recorded.change)
        {
            present.provider.clone_from(&recorded.provider);
            present.refused.clone_from(&recorded.refused);
            present.batching.clone_from(&recorded.batching);
        }
    }
}

/// Differences in the words of a probe, or in one that could not run, are excused.
fn excuse_untried(present: &mut RunHeader, recorded: &RunHeader) {
    let excuse = |present: &mut Batching, recorded: &Batching| {
        if present.agrees_with(recorded) {
            present.clone_from(recorded);
        }
    };
    for (present, recorded) in present.models.iter_mut().zip(&recorded.models) {
        excuse(&mut present.batching, &recorded.batching);
    }
    for (present, recorded) in present.changes.iter_mut().zip(&recorded.changes) {
        if let (ModelChange::Replace(present), ModelChange::Replace(recorded)) =
            (&mut present.change, &recorded.change)
        {
            excuse(&mut present.batching, &recorded.batching);
        }
    }
}
