//! One run from its launch, over every death of its supervisor, to its end.

use super::child::{self, ChildExit, ChildPaths};
use super::history;
use crate::cli::error::CliError;
use shm_protocol::fault::FaultKind;
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::analysis::diff;
use supervisor::faults::{FaultPlan, FaultRule, RuleId};
use supervisor::host::StopSignals;
use supervisor::journal;
use supervisor::rundir::{EventLog, RunDir, RunEvent};

/// Deadlines that a new host has to become ready: it loads a library, or models.
const READY_DEADLINES: u64 = 6;

/// The signal with which a supervisor kills itself.
const SIGKILL: i32 = 9;

/// Launches runs of one fleet.
#[derive(Debug)]
pub(super) struct RunLauncher<'a> {
    /// The command that runs the fleet, without its options.
    pub(super) command: &'a [String],
    pub(super) ticks: u64,
    pub(super) deadline_ms: u64,
    /// The folder of temporary files of the processes.
    pub(super) temporary: &'a Path,
    pub(super) stop: &'a StopSignals,
}

/// A run that was launched, and resumed until it ended.
#[derive(Debug, Default)]
pub(super) struct ChaosRun {
    /// The supervisors of the run, one after the other.
    pub(super) supervisors: Vec<SupervisorRun>,
    /// Violations of what a run promises.
    pub(super) findings: Vec<String>,
    /// The run directory.
    pub(super) dir: PathBuf,
}

/// One supervisor process of a run.
#[derive(Debug)]
pub(super) struct SupervisorRun {
    /// The events that it has logged.
    pub(super) events: Vec<RunEvent>,
    /// The fault that ended the supervisor before it, if it has resumed the run.
    pub(super) after: Option<FaultKind>,
}

impl RunLauncher<'_> {
    /// Runs to the end below `folder`, and resumes as often as that takes.
    pub(super) fn run_to_end(&self, plan: &FaultPlan, folder: &Path) -> Result<ChaosRun, CliError> {
        fs::create_dir_all(folder)
            .map_err(|error| CliError::io(format!("cannot make {folder:?}"), &error))?;
        let mut run = ChaosRun::default();
        let mut plan = plan.clone();
        // A supervisor can be killed before the run has begun; what had fired by then does not fire again.
        for attempt in 1.. {
            run.dir = folder.join(format!("run-{attempt}"));
            if self.run_once(&plan, folder, &mut run)? || self.stop.asked() {
                break;
            }
            plan = without_fired(&plan, &events(&run.dir));
        }
        Ok(run)
    }

    /// Runs to the end; false when the supervisor was killed before the run had begun.
    fn run_once(
        &self,
        plan: &FaultPlan,
        folder: &Path,
        run: &mut ChaosRun,
    ) -> Result<bool, CliError> {
        let dir = run.dir.to_string_lossy().into_owned();
        let rules = folder.join("plan.toml");
        fs::write(&rules, plan.to_toml())
            .map_err(|error| CliError::io(format!("cannot write {rules:?}"), &error))?;
        let mut arguments = self.arguments(&dir);
        if !plan.is_empty() {
            arguments.extend(["--faults".to_owned(), rules.to_string_lossy().into_owned()]);
        }
        let max_supervisors = run.supervisors.len() + 20 + 2 * plan.rules.len();
        let (mut seen, mut after) = (0, None);
        loop {
            let ended = self.child(&arguments, folder, &run.dir)?;
            let all = events(&run.dir);
            let events = all.get(seen..).unwrap_or_default().to_vec();
            seen = all.len();
            run.check(&ended, &events);
            let ending = self.ending(&ended, &events);
            run.supervisors.push(SupervisorRun { events, after });
            match ending {
                SupervisorEnd::Finished => return Ok(true),
                SupervisorEnd::Finding(finding) => {
                    run.findings.push(finding);
                    return Ok(true);
                }
                SupervisorEnd::Fault(_) if run.supervisors.len() > max_supervisors => {
                    let finding = "the run does not end, however often it is resumed";
                    run.findings.push(finding.to_owned());
                    return Ok(true);
                }
                SupervisorEnd::Fault(_) if !has_begun(&run.dir) => return Ok(false),
                SupervisorEnd::Fault(kind) => after = Some(kind),
            }
            arguments = vec!["resume".to_owned(), dir.clone()];
        }
    }

    /// Runs this binary on a run directory.
    fn child(
        &self,
        arguments: &[String],
        folder: &Path,
        run: &Path,
    ) -> Result<ChildExit, CliError> {
        let places = ChildPaths {
            folder,
            temporary: self.temporary,
            run,
        };
        child::run(arguments, places, self.stop)
    }

    /// The end of a supervisor, given its events. Every end that no fault of the plan explains is a finding.
    fn ending(&self, ended: &ChildExit, events: &[RunEvent]) -> SupervisorEnd {
        let last = |is_it: fn(FaultKind) -> bool| {
            history::fired(events).filter(|kind| is_it(*kind)).last()
        };
        let said = ended.err.lines().last().unwrap_or_default();
        if ended.hung {
            return SupervisorEnd::Finding(format!("a supervisor hung: {said}"));
        }
        match (ended.code, ended.signal) {
            (Some(0), _) => SupervisorEnd::Finished,
            _ if self.stop.asked() => SupervisorEnd::Finished,
            (_, Some(SIGKILL)) => match last(|kind| kind == FaultKind::SupervisorKill) {
                Some(kind) => SupervisorEnd::Fault(kind),
                None => SupervisorEnd::Finding(
                    "a supervisor was killed without a fault that explains it".to_owned(),
                ),
            },
            (Some(code), _) => match last(FaultKind::is_of_disk) {
                Some(kind) => SupervisorEnd::Fault(kind),
                None => SupervisorEnd::Finding(format!(
                    "a supervisor ended with exit code {code}: {said}"
                )),
            },
            (_, signal) => {
                SupervisorEnd::Finding(format!("a supervisor ended by signal {signal:?}: {said}"))
            }
        }
    }

    fn arguments(&self, dir: &str) -> Vec<String> {
        let options = [
            // What the fleet file wants to go wrong would go wrong in the reference too.
            "--without-faults",
            "--dir",
            dir,
            "--ticks",
            &self.ticks.to_string(),
            "--deadline-ms",
            &self.deadline_ms.to_string(),
            "--ready-ms",
            &(READY_DEADLINES * self.deadline_ms).to_string(),
        ]
        .map(str::to_owned);
        self.command.iter().cloned().chain(options).collect()
    }

    /// The difference between a run and its replay, if there is one.
    pub(super) fn replay_difference(
        &self,
        run: &ChaosRun,
        folder: &Path,
    ) -> Result<Option<String>, CliError> {
        let arguments = ["replay".to_owned(), run.dir.to_string_lossy().into_owned()];
        let ended = self.child(&arguments, folder, &run.dir)?;
        if ended.code == Some(0) {
            return Ok(None);
        }
        let diverged = ended
            .out
            .lines()
            .skip_while(|line| !line.starts_with("diverged"));
        let diverged: Vec<&str> = diverged.chain(ended.err.lines()).collect();
        Ok(Some(format!(
            "a replay of the run: {}",
            diverged.join("\n")
        )))
    }
}

