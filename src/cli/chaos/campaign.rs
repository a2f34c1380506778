//! The reference, the runs with faults, and what is found.

use super::life::{Launching, Lived};
use super::report::Report;
use super::shrink::shrink;
use crate::cli::arguments::Chaos;
use crate::cli::demo;
use crate::cli::edge::Trouble;
use crate::cli::progress::now;
use shm_protocol::id::AgentId;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::faults::{FaultPlan, RunShape, Weights};
use supervisor::fleet::Fleet;
use supervisor::host::StopSignals;
use supervisor::journal::JournalReader;
use supervisor::rundir::RunDir;
use tempfile::TempDir;

/// Rules of one run. Each is looked at in each tick.
const RULES_PER_RUN: usize = 100;

/// Ticks of a run, unless somebody says otherwise: enough for its faults not to fall on each other all the time.
const TICKS: u64 = 300;

/// The deadline of the run without faults, in which nobody is to be taken for hung.
const REFERENCE_DEADLINE_MS: u64 = 10_000;

/// A campaign of runs with faults.
pub(super) struct Campaign<'a> {
    command: &'a Chaos,
    name: &'a str,
    fleet: Fleet,
    /// The command that runs the fleet, without its options.
    words: Vec<String>,
    ticks: u64,
    stop: &'a StopSignals,
    /// Goes with this value, unless the runs are to be kept.
    _temporary: Option<TempDir>,
    folder: PathBuf,
    /// Temporary files of the processes. Its path is short, because sockets are made in it.
    processes: TempDir,
}

