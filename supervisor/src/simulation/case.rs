//! One seed: a run with everything that happens to it, over as many lives of the
//! supervisor as it takes, and what must hold of it.

use super::check::{self, Left};
use super::fleet::Fleet;
use super::host_faults::{HostFault, HostFaults};
use super::hosts::{Answered, Seen, SimHosts};
use super::observer::RunObserver;
use super::{decided, outbox, supervisor_run as life};
use crate::error::{ErrorKind, RunError};
use crate::fleet::Durability;
use crate::journal::JournalError;
use crate::rundir::RunDirError;
use crate::session::RunReport;
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use crate::tick::RunEnd;
use shm_protocol::id::Tick;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use test_support::TestRng;

/// Most lives of the supervisor in which something may go wrong with it. The one after them ends the run.
const MAX_LIVES: u64 = 4;

/// What goes wrong in a call of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskFailure {
    call: u64,
    fault: DiskFault,
    /// The supervisor dies there.
    dies: bool,
}

impl DiskFailure {
    fn name(self) -> &'static str {
        match (self.dies, self.fault) {
            (true, DiskFault::Before) => "dies before a call",
            (true, DiskFault::After) => "dies after a call",
            (true, DiskFault::Short | DiskFault::NoSpace) => "dies within a call",
            (false, DiskFault::Before) => "a call fails",
            (false, DiskFault::After) => "a call fails and was performed",
            (false, DiskFault::Short) => "a call writes a part",
            (false, DiskFault::NoSpace) => "the disk is full",
        }
    }
}

/// What a fleet comes to without faults.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) fleet: Fleet,
    pub(super) left: Left,
    pub(super) disk: MemoryDisk,
    /// Things that hosts do in it.
    pub(super) actions: u64,
    /// Calls of the disk that change something.
    pub(super) calls: u64,
}

impl Reference {
    /// Runs the fleet of a seed, which may be one with an agent that ends its host.
    pub(super) fn of(seed: u64, poison: bool) -> Reference {
        Reference::of_fleet(Fleet::new(seed, poison))
    }

    /// Runs a fleet.
    pub(super) fn of_fleet(fleet: Fleet) -> Reference {
        let seed = fleet.seed;
        let disk = MemoryDisk::for_one_thread();
        let mut hosts = SimHosts::assembled(
            &fleet,
            true,
            true,
            TestRng::for_purpose(seed, 3),
            HostFaults::none(),
        );
        let mut observer = RunObserver::default();
        life::begin(&fleet, Arc::new(disk.clone()), &mut hosts, &mut observer)
            .unwrap_or_else(|error| panic!("fleet {seed} without faults: {error}"));
        let actions = hosts.seen.actions;
        let left = check::left(&disk).expect("a run without faults is whole");
        let calls = disk.calls();
        Reference {
            fleet,
            left,
            disk,
            actions,
            calls,
        }
    }
}

/// What happened in a run.
#[derive(Debug, Default)]
pub(super) struct CaseReport {
    pub(super) host_faults: BTreeMap<HostFault, u64>,
    pub(super) disk_failures: BTreeMap<&'static str, u64>,
    pub(super) power_cuts: u64,
    pub(super) stops: u64,
    pub(super) lives: u64,
    pub(super) restored: u64,
    pub(super) from_checkpoint: u64,
    pub(super) verdicts: u64,
    /// Runs with verdicts whose journal was replayed.
    pub(super) replayed: u64,
    /// Runs with the same verdicts as the one without faults.
    pub(super) decided_alike: u64,
    /// Lives that ended at a limit.
    pub(super) limits: u64,
    /// Runs that ended where nothing more was promised.
    pub(super) abandoned: u64,
    /// Outboxes that somebody has changed while nobody wrote to them, and those that were told to be repaired.
    pub(super) outboxes_damaged: u64,
    pub(super) outboxes_repaired: u64,
    pub(super) story: Vec<String>,
}