/// The end of a supervisor.
enum SupervisorEnd {
    /// The run has finished, or the user stopped it.
    Finished,
    /// A fault, after which the run is resumed.
    Fault(FaultKind),
    /// An end that must not be.
    Finding(String),
}

impl ChaosRun {
    /// The events of all supervisors.
    pub(super) fn events(&self) -> impl Iterator<Item = &RunEvent> {
        self.supervisors
            .iter()
            .flat_map(|supervisor| &supervisor.events)
    }

    /// True if a verdict has changed the run.
    pub(super) fn has_verdicts(&self) -> bool {
        self.events()
            .any(|event| matches!(event, RunEvent::Verdict { .. }))
    }

    /// Checks the leftovers, the events and the resources of one supervisor.
    fn check(&mut self, ended: &ChildExit, events: &[RunEvent]) {
        let left = ended
            .leftovers
            .iter()
            .map(|what| format!("left behind: {what}"));
        self.findings.extend(left);
        self.findings.extend(history::contradictions(events));
        self.findings
            .extend(ended.watchdog.leaks(history::losses(events)));
    }

    /// The first difference to the reference, if there is one.
    pub(super) fn difference(&self, reference: &Path) -> Option<String> {
        let compare = || -> Result<Option<String>, CliError> {
            let (left, right) = (RunDir::read(reference)?, RunDir::read(&self.dir)?);
            if let Some(difference) = diff::diff(&left, &right)? {
                return Ok(Some(difference.to_string()));
            }
            let outbox = |run: &RunDir| fs::read(run.outbox()).ok();
            Ok((outbox(&left) != outbox(&right)).then(|| "the outboxes differ".to_owned()))
        };
        or_error(compare())
    }

    /// The reason if the run directory is incomplete: an invalid or unsealed journal, or missing lines of the outbox.
    pub(super) fn incomplete(&self) -> Option<String> {
        let check = || -> Result<Option<String>, CliError> {
            let verified = journal::verify(&RunDir::read(&self.dir)?)?;
            Ok(if verified.sealed.is_none() || verified.torn.is_some() {
                Some("the run has ended, but its journal is not sealed".to_owned())
            } else {
                let missing = verified.outbox_missing;
                (missing > 0).then(|| format!("the outbox lacks {missing} lines of the journal"))
            })
        };
        or_error(check())
    }
}

