//! Agents that end their host in some tick, always: they are given up by a
//! verdict, and whoever goes on with the run takes the same turn. They are also
//! the surest way to steps that are executed again.

use super::fleet::Fleet;
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::{check, supervisor_run as life};
use crate::error::RunError;
use crate::session::RunReport;
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use std::sync::Arc;
use test_support::TestRng;

/// Fleets that are run.
const FLEETS: u64 = 40;
/// Lives of the supervisor that end by its death, of each run.
const DEATHS: u64 = 3;

/// One life of the supervisor, in which nothing goes wrong with hosts but what their agents do.
fn live(fleet: &Fleet, disk: &MemoryDisk, begins: bool) -> Result<RunReport, RunError> {
    let random = TestRng::for_purpose(fleet.seed, 5);
    let mut hosts = SimHosts::assembled(fleet, begins, true, random, HostFaults::none());
    let (disk, mut observer) = (Arc::new(disk.clone()), RunObserver::default());
    if begins {
        life::begin(fleet, disk, &mut hosts, &mut observer)
    } else {
        life::resume(fleet, disk, &mut hosts, &mut observer)
    }
}

#[test]
fn who_does_something_else_the_second_time_is_noticed() {
    let mut noticed = 0;
    for seed in 0..FLEETS {
        // A change that somebody asks for waits for an inference host that serves, and so for what is executed again.
        let fleet = Fleet {
            wishes: Vec::new(),
            ..Fleet::new(seed, true)
        };
        let whole = MemoryDisk::for_one_thread();
        live(&fleet, &whole, true).unwrap_or_else(|error| panic!("fleet {seed}: {error}"));
        let disk = MemoryDisk::for_one_thread();
        let mut hosts = SimHosts::assembled(
            &fleet,
            true,
            true,
            TestRng::for_purpose(seed, 5),
            HostFaults::none(),
        );
        hosts.misremembers = true;
        let mut observer = RunObserver::default();
        let lived = life::begin(&fleet, Arc::new(disk.clone()), &mut hosts, &mut observer);
        let has_happened = !hosts.misremembers;
        let is_told = observer
            .story
            .iter()
            .any(|line| line.contains("re-execution from a checkpoint differs"));
        match lived {
            // With a checkpoint, all is tried once more from the very beginning.
            Ok(_) => {
                assert_eq!(has_happened, is_told, "fleet {seed}");
                check::equal(&whole, &disk)
                    .unwrap_or_else(|reason| panic!("fleet {seed}: {reason}"));
                noticed += u64::from(is_told);
            }
            Err(error) => assert!(
                has_happened && error.to_string().contains("not deterministic"),
                "fleet {seed}: {error}"
            ),
        }
    }
    assert!(noticed > 5, "{noticed} noticed");
}

#[test]
fn who_is_given_up_stays_so_in_every_life() {
    let mut verdicts = 0;
    for seed in 0..FLEETS {
        // Who runs a model is gone or not by how often the engine was started in one life, and what somebody asks for is
        // taken in as soon as somebody listens, so lives differ in that.
        let fleet = Fleet {
            loses_provider: None,
            wishes: Vec::new(),
            ..Fleet::new(seed, true)
        };
        let whole = MemoryDisk::for_one_thread();
        live(&fleet, &whole, true).unwrap_or_else(|error| panic!("fleet {seed}: {error}"));
        let expected = check::left(&whole).expect("it verifies");
        verdicts += expected.verdicts;
        let mut random = TestRng::for_purpose(seed, 6);
        let mut disk = MemoryDisk::for_one_thread();
        let mut has_ticks = false;
        for death in 0..=DEATHS {
            let calls = whole.calls() / if has_ticks { 2 } else { 1 };
            match death < DEATHS {
                true => disk.crash_at(
                    disk.calls() + random.below(calls),
                    random.pick(&DiskFault::ALL),
                ),
                false => disk.fail_call(u64::MAX, DiskFault::Before),
            }
            match live(&fleet, &disk, !has_ticks) {
                Ok(_) => break,
                Err(error) => assert!(
                    death < DEATHS,
                    "fleet {seed} cannot be gone on with: {error}"
                ),
            }
            disk = disk.after_process_death();
            has_ticks = check::ticks(&disk).expect("it can be read").0 > 0;
            if !has_ticks {
                disk = MemoryDisk::for_one_thread();
            }
        }
        check::equal(&whole, &disk)
            .and_then(|()| check::equal_bytes(&expected, &check::left(&disk)?))
            .unwrap_or_else(|reason| panic!("fleet {seed}: {reason}"));
    }
    assert!(verdicts > 10, "{verdicts} verdicts");
}