impl CaseReport {
    /// Faults of any kind.
    pub(super) fn faults(&self) -> u64 {
        self.host_faults.values().sum::<u64>()
            + self.disk_failures.values().sum::<u64>()
            + self.stops
    }
}

/// A run that is under way.
pub(super) struct Case<'fleet> {
    reference: &'fleet Reference,
    fleet: &'fleet Fleet,
    seed: u64,
    random: TestRng,
    disk: MemoryDisk,
    answered: Answered,
    /// The last tick that counts as kept.
    kept: Tick,
    /// Whether there is a run to go on with.
    has_begun: bool,
    /// What the last power cut, or who changed it since, has left of the outbox.
    torn_outbox: Option<Vec<u8>>,
    /// The last tick of which something had left the run when that happened: the file may say anything.
    emitted: Tick,
    /// Whether what a checkpoint says of the outbox may be untrue.
    is_meddled_with: bool,
    pub(super) report: CaseReport,
}

/// How a life of the supervisor ended.
enum Ended {
    /// The run is over.
    Over,
    /// It can be gone on with.
    Left,
    /// Nothing more is promised.
    Abandoned,
}

impl<'fleet> Case<'fleet> {
    pub(super) fn new(reference: &'fleet Reference, seed: u64) -> Case<'fleet> {
        Case {
            reference,
            fleet: &reference.fleet,
            seed,
            random: TestRng::for_purpose(seed, 4),
            disk: MemoryDisk::for_one_thread(),
            answered: Answered::new(),
            kept: Tick::ZERO,
            has_begun: false,
            torn_outbox: None,
            emitted: Tick::ZERO,
            is_meddled_with: false,
            report: CaseReport::default(),
        }
    }

    /// Runs it to its end, and says what does not hold.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let faults = self.random.within(2..=6);
        let faulty_lives = match self.random.chance(1, 2) {
            true => self.random.within(1..=MAX_LIVES),
            false => 0,
        };
        // A run that never began takes one life to say so, and one to begin. One that ended at a limit takes another.
        let mut life = 0;
        while life < faulty_lives + 3 + self.report.limits {
            let of_hosts = match life {
                0 => faults,
                _ => self.random.below(3),
            };
            life += 1;
            match self.live(of_hosts, life <= faulty_lives)? {
                Ended::Over => return self.judge(),
                Ended::Left => self.meddle(),
                Ended::Abandoned => {
                    self.report.abandoned += 1;
                    return Ok(());
                }
            }
        }
        Err("the last life of the supervisor did not end the run".to_owned())
    }

    /// One life of the supervisor.
    fn live(&mut self, faults: u64, is_troubled: bool) -> Result<Ended, String> {
        self.report.lives += 1;
        let life = self.report.lives;
        let host_faults = HostFaults::drawn(
            TestRng::for_purpose(self.seed, 100 + life),
            faults,
            self.reference.actions,
        );
        let random = TestRng::for_purpose(self.seed, 200 + life);
        let mut hosts = SimHosts::assembled(self.fleet, !self.has_begun, true, random, host_faults);
        hosts.answered = std::mem::take(&mut self.answered);
        // No call goes wrong but the one that is chosen now.
        self.disk.fail_call(u64::MAX, DiskFault::Before);
        let disk_failure = is_troubled.then(|| self.disk_failure(&mut hosts)).flatten();
        let mut observer = RunObserver::default();
        let (disk, fleet, has_begun) = (Arc::new(self.disk.clone()), self.fleet, self.has_begun);
        let ended = catch_unwind(AssertUnwindSafe(|| match has_begun {
            false => life::begin(fleet, disk, &mut hosts, &mut observer),
            true => life::resume(fleet, disk, &mut hosts, &mut observer),
        }));
        self.answered = std::mem::take(&mut hosts.answered);
        self.note(&hosts.seen, &observer);
        if observer.losses() != hosts.seen.losses {
            return Err(format!(
                "the losses {:?} were told of as {:?}",
                hosts.seen.losses,
                observer.losses()
            ));
        }
        let ended = ended.map_err(|_| "it panicked".to_owned())?;
        if observer.repaired.is_some() && !self.is_meddled_with {
            return Err("nobody had changed the outbox, and it was repaired".to_owned());
        }
        // Who could not bring the outbox to the disk before going on has made sure that it is written anew.
        self.is_meddled_with |= ended.as_ref().err().is_some_and(is_unsettled);
        let struck = disk_failure.filter(|disk_failure| self.disk.calls() > disk_failure.call);
        if let Some(disk_failure) = struck {
            *self
                .report
                .disk_failures
                .entry(disk_failure.name())
                .or_default() += 1;
        }
        self.kept = self.kept.max(observer.committed());
        match &ended {
            Ok(summary) => self
                .report
                .story
                .push(format!("it ended: {:?}", summary.end)),
            Err(error) => self.report.story.push(format!("it ended: {error}")),
        }
        self.go_on_after(ended, struck)
    }

