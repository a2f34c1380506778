//! One run from its launch, over every death of its supervisor, to its end.

use super::child::{self, Ended, Places};
use super::history;
use crate::cli::edge::Trouble;
use shm_protocol::fault::FaultKind;
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::analysis::diff;
use supervisor::faults::{FaultPlan, FaultRule, RuleId};
use supervisor::host::StopSignals;
use supervisor::journal;
use supervisor::rundir::{EventLog, RunDir, RunEvent};

/// How many deadlines a new host has to say something: it has a library to load, or models.
const READY_DEADLINES: u64 = 6;

/// The signal that a supervisor kills itself with.
const SIGKILL: i32 = 9;

/// How a run is launched.
#[derive(Debug)]
pub(super) struct Launching<'a> {
    /// The command, the fleet and what belongs to it.
    pub(super) words: &'a [String],
    pub(super) ticks: u64,
    pub(super) deadline_ms: u64,
    /// Where the processes keep their temporary files.
    pub(super) temporary: &'a Path,
    pub(super) stop: &'a StopSignals,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Lived {
    /// What each of its supervisors wrote down.
    pub(super) lives: Vec<Life>,
    /// What must not be, in words.
    pub(super) findings: Vec<String>,
    /// Where it is.
    pub(super) dir: PathBuf,
}

/// What one supervisor wrote down.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) events: Vec<RunEvent>,
    /// The fault that the supervisor before it ended with, if it goes on with its run.
    pub(super) after: Option<FaultKind>,
}

