//! The promise at a crash: what was acknowledged is there, whatever the disk made
//! of the rest, and the run that goes on has the files of one that never stopped.

use super::super::testing::{Kept, Small, record};
use super::super::{
    JournalError, JournalMark, JournalReader, JournalWriter, RecordFault, TornKind,
};
use super::resume::{files, finish, open, put_files};
use super::{read_all, segment};
use crate::fleet::Durability;
use crate::rundir::{RunDir, RunDirError};
use crate::sys::disk::Disk;
use crate::sys::memory_disk::{self, MemoryDisk};
use shm_protocol::id::Tick;
use std::path::Path;
use std::sync::Arc;

const DURABLE: [Durability; 2] = [Durability::Batch, Durability::Sync];
/// Power cuts that are tried at each place.
const SEEDS: u64 = 12;

fn small(durability: Durability) -> Small {
    Small {
        ticks: 6,
        segment_bytes: 1500,
        durability,
        ..Small::default()
    }
}

/// A run that is interrupted, and the files that it has at its end.
struct Run {
    small: Small,
    files: Vec<Vec<u8>>,
    calls: u64,
}

impl Run {
    fn new(durability: Durability) -> Run {
        let small = small(durability);
        let disk = small.write().0;
        Run {
            small,
            files: files(&disk),
            calls: disk.calls(),
        }
    }

    /// Resumes a run after a crash, and gives the number of its ticks. None when there was no run yet.
    fn go_on(&self, left: &MemoryDisk, place: &str) -> Option<u64> {
        let run = match RunDir::read_on(Arc::new(left.clone()), Path::new("/run")) {
            Err(RunDirError::NotARun { .. }) => return None,
            run => run.unwrap().locked().unwrap(),
        };
        let mut reader = match JournalReader::open(&run) {
            // The header itself was not on the disk.
            Err(JournalError::NotBegun { .. } | JournalError::DamagedTail { .. }) => return None,
            opened => opened.unwrap_or_else(|error| panic!("{place}: {error}")).1,
        };
        let entries: Result<Vec<_>, _> = reader.entries().collect();
        let ticks = entries
            .unwrap_or_else(|error| panic!("{place}: {error}"))
            .len() as u64;
        let is_damaged =
            matches!(reader.torn(), Some(torn) if matches!(torn.kind, TornKind::Damaged { .. }));
        assert!(
            !is_damaged || self.small.durability == Durability::Sync,
            "{place}: {:?}",
            reader.torn()
        );
        finish(&run, self.small).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(files(left) == self.files, "{place}: other bytes");
        Some(ticks)
    }
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_acknowledged() {
    for durability in DURABLE {
        let run = Run::new(durability);
        let small = run.small;
        let mut holes = 0;
        for call in 0..run.calls {
            let disk = MemoryDisk::new();
            disk.crash_at(call, memory_disk::DiskFault::After);
            let mut kept = Kept::default();
            let _ = small.write_on(&disk, Path::new("/run"), &mut kept);
            for seed in 0..SEEDS {
                let place = format!("{durability:?}, power cut at call {call}, seed {seed}");
                let left = disk.after_power_cut_with(seed);
                holes += u32::from(has_unsynced(&left));
                let ticks = run.go_on(&left, &place).unwrap_or(0);
                assert!(
                    ticks >= kept.durable,
                    "{place}: {ticks} of {} ticks",
                    kept.durable
                );
            }
        }
        if durability == Durability::Batch {
            assert!(holes > 0, "no power cut left a hole");
        }
    }
}

fn has_unsynced(left: &MemoryDisk) -> bool {
    let Ok(run) = RunDir::read_on(Arc::new(left.clone()), Path::new("/run")) else {
        return false;
    };
    let Ok((_, mut reader)) = JournalReader::open(&run) else {
        return false;
    };
    while let Ok(Some(_)) = reader.next_tick() {}
    matches!(reader.torn(), Some(torn) if matches!(torn.kind, TornKind::Unsynced { .. }))
}

#[test]
fn whoever_dies_or_fails_at_any_call_can_be_gone_on_after() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let run = Run::new(durability);
        let small = run.small;
        for (call, fault) in
            (0..run.calls).flat_map(|call| memory_disk::DiskFault::ALL.map(|fault| (call, fault)))
        {
            let disk = MemoryDisk::new();
            disk.crash_at(call, fault);
            let mut kept = Kept::default();
            let _ = small.write_on(&disk, Path::new("/run"), &mut kept);
            let place = format!("{durability:?}, death at call {call}, {fault:?}");
            let ticks = run.go_on(&disk.after_process_death(), &place).unwrap_or(0);
            assert!(
                ticks >= kept.committed,
                "{place}: {ticks} of {} ticks",
                kept.committed
            );
        }
    }
}

