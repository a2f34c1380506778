//! One run of 500 ticks, and every call of its disk goes wrong once in every way.
//!
//! Nothing is drawn but what a power cut leaves: the hosts do what they should,
//! so that the calls are the same each time and every one of them is reached.
//!
//! There are some twenty thousand ways at the two levels that promise something,
//! and each takes a run and a half. The tests take one in [`STRIDE`] of them, and
//! say so; `LOCKSTEP_SIM_EXHAUSTIVE=1` takes all, in some minutes.

use super::case::{Reference, is_no_run, is_torn_beginning};
use super::fleet::Fleet;
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::{check, supervisor_run as life};
use crate::error::RunError;
use crate::fleet::Durability;
use crate::session::RunReport;
use crate::sys::memory_disk::{DiskCall, DiskFault, MemoryDisk};
use shm_protocol::id::Tick;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use test_support::random::{TestRng, mix};

/// Of the ways in order the tests take one in so many: without a common factor with the number of ways of a call, so that
/// every way is taken.
const STRIDE: usize = 17;
const TICKS: u64 = 500;
const CHECKPOINT_TICKS: u64 = 25;

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The process dies before it.
    DiesBefore,
    /// The process dies when a part of the bytes is written.
    DiesWithin,
    /// The process dies after it.
    DiesAfter,
    /// The machine stops before it.
    CutBefore,
    /// The machine stops when a part of the bytes is written.
    CutWithin,
    /// The machine stops after it.
    CutAfter,
    /// EIO.
    Fails,
    /// ENOSPC.
    IsFull,
}

impl Way {
    const ALL: [Way; 8] = [
        Way::DiesBefore,
        Way::DiesWithin,
        Way::DiesAfter,
        Way::CutBefore,
        Way::CutWithin,
        Way::CutAfter,
        Way::Fails,
        Way::IsFull,
    ];

    /// Whether it is another than those before it: only what is written has parts.
    fn is_one_of(self, call: DiskCall) -> bool {
        call == DiskCall::Write || !matches!(self, Way::DiesWithin | Way::CutWithin)
    }

    fn is_cut(self) -> bool {
        matches!(self, Way::CutBefore | Way::CutWithin | Way::CutAfter)
    }

    /// Lets a call of the disk go wrong.
    fn arm(self, disk: &MemoryDisk, call: u64) {
        match self {
            Way::DiesBefore | Way::CutBefore => disk.crash_at(call, DiskFault::Before),
            Way::DiesWithin | Way::CutWithin => disk.crash_at(call, DiskFault::Short),
            Way::DiesAfter | Way::CutAfter => disk.crash_at(call, DiskFault::After),
            Way::Fails => disk.fail_call(call, DiskFault::Before),
            Way::IsFull => disk.fail_call(call, DiskFault::NoSpace),
        }
    }

    /// What is there when somebody goes on.
    fn leaves(self, disk: &MemoryDisk, seed: u64) -> MemoryDisk {
        match self.is_cut() {
            true => disk.after_power_cut_with(seed),
            false => disk.after_process_death(),
        }
    }
}

/// A call that goes wrong.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    call: u64,
    kind: DiskCall,
    way: Way,
}

/// What attempts came to.
#[derive(Debug, Default)]
struct Count {
    /// Attempts by way.
    ways: BTreeMap<Way, u64>,
    /// Attempts by the kind of call.
    calls: BTreeMap<DiskCall, u64>,
    /// Runs that ended well in spite of it.
    unharmed: u64,
    /// Runs that were gone on with.
    resumed: u64,
    /// Runs that had not begun, and began again.
    begun_again: u64,
    /// Runs that had not begun, and of whose header a power cut has left a part.
    torn_beginnings: u64,
}

impl Count {
    fn add(&mut self, other: &Count) {
        for (way, times) in &other.ways {
            *self.ways.entry(*way).or_default() += times;
        }
        for (call, times) in &other.calls {
            *self.calls.entry(*call).or_default() += times;
        }
        self.unharmed += other.unharmed;
        self.resumed += other.resumed;
        self.begun_again += other.begun_again;
        self.torn_beginnings += other.torn_beginnings;
    }
}

/// One life of the supervisor, in which nothing goes wrong with the hosts.
fn live(
    fleet: &Fleet,
    disk: &MemoryDisk,
    begins: bool,
) -> Result<(Result<RunReport, RunError>, Tick), String> {
    let random = TestRng::for_purpose(fleet.seed, 3);
    let mut hosts = SimHosts::assembled(fleet, begins, true, random, HostFaults::none());
    let mut observer = RunObserver::default();
    let shared = Arc::new(disk.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| match begins {
        true => life::begin(fleet, shared, &mut hosts, &mut observer),
        false => life::resume(fleet, shared, &mut hosts, &mut observer),
    }));
    let ended = ended.map_err(|_| "it panicked".to_owned())?;
    Ok((ended, observer.committed()))
}

