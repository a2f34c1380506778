//! Hosts that are too slow: the run stops, and no journal ever says so. Whoever goes on with it where the work is done
//! in time comes to the journal of a run that was never slow.

use super::case::Reference;
use super::fleet::{Deadly, Fleet};
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::reply::Ends;
use super::{check, supervisor_run as life};
use crate::error::ErrorKind;
use crate::fleet::Durability;
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::id::Tick;
use std::sync::Arc;
use test_support::TestRng;

/// Runs a fleet to where it is too slow, goes on with it without the slowness, and compares.
fn stops_and_goes_on(slow: &Fleet, fast: &Fleet) -> bool {
    let reference = Reference::of_fleet(fast.clone());
    let disk = MemoryDisk::for_one_thread();
    let hosts = |fleet, begins| {
        SimHosts::assembled(
            fleet,
            begins,
            true,
            TestRng::for_purpose(3, 3),
            HostFaults::none(),
        )
    };
    let mut observer = RunObserver::default();
    let begun = life::begin(
        slow,
        Arc::new(disk.clone()),
        &mut hosts(slow, true),
        &mut observer,
    );
    assert_eq!(observer.verdicts, 0, "{:#?}", observer.story);
    let Err(error) = begun else {
        return false;
    };
    assert_eq!(error.kind(), ErrorKind::Machine, "{error}");
    let text = error.to_string();
    assert!(text.contains("raise `deadline_ms`"), "{text}");
    let disk = disk.after_process_death();
    let kept = Arc::new(disk.clone());
    life::resume(
        fast,
        kept,
        &mut hosts(fast, false),
        &mut RunObserver::default(),
    )
    .unwrap();
    check::equal(&reference.disk, &disk).unwrap();
    true
}

#[test]
fn slowness_stops_a_run_and_never_changes_it() {
    let fast = Fleet::steady(30, 8, Durability::Process);
    let mut stops = 0;
    for tick in 1..=30 {
        for agent in 0..fast.characters.len() {
            let mut slow = fast.clone();
            slow.characters[agent].poison = Some((Tick(tick), Ends::Hangs));
            stops += usize::from(stops_and_goes_on(&slow, &fast));
        }
        // The engine is slow over some of what is asked.
        let fast = Fleet {
            deadly: Some(Deadly::at(u64::MAX, 1)),
            ..fast.clone()
        };
        let slow = Fleet {
            deadly: Some(Deadly {
                ends: Ends::Hangs,
                ..Deadly::at(tick, 2)
            }),
            ..fast.clone()
        };
        stops += usize::from(stops_and_goes_on(&slow, &fast));
    }
    assert!(stops > 60, "{stops}");
}