/// Bytes that were read from memory after a failed sync may never have reached the disk. A resume writes them again.
#[test]
fn what_a_failed_sync_has_lost_is_written_again() {
    for durability in DURABLE {
        let run = Run::new(durability);
        let small = run.small;
        for (call, fault) in
            (0..run.calls).flat_map(|call| memory_disk::DiskFault::ALL.map(|fault| (call, fault)))
        {
            let disk = MemoryDisk::new();
            disk.fail_call(call, fault);
            let mut kept = Kept::default();
            let _ = small.write_on(&disk, Path::new("/run"), &mut kept);
            let place = format!("{durability:?}, call {call}, {fault:?}");
            let left = disk.after_process_death();
            if run.go_on(&left, &place).is_some() {
                let after = left.after_power_cut();
                assert!(
                    files(&after) == files(&left),
                    "{place}: not all of it is on the disk"
                );
            }
        }
    }
}

/// A level that syncs nothing before the end does not know how much of it is on the disk. Another one must.
#[test]
fn what_was_never_synced_is_written_again_by_who_promises_more() {
    for durability in DURABLE {
        let run = Run::new(durability);
        let careless = small(Durability::Process);
        let calls = careless.write().0.calls();
        for call in 0..calls {
            let disk = MemoryDisk::new();
            disk.fail_call(call, memory_disk::DiskFault::Before);
            let mut kept = Kept::default();
            let _ = careless.write_on(&disk, Path::new("/run"), &mut kept);
            let place = format!("{durability:?} after none, call {call}");
            let left = disk.after_process_death();
            if run.go_on(&left, &place).is_some() {
                let after = left.after_power_cut();
                assert!(
                    files(&after) == files(&left),
                    "{place}: not all of it is on the disk"
                );
            }
        }
    }
}

#[test]
fn going_on_may_fail_at_any_call_and_be_tried_again() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let run = Run::new(durability);
        let whole = run.small;
        let last_files = &run.files;
        // Stopped in good order, torn within a record, and with nothing but the seal in the last segment.
        let beginnings = [(3, None), (4, Some(40)), (5, Some(1))];
        for (ticks, torn) in beginnings {
            let begun = || {
                let (disk, _) = Small {
                    ticks,
                    seal: torn.is_none(),
                    ..whole
                }
                .write();
                let last = disk.list(Path::new("/run/journal")).unwrap().len() as u64;
                if let Some(bytes) = torn {
                    // The beginning of the next record, here or in the segment that it begins.
                    let file = disk.open_append(&segment(last)).unwrap();
                    let end = usize::try_from(file.bytes().unwrap()).unwrap();
                    match &last_files[usize::try_from(last).unwrap() - 1][end..] {
                        [] => {
                            let next = &last_files[usize::try_from(last).unwrap()];
                            disk.create_new(&segment(last + 1))
                                .unwrap()
                                .append(&next[..bytes])
                                .unwrap();
                            disk.sync_dir(Path::new("/run/journal")).unwrap();
                        }
                        next => assert_eq!(file.append(&next[..bytes]).unwrap(), bytes),
                    }
                }
                disk.remove_file(Path::new("/run/outbox.jsonl")).unwrap();
                disk
            };
            let disk = begun();
            let before = disk.calls();
            finish(&open(&disk), whole).unwrap();
            for (call, fault) in (before..disk.calls())
                .flat_map(|call| memory_disk::DiskFault::ALL.map(|fault| (call, fault)))
            {
                let disk = begun();
                disk.crash_at(call, fault);
                if let Ok(locked) = RunDir::read_on(Arc::new(disk.clone()), Path::new("/run"))
                    .unwrap()
                    .locked()
                {
                    let _ = finish(&locked, whole);
                }
                let place = format!("{durability:?}, {ticks} ticks, call {call}, {fault:?}");
                let left = disk.after_process_death();
                assert!(run.go_on(&left, &place) >= Some(ticks), "{place}");
                for seed in 0..if durability == Durability::Process {
                    0
                } else {
                    4
                } {
                    let place = format!("{place}, seed {seed}");
                    let left = disk.after_power_cut_with(seed);
                    assert!(run.go_on(&left, &place) >= Some(ticks), "{place}");
                }
            }
        }
    }
}

