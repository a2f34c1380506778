//! A replay: the same machine and the same hosts, with a journal to compare
//! with instead of one to write. Nothing is emitted.
//!
//! Without `reinfer` the inference results come from the journal; with it the
//! models are run again, and their results are compared as part of the tick.

use super::run::ports;
use super::run_store as keeper;
use super::stats::RunStats;
use crate::analysis::diff::{self, Difference};
use crate::analysis::{Apart, Measure};
use crate::error::RunError;
use crate::event_loop::{EventLoop, Ledger, RealHosts, Timeouts};
use crate::faults::Faults;
use crate::host::StopSignals;
use crate::journal::{JournalEntry, JournalMark, JournalReader};
use crate::launch::{Engines, Manifest, Placement, StartupOptions, plan, run_header, start_hosts};
use crate::models::as_of;
use crate::observer::Observer;
use crate::record::{AwaitedRecord, Become, Digest, ResultRecord, RunHeader, TickRecord, Verdict};
use crate::rundir::{LaunchSettings, RunDir, RunEvent};
use crate::tick::{RecordedAnswers, RunEnd, TickMachine};
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// What is asked for.
pub struct ReplayRequest<'a> {
    /// The run.
    pub dir: &'a Path,
    /// The engines.
    pub engines: &'a Engines,
    /// Whether the models are run again.
    pub reinfer: bool,
    /// Providers to run them on instead, in order; nothing but the first will do. Results may then differ, and how far is
    /// measured.
    pub providers: Vec<String>,
    /// What ends the replay early.
    pub stop: StopSignals,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// What the run is.
    pub header: RunHeader,
    /// Ticks that agree with the journal.
    pub ticks: u64,
    /// Steps of agents in them.
    pub steps: u64,
    /// Requests to models in them.
    pub inferences: u64,
    /// Hosts that were lost and came back during the replay.
    pub restarts: u64,
    /// Decisions that changed the run, with the tick.
    pub verdicts: Vec<(Tick, Verdict)>,
    /// The chain of the journal.
    pub chain: Digest,
    /// Time from the first tick to the last.
    pub wall: Duration,
    /// The first difference, if there is one; left is the journal, right the replay.
    pub divergence: Option<Difference>,
    /// Who has run the models of this replay, by their numbers.
    pub ran_on: Vec<String>,
    /// How far the results are from the journal's, when other providers were asked for.
    pub apart: Vec<Apart>,
    /// Whether somebody stopped it before the end of the journal.
    pub stopped: bool,
}