impl Attempt {
    /// Carries it out and says what does not hold.
    fn try_it(self, reference: &Reference, count: &mut Count) -> Result<(), String> {
        *count.ways.entry(self.way).or_default() += 1;
        *count.calls.entry(self.kind).or_default() += 1;
        let disk = MemoryDisk::for_one_thread();
        self.way.arm(&disk, self.call);
        let (ended, kept) = live(&reference.fleet, &disk, true)?;
        if disk.calls() <= self.call || disk.made().get(self.at()) != Some(&self.kind) {
            return Err("the call was not reached".to_owned());
        }
        if ended.is_ok() {
            count.unharmed += 1;
            return same(reference, &disk);
        }
        if !reference.left.outbox.starts_with(&check::outbox(&disk)) {
            return Err("what has left the run is not what leaves it without faults".to_owned());
        }
        let is_batch = reference.fleet.launch.durability == Durability::Batch;
        let kept = match self.way.is_cut() && is_batch {
            // More was committed, and nobody was told of it.
            true => check::last_emitted(&disk),
            false => kept,
        };
        let left = self.way.leaves(&disk, mix(self.call, 5));
        let ticks = check::ticks(&left)?;
        if ticks < kept {
            return Err(format!(
                "tick {kept} was kept, and the journal ends with {ticks}"
            ));
        }
        go_on(reference, &left, kept, count)
    }

    fn at(self) -> usize {
        usize::try_from(self.call).expect("calls are counted in memory")
    }
}

/// Goes on with what is left, to the end.
fn go_on(
    reference: &Reference,
    disk: &MemoryDisk,
    kept: Tick,
    count: &mut Count,
) -> Result<(), String> {
    let fleet = &reference.fleet;
    match live(fleet, disk, false)?.0 {
        Ok(_) => count.resumed += 1,
        Err(error) if kept == Tick::ZERO && is_no_run(&error) => {
            let (ended, _) = live(fleet, disk, true)?;
            ended.map_err(|error| format!("it cannot begin again: {error}"))?;
            count.begun_again += 1;
        }
        Err(error) if kept == Tick::ZERO && is_torn_beginning(&error) => {
            count.torn_beginnings += 1;
            return Ok(());
        }
        Err(error) => return Err(format!("it cannot be gone on with: {error}")),
    }
    same(reference, disk)
}

/// What is there is what the run without faults has left, now and after a power cut.
fn same(reference: &Reference, disk: &MemoryDisk) -> Result<(), String> {
    check::equal_bytes(&reference.left, &check::left(disk)?)?;
    let after = check::left(&disk.after_power_cut());
    let after = after.map_err(|reason| format!("after a power cut at its end: {reason}"))?;
    check::equal_bytes(&reference.left, &after)
        .map_err(|reason| format!("after a power cut at its end: {reason}"))
}

/// Carries attempts out, on every processor there is. Says what does not hold of each.
fn try_all(reference: &Reference, attempts: &[Attempt]) -> (Count, Vec<String>) {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = |worker: usize| {
        let (mut count, mut failed) = (Count::default(), Vec::new());
        for attempt in attempts.iter().skip(worker).step_by(workers) {
            if let Err(reason) = attempt.try_it(reference, &mut count) {
                failed.push(format!("{attempt:?}: {reason}"));
            }
        }
        (count, failed)
    };
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || share(worker)))
            .collect();
        let (mut all, mut failed) = (Count::default(), Vec::new());
        for worker in working {
            let (count, of_worker) = worker.join().expect("a worker catches panics");
            all.add(&count);
            failed.extend(of_worker);
        }
        (all, failed)
    })
}

/// Every way of every call of a run.
fn every(reference: &Reference) -> Vec<Attempt> {
    let ways = |(call, kind): (u64, DiskCall)| {
        let own = Way::ALL.into_iter().filter(move |way| way.is_one_of(kind));
        own.map(move |way| Attempt { call, kind, way })
    };
    (0..).zip(reference.disk.made()).flat_map(ways).collect()
}

#[test]
fn every_call_of_the_disk_may_go_wrong_in_every_way() {
    let is_exhaustive = std::env::var_os("LOCKSTEP_SIM_EXHAUSTIVE").is_some();
    let stride = if is_exhaustive { 1 } else { STRIDE };
    for durability in [Durability::Sync, Durability::Batch] {
        let reference = Reference::of_fleet(Fleet::steady(TICKS, CHECKPOINT_TICKS, durability));
        assert_eq!(reference.left.verified.ticks, Tick(TICKS));
        assert!(reference.left.verified.outbox_lines > 0);
        let all = every(&reference);
        let attempts: Vec<Attempt> = all.iter().copied().step_by(stride).collect();
        #[allow(clippy::disallowed_methods, reason = "only to say how long it took")]
        let began = std::time::Instant::now();
        let (count, failed) = try_all(&reference, &attempts);
        println!(
            "{durability:?}: {} calls in {TICKS} ticks, {} ways of them to go wrong, one in {stride} taken: {} runs in {:?}; {count:?}",
            reference.calls,
            all.len(),
            attempts.len(),
            began.elapsed(),
        );
        assert!(
            failed.is_empty(),
            "{durability:?}: {} of {} runs failed:\n{}",
            failed.len(),
            attempts.len(),
            failed.join("\n")
        );
        assert!(count.resumed > 0);
    }
}