impl Launching<'_> {
    /// Lives a run to its end below `folder`.
    pub(super) fn live(&self, plan: &FaultPlan, folder: &Path) -> Result<Lived, Trouble> {
        fs::create_dir_all(folder)
            .map_err(|error| Trouble::input(format!("cannot make {folder:?}: {error}")))?;
        let mut lived = Lived::default();
        let mut plan = plan.clone();
        // A supervisor can be killed before the run has begun; what had fired by then does not fire again.
        for attempt in 1.. {
            lived.dir = folder.join(format!("run-{attempt}"));
            if self.live_once(&plan, folder, &mut lived)? || self.stop.asked() {
                break;
            }
            plan = without_fired(&plan, &events(&lived.dir));
        }
        Ok(lived)
    }

    /// Lives a run; false when it was killed before it had begun.
    fn live_once(
        &self,
        plan: &FaultPlan,
        folder: &Path,
        lived: &mut Lived,
    ) -> Result<bool, Trouble> {
        let dir = lived.dir.to_string_lossy().into_owned();
        let rules = folder.join("plan.toml");
        fs::write(&rules, plan.to_toml())
            .map_err(|error| Trouble::input(format!("cannot write {rules:?}: {error}")))?;
        let mut arguments = self.arguments(&dir);
        if !plan.is_empty() {
            arguments.extend(["--faults".to_owned(), rules.to_string_lossy().into_owned()]);
        }
        let most = lived.lives.len() + 20 + 2 * plan.rules.len();
        let (mut seen, mut after) = (0, None);
        loop {
            let ended = self.child(&arguments, folder, &lived.dir)?;
            let all = events(&lived.dir);
            let events = all.get(seen..).unwrap_or_default().to_vec();
            seen = all.len();
            lived.check(&ended, &events);
            let ending = self.ending(&ended, &events);
            lived.lives.push(Life { events, after });
            match ending {
                Ending::Finished => return Ok(true),
                Ending::Wrong(finding) => {
                    lived.findings.push(finding);
                    return Ok(true);
                }
                Ending::By(_) if lived.lives.len() > most => {
                    let finding = "the run does not come to its end";
                    lived.findings.push(finding.to_owned());
                    return Ok(true);
                }
                Ending::By(_) if !has_begun(&lived.dir) => return Ok(false),
                Ending::By(kind) => after = Some(kind),
            }
            arguments = vec!["resume".to_owned(), dir.clone()];
        }
    }

    /// Runs this binary on a run.
    fn child(&self, arguments: &[String], folder: &Path, run: &Path) -> Result<Ended, Trouble> {
        let places = Places {
            folder,
            temporary: self.temporary,
            run,
        };
        child::run(arguments, places, self.stop)
    }

    /// How a supervisor has ended, given what it wrote down. What is not a fault of the plan is not right.
    fn ending(&self, ended: &Ended, events: &[RunEvent]) -> Ending {
        let last = |is_it: fn(FaultKind) -> bool| {
            history::fired(events).filter(|kind| is_it(*kind)).last()
        };
        let said = ended.said.lines().last().unwrap_or_default();
        if ended.hung {
            return Ending::Wrong(format!("a supervisor hung: {said}"));
        }
        match (ended.code, ended.signal) {
            (Some(0), _) => Ending::Finished,
            _ if self.stop.asked() => Ending::Finished,
            (_, Some(SIGKILL)) => match last(|kind| kind == FaultKind::SupervisorKill) {
                Some(kind) => Ending::By(kind),
                None => Ending::Wrong("a supervisor was killed, and by no fault".to_owned()),
            },
            (Some(code), _) => match last(FaultKind::is_of_disk) {
                Some(kind) => Ending::By(kind),
                None => Ending::Wrong(format!("a supervisor ended with exit code {code}: {said}")),
            },
            (_, signal) => {
                Ending::Wrong(format!("a supervisor ended by signal {signal:?}: {said}"))
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
        self.words.iter().cloned().chain(options).collect()
    }

    /// What a replay of a run says other than the run; none when they are the same.
    pub(super) fn replayed(&self, lived: &Lived, folder: &Path) -> Result<Option<String>, Trouble> {
        let arguments = [
            "replay".to_owned(),
            lived.dir.to_string_lossy().into_owned(),
        ];
        let ended = self.child(&arguments, folder, &lived.dir)?;
        if ended.code == Some(0) {
            return Ok(None);
        }
        let diverged = ended
            .out
            .lines()
            .skip_while(|line| !line.starts_with("diverged"));
        let diverged: Vec<&str> = diverged.chain(ended.said.lines()).collect();
        Ok(Some(format!(
            "a replay of the run: {}",
            diverged.join("\n")
        )))
    }
}

/// How a supervisor has ended.
enum Ending {
    /// With its run, or because somebody wants it.
    Finished,
    /// By a fault, after which the run goes on.
    By(FaultKind),
    /// As it must not.
    Wrong(String),
}

impl Lived {
    /// Everything that happened, over all lives.
    pub(super) fn events(&self) -> impl Iterator<Item = &RunEvent> {
        self.lives.iter().flat_map(|life| &life.events)
    }

    /// Whether anything was decided that changes the run.
    pub(super) fn has_verdicts(&self) -> bool {
        self.events()
            .any(|event| matches!(event, RunEvent::Verdict { .. }))
    }

    /// Looks for what one supervisor must not leave, write or become.
    fn check(&mut self, ended: &Ended, events: &[RunEvent]) {
        let left = ended.left.iter().map(|what| format!("left behind: {what}"));
        self.findings.extend(left);
        self.findings.extend(history::contradictions(events));
        self.findings
            .extend(ended.vigil.leaks(history::losses(events)));
    }

    /// What the run says other than the reference, or does not keep; none when they are the same.
    pub(super) fn difference(&self, reference: &Path) -> Option<String> {
        let compare = || -> Result<Option<String>, Trouble> {
            let (left, right) = (RunDir::read(reference)?, RunDir::read(&self.dir)?);
            if let Some(difference) = diff::diff(&left, &right)? {
                return Ok(Some(difference.to_string()));
            }
            let outbox = |run: &RunDir| fs::read(run.outbox()).ok();
            Ok((outbox(&left) != outbox(&right)).then(|| "the outboxes differ".to_owned()))
        };
        told(compare())
    }

    /// Why the run as it lies there is not whole: its journal verifies, is sealed, and its outbox has every line.
    pub(super) fn incomplete(&self) -> Option<String> {
        let look = || -> Result<Option<String>, Trouble> {
            let verified = journal::verify(&RunDir::read(&self.dir)?)?;
            Ok(if verified.sealed.is_none() || verified.torn.is_some() {
                Some("the run has ended and its journal is not sealed".to_owned())
            } else {
                let missing = verified.outbox_missing;
                (missing > 0).then(|| format!("the outbox lacks {missing} lines of the journal"))
            })
        };
        told(look())
    }
}

/// What cannot be looked at is as wrong as what looks wrong.
fn told(found: Result<Option<String>, Trouble>) -> Option<String> {
    found.unwrap_or_else(|trouble| Some(trouble.message().to_owned()))
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

/// The rules that have not fired as often as they are to.
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
    use super::super::vigil::Vigil;
    use super::*;
    use shm_protocol::fault::FaultPoint;
    use shm_protocol::id::Tick;
    use supervisor::faults::FaultTarget;

    fn ended(code: Option<i32>, signal: Option<i32>) -> Ended {
        Ended {
            code,
            signal,
            hung: false,
            out: String::new(),
            said: "error: what it said".to_owned(),
            left: Vec::new(),
            vigil: Vigil::begin(std::process::id(), Path::new("/nowhere")),
        }
    }

    fn fired(rule: u32, kind: FaultKind) -> RunEvent {
        RunEvent::FaultFired {
            rule,
            kind: kind.name().to_owned(),
            phase: FaultPoint::TickOpened.name().to_owned(),
            tick: Tick(3),
            target: String::new(),
        }
    }

    fn ending(ended: &Ended, events: &[RunEvent]) -> String {
        let stop = StopSignals::none().expect("a descriptor");
        let launching = Launching {
            words: &[],
            ticks: 1,
            deadline_ms: 1,
            temporary: Path::new("/nowhere"),
            stop: &stop,
        };
        match launching.ending(ended, events) {
            Ending::Finished => "finished".to_owned(),
            Ending::By(kind) => kind.name().to_owned(),
            Ending::Wrong(finding) => format!("wrong: {finding}"),
        }
    }

    #[test]
    fn an_end_that_no_fault_has_brought_about_is_wrong() {
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
        assert!(ending(&killed, &by_disk).starts_with("wrong: a supervisor was killed"));
        assert!(
            ending(&failed, &by_kill).starts_with("wrong: a supervisor ended with exit code 70")
        );
        assert!(ending(&ended(None, Some(11)), &by_disk).starts_with("wrong: "));
        let hung = Ended {
            hung: true,
            ..ended(None, Some(SIGKILL))
        };
        assert!(ending(&hung, &by_kill).starts_with("wrong: a supervisor hung"));
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