/// Replays a run and compares it tick by tick.
///
/// # Errors
/// [`RunError`] when the journal does not verify, was made by another build, or the replay cannot be carried out. A
/// replay that differs is no error; see [`Replay::divergence`].
pub fn replay(
    request: ReplayRequest<'_>,
    observer: &mut dyn Observer,
) -> Result<ReplayReport, RunError> {
    let run_dir = RunDir::read(request.dir)?;
    // The whole journal is checked before anything starts, which also tells where it ends.
    let JournalScan {
        until,
        chain,
        verdicts,
        foretold,
    } = scan_journal(&run_dir)?;
    let (header, journal) = JournalReader::open(&run_dir)?;
    check_build(&header, request.engines)?;
    let whole = {
        let flat = verdicts
            .iter()
            .flat_map(|(tick, verdicts)| verdicts.iter().map(|verdict| (*tick, verdict.clone())));
        header.with(&flat.collect::<Vec<_>>())
    };
    let launch = run_dir.launch()?;
    let with_models = request.reinfer && !header.models.is_empty();
    let mut manifest = Manifest::from_run(&whole, &run_dir, &launch.isolated, with_models)?;
    let is_elsewhere = !request.providers.is_empty();
    if is_elsewhere {
        for model in &mut manifest.models {
            model.providers.clone_from(&request.providers);
        }
    }
    let layout = Placement::new(&manifest.isolated, shared_hosts(&launch));
    let demands = StartupOptions {
        inference: with_models,
        agents: true,
        strict_providers: is_elsewhere,
        faults: Faults::none(),
        spare: false,
        load_patience: Duration::from_millis(launch.load_ms),
        needed: None,
        providers: Vec::new(),
    };
    let mut assembled = start_hosts(
        request.engines,
        &manifest,
        layout,
        &demands,
        request.stop,
        observer,
    )?;
    let mut replay = ReplayReport {
        header,
        ticks: 0,
        steps: 0,
        inferences: 0,
        restarts: 0,
        verdicts: Vec::new(),
        chain,
        wall: Duration::ZERO,
        divergence: None,
        ran_on: Vec::new(),
        apart: Vec::new(),
        stopped: false,
    };
    let mut elsewhere = None;
    if with_models {
        let mut present = run_header(
            &manifest,
            &assembled.facts,
            &replay.header.lockstep,
            &replay.header.wasmtime,
        );
        if is_elsewhere {
            elsewhere = Some(present.clone());
            excuse_providers(&mut present, &whole);
        }
        excuse_untried(&mut present, &whole);
        replay.divergence = diff::run_headers(&whole, &present);
    }
    if replay.divergence.is_none() && until > Tick::ZERO {
        assembled.start(ports(&replay.header))?;
        observer.begins(&replay.header);
        let layout = &assembled.orders.layout;
        let mut machine = TickMachine::new(plan(&replay.header, layout), Some(until));
        for (tick, verdicts) in verdicts {
            machine.preload_verdicts(tick, verdicts);
        }
        if with_models {
            machine.foretell_answers(foretold);
        } else {
            machine = machine.without_engine();
        }
        let mut ledger =
            ComparingLedger::new(&run_dir, &replay.header, journal, !with_models, observer);
        ledger.measure = is_elsewhere.then(Measure::default);
        let mut hosts = RealHosts::new(&mut assembled.crew);
        let mut drive = EventLoop::new(
            &mut hosts,
            machine,
            &replay.header,
            &assembled.orders,
            &mut ledger,
            Timeouts::of(&launch),
        );
        if let Some(present) = &elsewhere {
            drive = drive.with_header_override(present);
        }
        let end = drive.run()?;
        let ComparingLedger {
            divergence,
            tally,
            measure,
            ..
        } = ledger;
        replay.apart = measure.map(Measure::finish).unwrap_or_default();
        (replay.ticks, replay.steps, replay.inferences) =
            (tally.ticks, tally.steps, tally.inferences);
        replay.restarts = tally.restarts;
        (replay.wall, replay.divergence, replay.stopped) = (
            tally.wall(),
            divergence,
            end == Some(RunEnd::Stopped) && tally.ticks < until.0,
        );
        replay.verdicts = tally.verdicts;
    }
    let shown = elsewhere.unwrap_or_else(|| as_of(&replay.header, replay.verdicts.iter(), until));
    replay.ran_on = shown
        .models
        .into_iter()
        .map(|model| model.provider)
        .collect();
    assembled.crew.drain()?;
    Ok(replay)
}

/// What follows from running models elsewhere is no difference.
fn excuse_providers(present: &mut RunHeader, recorded: &RunHeader) {
    present.engine.clone_from(&recorded.engine);
    for (present, recorded) in present.models.iter_mut().zip(&recorded.models) {
        present.providers.clone_from(&recorded.providers);
        present.provider.clone_from(&recorded.provider);
        present.refused.clone_from(&recorded.refused);
        present.batching.clone_from(&recorded.batching);
    }
    for (present, recorded) in present.changes.iter_mut().zip(&recorded.changes) {
        if let (Become::Version(present), Become::Version(recorded)) =
            (&mut present.to, &recorded.to)
        {
            present.provider.clone_from(&recorded.provider);
            present.refused.clone_from(&recorded.refused);
            present.batching.clone_from(&recorded.batching);
        }
    }
}

/// What a probe says in other words, or could not say, is no difference.
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
        if let (Become::Version(present), Become::Version(recorded)) =
            (&mut present.to, &recorded.to)
        {
            excuse(&mut present.batching, &recorded.batching);
        }
    }
}

/// What reading a whole journal tells.
pub(crate) struct JournalScan {
    /// The last tick.
    pub(crate) until: Tick,
    pub(crate) chain: Digest,
    /// What was decided, by the tick.
    pub(crate) verdicts: BTreeMap<Tick, Vec<Verdict>>,
    /// Answers that an engine is not asked for again.
    pub(crate) foretold: RecordedAnswers,
}

