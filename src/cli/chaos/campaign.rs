//! A campaign: the reference run, the runs with faults, and their comparison.

use super::chaos_run::{ChaosRun, RunLauncher};
use super::random_plan::{KindWeights, RunShape, random_plan};
use super::report::CampaignReport;
use super::shrink::shrink;
use crate::cli::arguments::ChaosArguments;
use crate::cli::clock::now;
use crate::cli::demo;
use crate::cli::error::CliError;
use shm_protocol::id::AgentId;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::host::StopSignals;
use supervisor::journal::JournalReader;
use supervisor::rundir::RunDir;
use tempfile::TempDir;

/// Rules of one run. All are checked in every tick.
const RULES_PER_RUN: usize = 100;

/// Ticks of a run without `--ticks`: enough to keep most faults apart.
const DEFAULT_TICKS: u64 = 300;

/// The deadline of the run without faults, in which no host may count as hung.
const REFERENCE_DEADLINE_MS: u64 = 10_000;

/// A campaign of runs with faults.
pub(super) struct Campaign<'a> {
    command: &'a ChaosArguments,
    name: &'a str,
    fleet: Fleet,
    /// The command that runs the fleet, without its options.
    run_command: Vec<String>,
    ticks: u64,
    stop: &'a StopSignals,
    /// Removed with this value; none when the runs are kept.
    _temporary: Option<TempDir>,
    folder: PathBuf,
    /// Temporary files of the processes. Its path is short, because sockets are made in it.
    processes: TempDir,
}

