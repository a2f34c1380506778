//! Every disk call fails once in every way, and the process dies at every one of them.

use super::super::CheckpointError;
use super::world::{World, restored};
use crate::sys::memory_disk::{DiskFault, MemoryDisk};
use shm_protocol::id::Tick;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const TICKS: u64 = 7;

/// A run with checkpoints on a disk that may refuse. Gives the world as far as it came, and the ticks that were published.
fn run(disk: &MemoryDisk, is_synced: bool) -> Option<(World, Vec<Tick>, Vec<CheckpointError>)> {
    let mut world = World::on(disk.clone(), 2, is_synced).ok()?;
    let (mut published, mut errors) = (Vec::new(), Vec::new());
    // So little garbage is allowed that pages are moved.
    let store = super::CheckpointWriter::open(world.shelf(), 2, is_synced)
        .ok()?
        .with_slack(0);
    world.collector = super::world::collector(store, 2);
    for tick in 1..=TICKS {
        world.work(tick);
        match world.checkpoint(tick) {
            Ok(checkpoint) => published.extend(checkpoint.map(|checkpoint| checkpoint.mark.tick)),
            Err(error) => errors.push(error),
        }
        errors.extend(world.collector.take_cleanup_error());
    }
    Some((world, published, errors))
}

/// Checks that a disk that was left so has a checkpoint at least as new as the last one that was promised, and nothing
/// wrong in any that can be read.
fn check_left(left: &MemoryDisk, world: &World, promised: Option<Tick>, place: &str) {
    let run = crate::rundir::RunDir::read_on(Arc::new(left.clone()), Path::new("/run")).unwrap();
    let shelf = super::CheckpointReader::new(&run, super::world::RUN, super::world::build());
    let store = super::CheckpointWriter::open(shelf.clone(), 2, true)
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut newest = None;
    for tick in shelf.newest_first().unwrap() {
        let agents = match shelf
            .load(tick)
            .and_then(|checkpoint| restored(&shelf, &checkpoint))
        {
            Ok(agents) => agents,
            // An older one may be half gone, but not the newest.
            Err(error) if newest.is_none() => panic!("{place}: {error}"),
            Err(_) => continue,
        };
        assert!(
            agents == world.truths[&tick],
            "{place}: tick {tick} has something else"
        );
        newest = newest.or(Some(tick));
    }
    assert!(
        newest >= promised,
        "{place}: {newest:?} is left of {promised:?}"
    );
    drop(store);
}

#[test]
fn a_disk_call_that_fails_costs_a_checkpoint_at_most() {
    for is_synced in [false, true] {
        let disk = MemoryDisk::new();
        run(&disk, is_synced).unwrap();
        for (call, fault) in
            (0..disk.calls()).flat_map(|call| DiskFault::ALL.map(|fault| (call, fault)))
        {
            let disk = MemoryDisk::new();
            disk.fail_call(call, fault);
            let place = format!("synced {is_synced}, call {call}, {fault:?}");
            // A run that did not begin has nothing to lose.
            let Some((mut world, mut published, errors)) = run(&disk, is_synced) else {
                continue;
            };
            // At the next two everything works again: the first of them may have been asked for too early.
            for tick in TICKS + 1..=TICKS + 2 {
                world.work(tick);
                let checkpoint = world.checkpoint(tick).unwrap();
                published.extend(checkpoint.map(|checkpoint| checkpoint.mark.tick));
            }
            assert!(errors.len() <= 2, "{place}: {errors:?}");
            assert!(
                published.len() as u64 >= TICKS,
                "{place}: {published:?}, {errors:?}"
            );
            let last = Tick(TICKS + 2);
            assert_eq!(published.last(), Some(&last), "{place}: {errors:?}");
            check_left(&disk.after_process_death(), &world, Some(last), &place);
            if is_synced {
                check_left(&disk.after_power_cut(), &world, Some(last), &place);
            }
        }
    }
}

#[test]
fn whoever_dies_at_any_disk_call_leaves_the_last_checkpoint() {
    for is_synced in [false, true] {
        let disk = MemoryDisk::new();
        let (_, _, errors) = run(&disk, is_synced).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        for (call, fault) in
            (0..disk.calls()).flat_map(|call| DiskFault::ALL.map(|fault| (call, fault)))
        {
            let disk = MemoryDisk::new();
            disk.crash_at(call, fault);
            let place = format!("synced {is_synced}, death at call {call}, {fault:?}");
            let Some((world, published, _)) = run(&disk, is_synced) else {
                continue;
            };
            let promised = published.last().copied();
            check_left(&disk.after_process_death(), &world, promised, &place);
            if is_synced {
                check_left(&disk.after_power_cut(), &world, promised, &place);
            }
        }
    }
}

#[test]
fn a_power_cut_leaves_the_last_checkpoint_usable() {
    let disk = MemoryDisk::new();
    run(&disk, true).unwrap();
    let mut seen = BTreeMap::new();
    for call in 0..disk.calls() {
        let disk = MemoryDisk::new();
        disk.crash_at(call, DiskFault::After);
        let Some((world, published, _)) = run(&disk, true) else {
            continue;
        };
        for seed in 0..20 {
            let place = format!("power cut at call {call}, seed {seed}");
            let left = disk.after_power_cut_with(seed);
            check_left_at_power_cut(&left, &world, published.last().copied(), &place);
            *seen.entry(published.len()).or_insert(0) += 1;
        }
    }
    assert!(seen.len() as u64 >= TICKS, "{seen:?}");
}

/// As [`check_left`], but one that was not promised may be there in part.
fn check_left_at_power_cut(left: &MemoryDisk, world: &World, promised: Option<Tick>, place: &str) {
    let Ok(run) = crate::rundir::RunDir::read_on(Arc::new(left.clone()), Path::new("/run")) else {
        assert_eq!(promised, None, "{place}");
        return;
    };
    let shelf = super::CheckpointReader::new(&run, super::world::RUN, super::world::build());
    let newest = shelf.newest_first().unwrap().into_iter().find(|tick| {
        let agents = shelf
            .load(*tick)
            .and_then(|checkpoint| restored(&shelf, &checkpoint));
        agents.is_ok_and(|agents| {
            assert!(
                agents == world.truths[tick],
                "{place}: tick {tick} has something else"
            );
            true
        })
    });
    assert!(
        newest >= promised,
        "{place}: {newest:?} is left of {promised:?}"
    );
}
