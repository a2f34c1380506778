//! Runs in which something was decided: their journal is not that of the run
//! without faults, and whoever replays it takes the same turns.

use super::case::Reference;
use super::fleet::{Deadly, FAST, Fleet, MODEL, SLOW};
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::reply::Ends;
use super::{check, supervisor_run as life};
use crate::event_loop::{EventLoop, Timeouts};
use crate::fleet::Durability;
use crate::journal::{JournalError, JournalReader};
use crate::launch::plan;
use crate::record::{ModelChange, ScheduledChange, TickRecord, Verdict, VersionPin};
use crate::rundir::RunDir;
use crate::session::comparing_ledger::ComparingLedger;
use crate::session::journal_scan::scan_journal;
use crate::sys::memory_disk::MemoryDisk;
use crate::tick::TickMachine;
use shm_protocol::id::{AgentId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::Batching;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use test_support::TestRng;

/// Most faults of a replay: too few for it to decide anything itself.
const MAX_FAULTS: u64 = 2;

/// Replays the journal of a run, with hosts that are lost on the way, and says what does not hold.
pub(super) fn replayed(fleet: &Fleet, disk: &MemoryDisk, seed: u64) -> Result<(), String> {
    let run_dir = check::open(disk)?;
    let through = scan_journal(&run_dir).map_err(|error| error.to_string())?;
    let mut random = TestRng::for_purpose(seed, 6);
    let reinfer = random.chance(1, 2);
    let faults = random.below(MAX_FAULTS + 1);
    let host_faults =
        HostFaults::drawn(TestRng::for_purpose(seed, 7), faults, 10 * through.until.0);
    let all = through
        .verdicts
        .iter()
        .flat_map(|(tick, verdicts)| verdicts.iter().map(|verdict| (*tick, verdict.clone())));
    let orders = fleet.orders_after(&all.collect::<Vec<_>>());
    let mut hosts = SimHosts::assembled(fleet, true, reinfer, random, host_faults);
    hosts.may_lose = false;
    let mut machine = TickMachine::new(
        plan(&fleet.header, &fleet.orders.placement),
        Some(through.until),
    );
    for (tick, verdicts) in through.verdicts {
        machine.preload_verdicts(tick, verdicts);
    }
    if reinfer {
        machine.preload_answers(through.recorded_answers);
    }
    let (_, journal) = JournalReader::open(&run_dir).map_err(|error| error.to_string())?;
    let mut observer = RunObserver::default();
    let mut ledger =
        ComparingLedger::new(&run_dir, &fleet.header, journal, !reinfer, &mut observer);
    let drive = EventLoop::new(
        &mut hosts,
        machine,
        &fleet.header,
        &orders,
        &mut ledger,
        Timeouts::of(&fleet.launch),
    );
    let ended = catch_unwind(AssertUnwindSafe(|| drive.run()));
    let (divergence, ticks) = (ledger.divergence, ledger.stats.ticks);
    let ended = ended.map_err(|_| "its replay panicked".to_owned())?;
    ended.map_err(|error| format!("its replay ended: {error}\n{:#?}", observer.story))?;
    match divergence {
        Some(difference) => Err(format!(
            "its replay differs: {difference}\n{:#?}",
            observer.story
        )),
        None if ticks != through.until.0 => {
            Err(format!("its replay has {ticks} of {} ticks", through.until))
        }
        None => Ok(()),
    }
}

/// Two runs in which the same agents were given up in the same ticks, and nothing else was decided, are the same but
/// for the reasons that were given. Says whether they are such runs.
pub(super) fn decided_alike(reference: &MemoryDisk, run: &MemoryDisk) -> Result<bool, String> {
    let (expected, found) = (without_reasons(reference)?, without_reasons(run)?);
    let (Some((ours, expected)), Some((theirs, found))) = (expected, found) else {
        return Ok(false);
    };
    if ours != theirs {
        return Ok(false);
    }
    let differs = expected
        .iter()
        .zip(&found)
        .position(|(left, right)| left != right);
    match differs {
        Some(at) => Err(format!(
            "with the same decisions, {:?} came to {:?}",
            expected[at], found[at]
        )),
        None if expected.len() != found.len() => Err("one of them has more ticks".to_owned()),
        None => Ok(true),
    }
}

/// Who was given up in which tick.
type GivenUp = Vec<(Tick, AgentId)>;

/// Who was given up, and what happened in the ticks. None when something else was decided, of which agents get to know
/// the reason.
fn without_reasons(disk: &MemoryDisk) -> Result<Option<(GivenUp, Vec<TickRecord>)>, String> {
    let failed = |error: JournalError| error.to_string();
    let run_dir: RunDir = check::open(disk)?;
    let (_, mut reader) = JournalReader::open(&run_dir).map_err(failed)?;
    let (mut given_up, mut records) = (Vec::new(), Vec::new());
    for entry in reader.entries() {
        let entry = entry.map_err(failed)?;
        let mut record = entry.record;
        for verdict in record.verdicts.drain(..) {
            let Verdict::Quarantined { agent, .. } = verdict else {
                return Ok(None);
            };
            given_up.push((entry.tick, agent));
        }
        records.push(record);
    }
    Ok(Some((given_up, records)))
}

/// A fleet in which hosts end over something, and its run without other faults.
fn decided(change: impl Fn(&mut Fleet)) -> (Reference, Vec<Verdict>) {
    let mut fleet = Fleet::steady(40, 8, Durability::Process);
    change(&mut fleet);
    let reference = Reference::of_fleet(fleet);
    let run_dir = check::open(&reference.disk).unwrap();
    let verdicts = scan_journal(&run_dir).unwrap().verdicts;
    (reference, verdicts.into_values().flatten().collect())
}

#[test]
fn an_agent_that_crashes_its_host_is_quarantined_in_replay_too() {
    let poisoned = AgentId(1);
    let (reference, verdicts) = decided(|fleet| {
        let tick = Tick(12 * fleet.header.agents[poisoned.index()].every);
        fleet.characters[poisoned.index()].poison = Some((tick, Ends::Crashed));
    });
    assert!(
        matches!(&verdicts[..], [Verdict::Quarantined { agent, .. }] if *agent == poisoned),
        "{verdicts:?}"
    );
    for seed in 0..40 {
        replayed(&reference.fleet, &reference.disk, seed).unwrap();
    }
}

#[test]
fn who_ran_a_model_is_gone_and_the_run_goes_on_with_the_next() {
    let mut losses = 0;
    for deadly in 1..=30 {
        let (reference, verdicts) = decided(|fleet| {
            (fleet.deadly, fleet.loses_provider) = (Some(Deadly::at(deadly, 1)), Some(0));
        });
        let lost = |verdict: &&Verdict| matches!(verdict, Verdict::ProviderLost { provider, refused, .. } if provider == SLOW && refused.len() == 1);
        let found = verdicts.iter().filter(lost).count();
        // What is gone is not lost a second time, however often the host is started again.
        assert!(found <= 1, "{verdicts:?}");
        losses += found;
        for seed in 0..8 {
            replayed(&reference.fleet, &reference.disk, seed).unwrap();
        }
    }
    assert!(losses > 5, "{losses}");
}

/// Three versions of a model and a pause, which somebody asks for in these ticks.
fn wishes(ticks: [u64; 4]) -> Vec<ScheduledChange<VersionPin>> {
    let version = |name: &str, batching| {
        ModelChange::Replace(VersionPin {
            version: name.to_owned(),
            file: *blake3::hash(MODEL).as_bytes(),
            provider: FAST.to_owned(),
            refused: Vec::new(),
            batching,
        })
    };
    let to = [
        version("second", Batching::Unwanted),
        ModelChange::Unload,
        ModelChange::Load,
        version("third", Batching::Joined),
    ];
    let wish = |(tick, change)| ScheduledChange {
        from: Tick(tick),
        model: ModelId(0),
        change,
    };
    ticks.into_iter().zip(to).map(wish).collect()
}

#[test]
fn a_requested_model_change_holds_after_resume_and_in_replay() {
    for first in 1..=12 {
        let asked = [first, first + 7, first + 8, first + 20];
        let (reference, verdicts) = decided(|fleet| fleet.wishes = wishes(asked));
        let numbers: Vec<Option<VersionId>> = verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Changed { version, .. } => *version,
                other => panic!("{other:?}"),
            })
            .collect();
        let [second, third] = [1, 2].map(|number| Some(VersionId(number)));
        assert_eq!(numbers, [second, None, second, third]);
        let fleet = &reference.fleet;
        for seed in 0..8 {
            replayed(fleet, &reference.disk, seed).unwrap();
        }
        for actions in (0..reference.actions).step_by(17) {
            let disk = MemoryDisk::for_one_thread();
            let mut observer = RunObserver::default();
            let hosts = |begins| {
                let nothing = HostFaults::none();
                SimHosts::assembled(fleet, begins, true, TestRng::for_purpose(3, 3), nothing)
            };
            let mut one = hosts(true);
            one.stop_after(actions);
            life::begin(fleet, Arc::new(disk.clone()), &mut one, &mut observer).unwrap();
            let disk = disk.after_process_death();
            let kept = Arc::new(disk.clone());
            life::resume(fleet, kept, &mut hosts(false), &mut observer).unwrap();
            check::left(&disk).unwrap();
            replayed(fleet, &disk, actions).unwrap();
        }
    }
}