impl<'a> Campaign<'a> {
    pub(super) fn new(
        command: &'a Chaos,
        name: &'a str,
        fleet: Fleet,
        stop: &'a StopSignals,
    ) -> Result<Campaign<'a>, Trouble> {
        let (kept, folder) = match &command.dir {
            Some(dir) => {
                fs::create_dir_all(dir)
                    .map_err(|error| Trouble::input(format!("cannot make {dir:?}: {error}")))?;
                let dir = fs::canonicalize(dir)
                    .map_err(|error| Trouble::input(format!("cannot use {dir:?}: {error}")))?;
                (None, dir)
            }
            None => {
                let made = temporary("lockstep-chaos-")?;
                let folder = made.path().to_path_buf();
                (Some(made), folder)
            }
        };
        Ok(Campaign {
            command,
            name,
            words: words(command, name),
            ticks: command.ticks.unwrap_or(TICKS),
            fleet,
            stop,
            _temporary: kept,
            folder,
            processes: temporary("chaos-")?,
        })
    }

    /// Runs all of it.
    pub(super) fn perform(self) -> Result<Report, Trouble> {
        let began = now();
        let given = self.command.plan.as_ref();
        let given = given
            .map(|path| FaultPlan::read(path, &self.fleet))
            .transpose()?;
        self.can_draw(given.is_some())?;
        let reference = self.reference()?;
        let plans = match given {
            Some(plan) => vec![plan],
            None => self.plans(&waiting(&reference)?),
        };
        let mut report = Report::begin(&reference, self.folder.clone())?;
        for (number, plan) in plans.iter().enumerate() {
            if self.stop.asked() {
                break;
            }
            let folder = self.folder.join(format!("faults-{}", number + 1));
            let lived = self.lived(plan, &folder)?;
            let difference = self.difference(plan, &lived, &reference, &folder)?;
            if self.stop.asked() {
                break;
            }
            report.take(plan, &lived);
            report.show(number + 1, plans.len());
            if let Some(difference) = difference {
                report.diverged(self.explained(plan, &reference, difference)?);
                break;
            }
            if self.command.dir.is_none() {
                // What is not looked at any more need not lie there.
                let _ = fs::remove_dir_all(&folder);
            }
        }
        report.is_stopped = self.stop.asked();
        report.wall = began.elapsed();
        Ok(report)
    }

    /// The run without faults.
    fn reference(&self) -> Result<PathBuf, Trouble> {
        if let Some(reference) = &self.command.reference {
            return Ok(reference.clone());
        }
        let folder = self.folder.join("reference");
        let lived = self
            .launching(REFERENCE_DEADLINE_MS)
            .live(&FaultPlan::default(), &folder)?;
        if self.stop.asked() {
            return Err(Trouble::stopped("stopped within the run without faults"));
        }
        match lived.findings.into_iter().next() {
            Some(finding) => Err(Trouble::input(format!(
                "the fleet does not run without faults: {finding}"
            ))),
            None => Ok(lived.dir),
        }
    }

    fn lived(&self, plan: &FaultPlan, folder: &Path) -> Result<Lived, Trouble> {
        self.launching(self.command.deadline_ms).live(plan, folder)
    }

    /// What is wrong with what a run has kept. A run in which faults that count have led to a verdict is not the
    /// reference any more; then a replay must say what the run says.
    fn difference(
        &self,
        plan: &FaultPlan,
        lived: &Lived,
        reference: &Path,
        folder: &Path,
    ) -> Result<Option<String>, Trouble> {
        let may_differ = lived.has_verdicts() && plan.rules.iter().any(|rule| rule.counts);
        let difference = if may_differ {
            self.launching(REFERENCE_DEADLINE_MS)
                .replayed(lived, folder)?
        } else {
            lived.difference(reference)
        };
        Ok(difference.or_else(|| lived.incomplete()))
    }

    fn launching(&self, deadline_ms: u64) -> Launching<'_> {
        Launching {
            words: &self.words,
            ticks: self.ticks,
            deadline_ms,
            temporary: self.processes.path(),
            stop: self.stop,
        }
    }

    /// Refuses kinds of which none can happen, before anything starts.
    fn can_draw(&self, is_given: bool) -> Result<(), Trouble> {
        // Who waits is not known yet, and no kind needs it.
        if is_given || self.plans(&[]).iter().any(|plan| !plan.is_empty()) {
            return Ok(());
        }
        Err(Trouble::input(
            "none of these kinds can happen in this fleet: it has no models; choose others, which \
             `lockstep chaos --phases` lists",
        ))
    }

    /// What is to go wrong in each run, in which these agents wait within their steps.
    fn plans(&self, waiting: &[AgentId]) -> Vec<FaultPlan> {
        let faults = usize::try_from(self.command.faults).unwrap_or(usize::MAX);
        let weights = if self.command.kinds.is_empty() {
            Weights::default()
        } else {
            Weights::only(&self.command.kinds)
        };
        let known = RunShape {
            fleet: &self.fleet,
            ticks: self.ticks,
            waiting,
        };
        let runs = faults.div_ceil(RULES_PER_RUN);
        let plan = |run: usize| {
            let seed = self.command.seed.wrapping_add((run as u64) << 32);
            let count = RULES_PER_RUN.min(faults - run * RULES_PER_RUN);
            FaultPlan::random(seed, count, &known, &weights)
        };
        (0..runs).map(plan).collect()
    }

    /// The smallest plan that shows a difference, and how to see it again.
    fn explained(
        &self,
        plan: &FaultPlan,
        reference: &Path,
        difference: String,
    ) -> Result<Vec<String>, Trouble> {
        let mut tries = 0;
        let smallest = shrink(plan, |smaller| {
            if self.stop.asked() {
                return Ok(None);
            }
            tries += 1;
            let folder = self.folder.join(format!("smaller-{tries}"));
            let lived = self.lived(smaller, &folder)?;
            let shows = self
                .difference(smaller, &lived, reference, &folder)?
                .is_some();
            let _ = fs::remove_dir_all(&folder);
            Ok(Some(shows && !self.stop.asked()))
        })?;
        let kept = PathBuf::from(format!("chaos-{}.toml", self.command.seed));
        fs::write(&kept, smallest.to_toml())
            .map_err(|error| Trouble::input(format!("cannot write {kept:?}: {error}")))?;
        Ok(vec![
            difference,
            format!(
                "{} of {} rules show it:",
                smallest.rules.len(),
                plan.rules.len()
            ),
            smallest.to_toml(),
            format!("again       {}", self.again(&kept)),
        ])
    }

    /// The command that does again what a plan says.
    fn again(&self, plan: &Path) -> String {
        let (ticks, deadline) = (self.ticks, self.command.deadline_ms);
        let mut command = format!(
            "lockstep chaos {} --plan {} --ticks {ticks} --deadline-ms {deadline}",
            self.name,
            plan.display()
        );
        if let Some(hosts) = self.command.hosts {
            command += &format!(" --hosts {hosts}");
        }
        command
    }
}

/// The command that runs the fleet, without its options.
fn words(command: &Chaos, name: &str) -> Vec<String> {
    let poles = demo::POLES_OF_CHAOS.to_string();
    let words: &[&str] = match name {
        "demo" => &["demo", "--agents", &poles],
        path => &["run", path],
    };
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    if let Some(hosts) = command.hosts {
        words.extend(["--hosts".to_owned(), hosts.to_string()]);
    }
    words
}

fn temporary(prefix: &str) -> Result<TempDir, Trouble> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(|error| Trouble::input(format!("no temporary folder: {error}; set TMPDIR")))
}

/// The agents that wait within their steps in a run.
fn waiting(run: &Path) -> Result<Vec<AgentId>, Trouble> {
    let (_, mut journal) = JournalReader::open(&RunDir::read(run)?)?;
    let mut waiting = BTreeSet::new();
    while let Some(entry) = journal.next_tick()? {
        waiting.extend(entry.record.awaited.iter().map(|awaited| awaited.agent));
    }
    Ok(waiting.into_iter().collect())
}