/// Checks every record of a journal.
pub(crate) fn scan_journal(run_dir: &RunDir) -> Result<JournalScan, RunError> {
    let (header, mut journal) = JournalReader::open(run_dir)?;
    let numbers = (0..header.models.len()).map(ModelId::from_index);
    let generators = numbers.filter(|model| header.models[model.index()].generator.is_some());
    let (mut verdicts, mut foretold) = (BTreeMap::new(), RecordedAnswers::of(generators.collect()));
    while let Some(JournalEntry { tick, record, .. }) = journal.next_tick()? {
        record
            .verdicts
            .iter()
            .for_each(|verdict| foretold.verdict(tick, verdict));
        if !record.verdicts.is_empty() {
            verdicts.insert(tick, record.verdicts);
        }
    }
    if !foretold.needs_no_results() {
        let (_, mut again) = JournalReader::open(run_dir)?;
        while let Some(entry) = again.next_tick()? {
            let results = entry.record.results.iter();
            results.for_each(|result| foretold.result(entry.tick, result));
            foretold.awaited(entry.tick, &entry.record.awaited);
            foretold.asked(entry.tick, &entry.record.outcomes);
        }
    }
    Ok(JournalScan {
        until: journal.ticks(),
        chain: journal.chain(),
        verdicts,
        foretold,
    })
}

/// As many hosts as the run had, so that the work is spread alike. No outcome depends on it.
pub(crate) fn shared_hosts(launch: &LaunchSettings) -> u32 {
    let isolated = u32::try_from(launch.isolated.len()).unwrap_or(u32::MAX);
    launch.hosts.saturating_sub(isolated).max(1)
}

/// The ledger of a replay.
pub(crate) struct ComparingLedger<'a> {
    run_dir: &'a RunDir,
    header: &'a RunHeader,
    journal: JournalReader,
    /// The tick of the journal that the open tick is compared with.
    expected: Option<JournalEntry>,
    from_journal: bool,
    /// Results may differ from the journal's, and this says how far.
    measure: Option<Measure>,
    pub(crate) divergence: Option<Difference>,
    pub(crate) tally: RunStats,
    observer: &'a mut dyn Observer,
}

impl<'a> ComparingLedger<'a> {
    pub(crate) fn new(
        run_dir: &'a RunDir,
        header: &'a RunHeader,
        journal: JournalReader,
        from_journal: bool,
        observer: &'a mut dyn Observer,
    ) -> ComparingLedger<'a> {
        ComparingLedger {
            run_dir,
            header,
            journal,
            expected: None,
            from_journal,
            measure: None,
            divergence: None,
            tally: RunStats::begin(),
            observer,
        }
    }
}

impl Ledger for ComparingLedger<'_> {
    fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<ControlFlow<()>, RunError> {
        let mut expected = self.expected.take().expect("the run ends with its journal");
        if let Some(measure) = &mut self.measure {
            let results = &mut expected.record.results;
            let awaited = &mut expected.record.awaited;
            let answers = (&results[..], &awaited[..]);
            if measure.take(
                self.header,
                tick,
                answers,
                (&record.results, &record.awaited),
            ) {
                // What is left to compare is what agents made of them, and not how many steps that took.
                results.clone_from(&record.results);
                awaited.clone_from(&record.awaited);
                let pairs = expected.record.outcomes.iter_mut().zip(&record.outcomes);
                pairs.for_each(|(expected, found)| expected.fuel_used = found.fuel_used);
            }
        }
        self.divergence = diff::ticks(self.header, tick, &expected.record, record);
        if self.divergence.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        self.tally.count(tick, record);
        self.observer.committed(tick, record);
        Ok(ControlFlow::Continue(()))
    }

    fn results(&mut self, _tick: Tick) -> Result<Vec<ResultRecord>, RunError> {
        self.expected = self.journal.next_tick()?;
        let recorded = self.expected.as_ref().filter(|_| self.from_journal);
        Ok(recorded.map_or_else(Vec::new, |entry| entry.record.results.clone()))
    }

    fn awaited(&mut self) -> Vec<AwaitedRecord> {
        let recorded = self.expected.as_ref().filter(|_| self.from_journal);
        recorded.map_or_else(Vec::new, |entry| entry.record.awaited.clone())
    }

    fn event(&mut self, event: RunEvent) -> Result<(), RunError> {
        self.tally.note(&event);
        self.observer.event(&event);
        Ok(())
    }

    fn ticks_after(&mut self, mark: Option<&JournalMark>) -> Result<JournalReader, RunError> {
        keeper::read(self.run_dir, mark)
    }
}

/// Fuel and traps depend on the build; another one cannot promise the same run.
pub(crate) fn check_build(header: &RunHeader, engines: &Engines) -> Result<(), RunError> {
    let pairs = [
        ("lockstep", &header.lockstep, &engines.lockstep),
        ("wasmtime", &header.wasmtime, &engines.wasmtime),
    ];
    for (what, recorded, present) in pairs {
        if recorded != present {
            return Err(RunError::OtherBuild {
                what,
                recorded: recorded.clone(),
                present: present.clone(),
            });
        }
    }
    Ok(())
}
