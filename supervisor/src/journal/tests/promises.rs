//! Disks that fail: acknowledged ticks are kept, and failures are reported.

use super::*;
use crate::journal::create_run_dir_on;

/// Every disk call of a small run fails once, in every way. The writer reports it and stops; what it had promised is there.
#[test]
fn no_failed_disk_call_loses_what_was_promised() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let small = Small {
            ticks: 6,
            segment_bytes: 600,
            durability,
            ..Small::default()
        };
        let calls = small.write().0.calls();
        for (call, fault) in
            (0..calls).flat_map(|call| memory_disk::DiskFault::ALL.map(|fault| (call, fault)))
        {
            let disk = MemoryDisk::new();
            disk.fail_call(call, fault);
            let mut kept = Kept::default();
            let done = small.write_on(&disk, Path::new("/run"), &mut kept);
            let place = format!("{durability:?}, call {call}, {fault:?}");
            // Where a thread syncs, the number of calls differs from run to run by a few.
            assert!(
                done.is_err() || durability == Durability::Batch,
                "{place}: nobody noticed"
            );
            check_promise(&disk.after_process_death(), kept.committed, &place);
            if durability != Durability::Process {
                check_promise(&disk.after_power_cut(), kept.durable, &place);
            }
        }
    }
}

/// Checks that a disk holds a run up to a tick, with an end that does not count as damage.
fn check_promise(disk: &MemoryDisk, promised: u64, place: &str) {
    let read =
        RunDir::read_on(Arc::new(disk.clone()), Path::new("/run")).map_err(JournalError::from);
    match read.and_then(|run| verify(&run)) {
        Ok(verified) => assert!(
            verified.ticks.0 >= promised,
            "{place}: {} of {promised} ticks",
            verified.ticks
        ),
        Err(JournalError::NotBegun { .. } | JournalError::RunDir(RunDirError::NotARun { .. })) => {
            assert_eq!(promised, 0, "{place}: no journal");
        }
        Err(error) => panic!("{place}: {error}"),
    }
}

#[test]
fn a_writer_that_failed_takes_nothing_more() {
    for fault in memory_disk::DiskFault::ALL {
        let disk = MemoryDisk::new();
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
        let mut writer = JournalWriter::create(&run, &header(1), Durability::Sync).unwrap();
        writer.append(Tick(1), &record(1)).unwrap();
        disk.fail_call(disk.calls(), fault);
        let failed = writer.append(Tick(2), &record(2)).unwrap_err();
        assert!(
            matches!(failed, JournalError::Write { tick: Tick(2), .. }),
            "{failed}"
        );
        let before = disk.calls();
        assert!(matches!(
            writer.append(Tick(2), &record(2)),
            Err(JournalError::Poisoned { .. })
        ));
        assert!(matches!(
            writer.wait_durable(),
            Err(JournalError::Poisoned { .. })
        ));
        assert!(matches!(
            writer.seal(SealReason::Failed),
            Err(JournalError::Poisoned { .. })
        ));
        assert_eq!(disk.calls(), before, "the disk was touched again");
    }
}

#[test]
fn a_failed_sync_is_told_and_never_repeated() {
    let disk = MemoryDisk::new();
    let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Batch).unwrap();
    disk.fail_call(disk.calls() + 1, memory_disk::DiskFault::Before);
    writer.append(Tick(1), &record(1)).unwrap();
    assert!(matches!(
        writer.wait_durable(),
        Err(JournalError::Sync {
            durable: Tick(0),
            ..
        })
    ));
    assert_eq!(writer.durable(), Tick(0));
    let before = disk.calls();
    assert!(matches!(
        writer.append(Tick(2), &record(2)),
        Err(JournalError::Poisoned { .. })
    ));
    drop(writer);
    assert_eq!(disk.calls(), before);
}

#[test]
fn a_full_disk_is_told_with_file_tick_and_what_to_do() {
    let disk = MemoryDisk::new();
    let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    disk.fail_call(disk.calls(), memory_disk::DiskFault::NoSpace);
    let message = writer.append(Tick(1), &record(1)).unwrap_err().to_string();
    for part in [
        "tick 1",
        "/run/journal/00000001.lkj",
        "No space left",
        "free some disk space",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