/// A check that fails is a difference too.
fn or_error(found: Result<Option<String>, CliError>) -> Option<String> {
    found.unwrap_or_else(|error| Some(error.message().to_owned()))
}

fn events(dir: &Path) -> Vec<RunEvent> {
    RunDir::read(dir)
        .ok()
        .and_then(|run| EventLog::read(&run).ok())
        .unwrap_or_default()
}

fn has_begun(dir: &Path) -> bool {
    RunDir::read(dir)
        .ok()
        .is_some_and(|run| journal::JournalReader::open(&run).is_ok())
}

/// The plan without what has fired.
fn without_fired(plan: &FaultPlan, events: &[RunEvent]) -> FaultPlan {
    let fired = |number: u32| {
        let is_it = |event: &&RunEvent| matches!(event, RunEvent::FaultFired { rule, .. } if *rule == number);
        u32::try_from(events.iter().filter(is_it).count()).unwrap_or(u32::MAX)
    };
    let left = |(id, rule): (RuleId, &FaultRule)| {
        let times = rule.times.saturating_sub(fired(id.0));
        (times > 0).then(|| FaultRule {
            times,
            ..rule.clone()
        })
    };
    FaultPlan {
        rules: plan.numbered().filter_map(left).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::watchdog::Watchdog;
    use super::*;
    use shm_protocol::fault::FaultPoint;
    use shm_protocol::id::Tick;
    use supervisor::faults::FaultTarget;

    fn ended(code: Option<i32>, signal: Option<i32>) -> ChildExit {
        ChildExit {
            code,
            signal,
            hung: false,
            out: String::new(),
            err: "error: what it said".to_owned(),
            leftovers: Vec::new(),
            watchdog: Watchdog::start(std::process::id(), Path::new("/nowhere")),
        }
    }

    fn fired(rule: u32, kind: FaultKind) -> RunEvent {
        RunEvent::FaultFired {
            rule,
            kind: kind.name().to_owned(),
            point: FaultPoint::TickOpened.name().to_owned(),
            tick: Tick(3),
            target: String::new(),
        }
    }

    fn ending(ended: &ChildExit, events: &[RunEvent]) -> String {
        let stop = StopSignals::none().expect("a descriptor");
        let launching = RunLauncher {
            command: &[],
            ticks: 1,
            deadline_ms: 1,
            temporary: Path::new("/nowhere"),
            stop: &stop,
        };
        match launching.ending(ended, events) {
            SupervisorEnd::Finished => "finished".to_owned(),
            SupervisorEnd::Fault(kind) => kind.name().to_owned(),
            SupervisorEnd::Finding(finding) => format!("finding: {finding}"),
        }
    }

    #[test]
    fn an_end_that_no_fault_explains_is_a_finding() {
        let (killed, failed) = (ended(None, Some(SIGKILL)), ended(Some(70), None));
        let by_kill = [
            fired(1, FaultKind::Kill),
            fired(2, FaultKind::SupervisorKill),
        ];
        let by_disk = [fired(1, FaultKind::FsyncError)];
        assert_eq!(ending(&ended(Some(0), None), &by_kill), "finished");
        assert_eq!(ending(&killed, &by_kill), "supervisor-kill");
        assert_eq!(ending(&failed, &by_disk), "fsync-error");
        // The system may have killed it for its memory, and a failure may have no fault behind it.
        assert!(ending(&killed, &by_disk).starts_with("finding: a supervisor was killed"));
        assert!(
            ending(&failed, &by_kill).starts_with("finding: a supervisor ended with exit code 70")
        );
        assert!(ending(&ended(None, Some(11)), &by_disk).starts_with("finding: "));
        let hung = ChildExit {
            hung: true,
            ..ended(None, Some(SIGKILL))
        };
        assert!(ending(&hung, &by_kill).starts_with("finding: a supervisor hung"));
    }

    #[test]
    fn what_has_fired_does_not_fire_again() {
        let rule = |times| FaultRule {
            times,
            ..FaultRule::new(
                FaultPoint::TickOpened,
                FaultKind::SupervisorKill,
                FaultTarget::Any,
            )
        };
        let plan = FaultPlan {
            rules: vec![rule(1), rule(3), rule(1)],
        };
        let events = [1, 2, 2].map(|number| fired(number, FaultKind::SupervisorKill));
        let left = without_fired(&plan, &events);
        assert_eq!(left.rules, [rule(1), rule(1)]);
    }
}