    /// Chooses what goes wrong with the supervisor in this life: its disk, or somebody asks for the end.
    fn disk_failure(&mut self, hosts: &mut SimHosts<'_>) -> Option<DiskFailure> {
        if self.random.chance(1, 6) {
            hosts.stop_after(self.random.below(self.reference.actions.max(1)));
            return None;
        }
        let soon = self.has_begun && self.random.chance(1, 2);
        let calls = if soon { 12 } else { self.reference.calls };
        let disk_failure = DiskFailure {
            call: self.disk.calls() + self.random.below(calls),
            fault: self.random.pick(&DiskFault::ALL),
            dies: self.random.chance(1, 2),
        };
        match disk_failure.dies {
            true => self.disk.crash_at(disk_failure.call, disk_failure.fault),
            false => self.disk.fail_call(disk_failure.call, disk_failure.fault),
        }
        Some(disk_failure)
    }

    fn note(&mut self, seen: &Seen, observer: &RunObserver) {
        for (host_fault, times) in &seen.host_faults {
            *self.report.host_faults.entry(*host_fault).or_default() += times;
        }
        self.report.restored += observer.restored;
        self.report.from_checkpoint += observer.from_checkpoint;
        self.report.verdicts += observer.verdicts;
        self.report.outboxes_repaired += u64::from(observer.repaired.is_some());
        self.report
            .story
            .push(format!("life {}", self.report.lives));
        self.report
            .story
            .extend(seen.story.iter().chain(&observer.story).cloned());
    }

    /// Looks at what a life has left, and puts another disk in place if the supervisor or the machine is gone.
    fn go_on_after(
        &mut self,
        ended: Result<RunReport, RunError>,
        struck: Option<DiskFailure>,
    ) -> Result<Ended, String> {
        self.has_begun = true;
        match (ended, struck) {
            (Ok(summary), _) if summary.end == RunEnd::Stopped => {
                self.report.stops += 1;
                Ok(Ended::Left)
            }
            (Ok(_), _) => Ok(Ended::Over),
            (Err(error), None) if is_no_run(&error) && self.kept == Tick::ZERO => {
                // It never began, and begins now.
                self.has_begun = false;
                Ok(Ended::Left)
            }
            (Err(error), None) if is_torn_beginning(&error) && self.kept == Tick::ZERO => {
                Ok(Ended::Abandoned)
            }
            (Err(error), None) if error.kind() == ErrorKind::Machine => {
                self.report.limits += 1;
                self.disk = self.disk.after_process_death();
                Ok(Ended::Left)
            }
            (Err(error), None) => Err(format!("the run ended: {error}")),
            (Err(_), Some(disk_failure)) => self.survive(disk_failure),
        }
    }