impl<'a> Campaign<'a> {
    pub(super) fn new(
        command: &'a ChaosArguments,
        name: &'a str,
        fleet: Fleet,
        stop: &'a StopSignals,
    ) -> Result<Campaign<'a>, CliError> {
        let (kept, folder) = match &command.dir {
            Some(dir) => {
                fs::create_dir_all(dir)
                    .map_err(|error| CliError::io(format!("cannot make {dir:?}"), &error))?;
                let dir = fs::canonicalize(dir)
                    .map_err(|error| CliError::io(format!("cannot use {dir:?}"), &error))?;
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
            run_command: run_command(command, name),
            ticks: command.ticks.unwrap_or(DEFAULT_TICKS),
            fleet,
            stop,
            _temporary: kept,
            folder,
            processes: temporary("chaos-")?,
        })
    }

    /// Runs the campaign.
    pub(super) fn run(self) -> Result<CampaignReport, CliError> {
        let began = now();
        let given = self.command.plan.as_ref();
        let given = given
            .map(|path| FaultPlan::read(path, &self.fleet))
            .transpose()?;
        self.check_kinds(given.is_some())?;
        let reference = self.reference()?;
        let plans = match given {
            Some(plan) => vec![plan],
            None => self.plans(&awaiting(&reference)?),
        };
        let mut report = CampaignReport::begin(&reference, self.folder.clone())?;
        for (number, plan) in plans.iter().enumerate() {
            if self.stop.asked() {
                break;
            }
            let folder = self.folder.join(format!("faults-{}", number + 1));
            let run = self.run_with_faults(plan, &folder)?;
            let difference = self.difference(plan, &run, &reference, &folder)?;
            if self.stop.asked() {
                break;
            }
            report.add(plan, &run);
            report.show_progress(number + 1, plans.len());
            if let Some(difference) = difference {
                report.diverged(self.explained(plan, &reference, difference)?);
                break;
            }
            if self.command.dir.is_none() {
                // The run is not needed any more.
                let _ = fs::remove_dir_all(&folder);
            }
        }
        report.is_stopped = self.stop.asked();
        report.wall = began.elapsed();
        Ok(report)
    }

    /// The run without faults.
    fn reference(&self) -> Result<PathBuf, CliError> {
        if let Some(reference) = &self.command.reference {
            return Ok(reference.clone());
        }
        let folder = self.folder.join("reference");
        let run = self
            .launcher(REFERENCE_DEADLINE_MS)
            .run_to_end(&FaultPlan::default(), &folder)?;
        if self.stop.asked() {
            return Err(CliError::stopped("stopped during the run without faults"));
        }
        match run.findings.into_iter().next() {
            Some(finding) => Err(CliError::input(format!(
                "the fleet does not run without faults: {finding}"
            ))),
            None => Ok(run.dir),
        }
    }

    fn run_with_faults(&self, plan: &FaultPlan, folder: &Path) -> Result<ChaosRun, CliError> {
        self.launcher(self.command.deadline_ms)
            .run_to_end(plan, folder)
    }

    /// The first difference in a run, if there is one. A run with verdicts from faults that count as restarts may differ from the reference; then
    /// it is compared with its replay.
    fn difference(
        &self,
        plan: &FaultPlan,
        run: &ChaosRun,
        reference: &Path,
        folder: &Path,
    ) -> Result<Option<String>, CliError> {
        let may_differ = run.has_verdicts() && plan.rules.iter().any(|rule| rule.counts_as_restart);
        let difference = if may_differ {
            self.launcher(REFERENCE_DEADLINE_MS)
                .replay_difference(run, folder)?
        } else {
            run.difference(reference)
        };
        Ok(difference.or_else(|| run.incomplete()))
    }

    fn launcher(&self, deadline_ms: u64) -> RunLauncher<'_> {
        RunLauncher {
            command: &self.run_command,
            ticks: self.ticks,
            deadline_ms,
            temporary: self.processes.path(),
            stop: self.stop,
        }
    }

    /// Refuses a choice of kinds of which none can fire, before anything starts.
    fn check_kinds(&self, is_given: bool) -> Result<(), CliError> {
        // Which agents await is not known yet, and no kind needs it.
        if is_given || self.plans(&[]).iter().any(|plan| !plan.is_empty()) {
            return Ok(());
        }
        Err(CliError::input(
            "none of these kinds can fire in this fleet, because it has no models; `lockstep chaos --points` lists \
             the others",
        ))
    }

    /// One plan for each run, in which these agents await results within their steps.
    fn plans(&self, awaiting: &[AgentId]) -> Vec<FaultPlan> {
        let faults = usize::try_from(self.command.faults).unwrap_or(usize::MAX);
        let weights = if self.command.kinds.is_empty() {
            KindWeights::default()
        } else {
            KindWeights::only(&self.command.kinds)
        };
        let agents: Vec<String> = self
            .fleet
            .agents
            .iter()
            .map(|agent| agent.name.clone())
            .collect();
        let models: Vec<String> = self
            .fleet
            .models
            .iter()
            .map(|model| model.name.clone())
            .collect();
        let run = RunShape {
            agents: &agents,
            models: &models,
            ticks: self.ticks,
            awaiting,
        };
        let runs = faults.div_ceil(RULES_PER_RUN);
        let plan = |number: usize| {
            let seed = self.command.seed.wrapping_add((number as u64) << 32);
            let count = RULES_PER_RUN.min(faults - number * RULES_PER_RUN);
            random_plan(seed, count, &run, &weights)
        };
        (0..runs).map(plan).collect()
    }

    /// The smallest plan that shows a difference, and the command that repeats it.
    fn explained(
        &self,
        plan: &FaultPlan,
        reference: &Path,
        difference: String,
    ) -> Result<Vec<String>, CliError> {
        let mut tries = 0;
        let smallest = shrink(plan, |smaller| {
            if self.stop.asked() {
                return Ok(None);
            }
            tries += 1;
            let folder = self.folder.join(format!("smaller-{tries}"));
            let run = self.run_with_faults(smaller, &folder)?;
            let shows = self
                .difference(smaller, &run, reference, &folder)?
                .is_some();
            let _ = fs::remove_dir_all(&folder);
            Ok(Some(shows && !self.stop.asked()))
        })?;
        let kept = PathBuf::from(format!("chaos-{}.toml", self.command.seed));
        fs::write(&kept, smallest.to_toml())
            .map_err(|error| CliError::io(format!("cannot write {kept:?}"), &error))?;
        Ok(vec![
            difference,
            format!(
                "{} of {} rules show it:",
                smallest.rules.len(),
                plan.rules.len()
            ),
            smallest.to_toml(),
            format!("repeat with {}", self.repeat_command(&kept)),
        ])
    }

    /// The command that runs a plan again.
    fn repeat_command(&self, plan: &Path) -> String {
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
fn run_command(command: &ChaosArguments, name: &str) -> Vec<String> {
    let poles = demo::CHAOS_POLES.to_string();
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

fn temporary(prefix: &str) -> Result<TempDir, CliError> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(|error| {
            CliError::io(
                "cannot make a temporary folder (set TMPDIR to another place)",
                &error,
            )
        })
}

/// The agents that await results within their steps in a run.
fn awaiting(run: &Path) -> Result<Vec<AgentId>, CliError> {
    let (_, mut journal) = JournalReader::open(&RunDir::read(run)?)?;
    let mut awaiting = BTreeSet::new();
    while let Some(entry) = journal.next_tick()? {
        awaiting.extend(entry.record.awaited.iter().map(|awaited| awaited.agent));
    }
    Ok(awaiting.into_iter().collect())
}