#[test]
fn what_was_on_the_disk_is_missed_and_never_cut() {
    for durability in DURABLE {
        for seal in [false, true] {
            let (disk, run) = Small {
                seal,
                ..small(durability)
            }
            .write();
            let whole = files(&disk);
            let synced = disk.read(&run.synced()).unwrap();
            disk.remove_file(&run.outbox()).unwrap();
            read_all(&run).unwrap();
            for (position, file) in whole.iter().enumerate() {
                for cut in (0..file.len()).step_by(5) {
                    let mut left = whole[..=position].to_vec();
                    left[position].truncate(cut);
                    put_files(&disk, &left);
                    disk.write(&run.synced(), &synced);
                    let error = read_all(&run).map(drop).expect_err("a loss went unseen");
                    let is_seen =
                        error.is_corruption() || matches!(error, JournalError::NotBegun { .. });
                    assert!(is_seen, "file {position} cut at {cut}: {error}");
                }
                for bit in (0..file.len() * 8).step_by(61) {
                    let mut left = whole.clone();
                    left[position][bit / 8] ^= 1 << (bit % 8);
                    put_files(&disk, &left);
                    disk.write(&run.synced(), &synced);
                    let error = read_all(&run)
                        .map(drop)
                        .expect_err("a flipped bit went unseen");
                    let is_seen = matches!(error, JournalError::Corrupt { .. });
                    assert!(is_seen, "file {position}, bit {bit}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_hole_in_unacknowledged_records_is_cut_where_sync_is_known() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let small = Small {
            segment_bytes: 1 << 20,
            ..small(durability)
        };
        let (disk, run) = Small {
            ticks: 3,
            seal: false,
            ..small
        }
        .write();
        let synced = disk.read(&run.synced());
        let (more, _) = Small {
            seal: false,
            ..small
        }
        .write();
        let mut bytes = more.read(&segment(1)).unwrap();
        let hole = disk.read(&segment(1)).unwrap().len();
        bytes[hole..hole + 60].fill(0);
        disk.write(&segment(1), &bytes);
        disk.remove_file(&run.outbox()).unwrap();
        assert_eq!(disk.read(&run.synced()), synced);
        drop(run);
        match (durability, finish(&open(&disk), small)) {
            (Durability::Batch, Ok(cut)) => {
                assert_eq!(
                    (cut.offset, cut.bytes),
                    (hole as u64, (bytes.len() - hole) as u64)
                );
                assert!(files(&disk) == files(&small.write().0));
            }
            (Durability::Process | Durability::Sync, Err(JournalError::Corrupt { .. })) => {}
            (level, other) => panic!("{level:?}: {other:?}"),
        }
    }
}

#[test]
fn what_the_level_before_knew_is_forgotten_with_it() {
    for (before, after) in [
        (Durability::Batch, Durability::Process),
        (Durability::Batch, Durability::Sync),
        (Durability::Process, Durability::Batch),
    ] {
        let (disk, _) = Small {
            ticks: 3,
            seal: false,
            ..small(before)
        }
        .write();
        let run = open(&disk);
        let (_, mut read) = JournalReader::open(&run).unwrap();
        assert_eq!(read.entries().count(), 3);
        let (mut writer, _) = JournalWriter::resume_with(&run, read, after, 1 << 20).unwrap();
        let at = writer.mark();
        writer.append(Tick(4), &record(4)).unwrap();
        writer.append(Tick(5), &record(5)).unwrap();
        writer.wait_durable().unwrap();
        assert_eq!(writer.mark().segment, at.segment);
        drop(writer);
        // The fourth tick goes bad on the disk; it was acknowledged.
        flip(&disk, at);
        assert!(
            matches!(
                JournalReader::open(&run).unwrap().1.entries().last(),
                Some(Err(JournalError::Corrupt { .. }))
            ),
            "{before:?} and {after:?}"
        );
    }
}

#[test]
fn what_was_acknowledged_before_a_power_cut_is_missed_after_it() {
    let (disk, run) = Small {
        seal: false,
        segment_bytes: 1 << 20,
        ..small(Durability::Batch)
    }
    .write();
    let (_, mut reader) = JournalReader::open(&run).unwrap();
    assert_eq!(reader.entries().take(5).count(), 5);
    let left = disk.after_power_cut();
    flip(&left, reader.mark());
    let run = RunDir::read_on(Arc::new(left), Path::new("/run")).unwrap();
    let (_, mut reader) = JournalReader::open(&run).unwrap();
    let last = reader.entries().last();
    assert!(
        matches!(
            last,
            Some(Err(JournalError::Corrupt {
                reason: RecordFault::Synced { .. },
                ..
            }))
        ),
        "{last:?}"
    );
}

/// Damages the record that follows a mark.
fn flip(disk: &MemoryDisk, mark: JournalMark) {
    let mut bytes = disk.read(&segment(mark.segment)).unwrap();
    bytes[usize::try_from(mark.offset).unwrap() + 130] ^= 1;
    disk.write(&segment(mark.segment), &bytes);
}