    /// What is left after the supervisor has failed or died.
    fn survive(&mut self, disk_failure: DiskFailure) -> Result<Ended, String> {
        self.outbox_is_true()?;
        let emitted = self.emitted();
        let is_cut = self.random.chance(1, 3);
        if is_cut && self.fleet.launch.durability == Durability::Batch {
            // More was committed, and nobody was told of it.
            self.kept = emitted;
        }
        self.disk = match is_cut {
            true => self.disk.after_power_cut_with(self.random.next_u64()),
            false => self.disk.after_process_death(),
        };
        let emitted = check::last_emitted(&self.disk).min(emitted);
        if is_cut {
            (self.torn_outbox, self.emitted) = (Some(check::outbox(&self.disk)), emitted);
        }
        self.report.power_cuts += u64::from(is_cut);
        self.report
            .story
            .push(format!("{}, power cut: {is_cut}", disk_failure.name()));
        if is_cut && self.fleet.launch.durability == Durability::Process {
            // Nothing is promised then.
            return Ok(Ended::Abandoned);
        }
        let ticks = check::ticks(&self.disk)?;
        if ticks < self.kept {
            return Err(format!(
                "tick {} was kept, and the journal ends with {ticks}",
                self.kept
            ));
        }
        if emitted > ticks {
            return Err(format!(
                "outputs of tick {emitted} have left the run, and the journal ends with {ticks}"
            ));
        }
        Ok(Ended::Left)
    }

    /// Now and then somebody cuts or changes the outbox between two lives of the supervisor.
    fn meddle(&mut self) {
        // Of the seed alone, so that all else of a seed is as it is without it.
        let mut random = TestRng::for_purpose(self.seed, 300 + self.report.lives);
        let emitted = self.emitted();
        if random.chance(1, 4)
            && let Some(how) = outbox::damage(&self.disk, &mut random)
        {
            (self.torn_outbox, self.emitted) = (Some(check::outbox(&self.disk)), emitted);
            self.is_meddled_with = true;
            self.report.outboxes_damaged += 1;
            self.report.story.push(format!("the outbox is {how}"));
        }
    }

    /// The last tick of which something has left the run.
    fn emitted(&self) -> Tick {
        let outbox = check::outbox(&self.disk);
        match self.torn_outbox.as_ref() == Some(&outbox) {
            true => self.emitted,
            false => check::last_emitted(&self.disk),
        }
    }

    /// But for what a power cut has torn or somebody has changed, and nobody has mended, what has left the run until now is the beginning of what leaves it without faults.
    fn outbox_is_true(&self) -> Result<(), String> {
        let outbox = check::outbox(&self.disk);
        let is_untouched = self.torn_outbox.as_ref() == Some(&outbox);
        match self.reference.left.outbox.starts_with(&outbox)
            || is_untouched
            || self.report.verdicts > 0
            || self.fleet.is_poisoned()
        {
            true => Ok(()),
            false => Err("what has left the run is not what leaves it without faults".to_owned()),
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let left = check::left(&self.disk)?;
        if left.verdicts == 0 && self.reference.left.verdicts == 0 {
            check::equal(&self.reference.disk, &self.disk)?;
            return check::equal_bytes(&self.reference.left, &left);
        }
        let is_alike = decided::decided_alike(&self.reference.disk, &self.disk)?;
        self.report.decided_alike += u64::from(is_alike);
        decided::replayed(self.fleet, &self.disk, self.seed)?;
        self.report.replayed += 1;
        Ok(())
    }
}

/// Whether a resume could not bring what is there to the disk.
fn is_unsettled(error: &RunError) -> bool {
    matches!(
        error,
        RunError::RunDir(RunDirError::Io { action: "sync", .. })
    )
}

/// Whether there is no run in the directory.
pub(super) fn is_no_run(error: &RunError) -> bool {
    match error {
        RunError::Journal(JournalError::NotBegun { .. }) => true,
        RunError::RunDir(RunDirError::NotARun { .. } | RunDirError::Io { .. }) => true,
        RunError::Ended { source, .. } => is_no_run(source),
        _ => false,
    }
}

/// Whether a power cut has taken a part of the header: the directory is refused, and holds nothing.
pub(super) fn is_torn_beginning(error: &RunError) -> bool {
    matches!(error, RunError::Journal(JournalError::DamagedTail { .. }))
}
