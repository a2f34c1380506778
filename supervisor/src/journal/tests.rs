//! The promise of the journal: what was appended is read back; a cut leaves a
//! torn end after the last whole record; any other change is found.

mod crash;
mod resume;

use super::diff::diff;
use super::frame::{DIGEST_BYTES, FRAME_BYTES, FrameHeader, HEADER_BYTES};
use super::record::{RunHeader, SealReason, TickRecord};
use super::testing::{Kept, Small, header, record};
use super::{Entry, Fault, JournalError, JournalReader, JournalWriter, TornKind, verify};
use crate::fleet::Durability;
use crate::rundir::{RunDir, RunDirError};
use crate::sys::disk::{Disk, RealDisk};
use crate::sys::memory_disk::{self, MemoryDisk};
use proptest::prelude::*;
use shm_protocol::id::Tick;
use shm_protocol::{codec, limit};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn segment(number: u64) -> PathBuf {
    Path::new("/run/journal").join(super::segment::name(number))
}

fn read_all(run: &RunDir) -> Result<(RunHeader, Vec<Entry>, JournalReader), JournalError> {
    let (header, mut reader) = JournalReader::open(run)?;
    let entries = reader.entries().collect::<Result<Vec<_>, _>>()?;
    Ok((header, entries, reader))
}

/// Where the records of a file begin, and where the file ends.
fn boundaries(bytes: &[u8]) -> Vec<usize> {
    let mut at = vec![0];
    while let Some(header) = bytes[at[at.len() - 1]..].first_chunk::<HEADER_BYTES>() {
        at.push(
            at[at.len() - 1]
                + usize::try_from(FrameHeader::parse(header).unwrap().record_bytes()).unwrap(),
        );
    }
    at
}

#[test]
fn what_was_appended_is_read_back() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let (_, run) = Small {
            durability,
            ticks: 9,
            segment_bytes: 600,
            ..Small::default()
        }
        .write();
        let (read, entries, reader) = read_all(&run).unwrap();
        assert_eq!(read, header(1));
        assert_eq!(entries.len(), 9);
        for (tick, entry) in (1..).zip(&entries) {
            assert_eq!((entry.tick, &entry.record), (Tick(tick), &record(tick)));
        }
        assert_eq!(reader.chain(), entries[8].digest);
        assert_eq!(reader.seal().unwrap().reason, SealReason::Finished);
    }
}

#[test]
fn equal_runs_have_equal_files_at_every_level_and_other_seeds_have_not() {
    let files = |small: Small| {
        let (disk, run) = small.write();
        let names = disk.list(&run.journal()).unwrap();
        names
            .into_iter()
            .map(|name| disk.read(&run.journal().join(name)).unwrap())
            .collect::<Vec<_>>()
    };
    let small = Small {
        segment_bytes: 600,
        ..Small::default()
    };
    let (first, second) = (
        files(small),
        files(Small {
            durability: Durability::Batch,
            ..small
        }),
    );
    assert!(first.len() > 1, "the run has one segment");
    assert_eq!(first, second);
    assert_ne!(first, files(Small { seed: 2, ..small }));
}

#[test]
fn the_chain_does_not_change_with_the_seal() {
    let (_, sealed) = Small::default().write();
    let (_, open) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let (sealed, open) = (verify(&sealed).unwrap(), verify(&open).unwrap());
    assert_eq!(sealed.chain, open.chain);
    assert_eq!(
        (sealed.sealed, open.sealed),
        (Some(SealReason::Finished), None)
    );
    assert!(open.torn.is_none());
}

#[test]
fn a_run_of_no_ticks_has_the_chain_of_its_header() {
    let (disk, run) = Small {
        ticks: 0,
        ..Small::default()
    }
    .write();
    let bytes = disk.read(&segment(1)).unwrap();
    let end = boundaries(&bytes)[1];
    let verified = verify(&run).unwrap();
    assert_eq!(verified.chain, bytes[end - DIGEST_BYTES..end]);
    assert_eq!(verified.ticks, Tick::ZERO);
}

#[test]
fn a_cut_anywhere_leaves_the_records_before_it() {
    for seal in [false, true] {
        let (disk, run) = Small {
            seal,
            ..Small::default()
        }
        .write();
        let whole = disk.read(&segment(1)).unwrap();
        // What was emitted was emitted: here only the journal is looked at.
        disk.remove_file(&run.outbox()).unwrap();
        let boundaries = boundaries(&whole);
        for cut in 0..whole.len() {
            disk.write(&segment(1), &whole[..cut]);
            let records = boundaries.iter().filter(|at| **at <= cut).count() - 1;
            if records == 0 {
                assert!(
                    matches!(read_all(&run), Err(JournalError::NotBegun { .. })),
                    "cut at {cut}"
                );
                continue;
            }
            let (_, entries, reader) = read_all(&run).unwrap();
            assert_eq!(entries.len(), records - 1, "cut at {cut}");
            assert!(reader.seal().is_none());
            let (cut, last_whole) = (cut as u64, boundaries[records] as u64);
            let torn = reader
                .torn()
                .map(|torn| (torn.offset, torn.bytes, torn.kind.clone()));
            let expected =
                (cut > last_whole).then(|| (last_whole, cut - last_whole, TornKind::Unfinished));
            assert_eq!(torn, expected, "cut at {cut}");
            assert!(verify(&run).is_ok());
        }
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for (seal, segment_bytes) in [(true, 600), (false, 600), (true, 1 << 20)] {
        let (disk, run) = Small {
            ticks: 3,
            seal,
            segment_bytes,
            ..Small::default()
        }
        .write();
        for name in disk.list(&run.journal()).unwrap() {
            let path = run.journal().join(name);
            let whole = disk.read(&path).unwrap();
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                disk.write(&path, &flipped);
                let error = verify(&run)
                    .expect_err("a flipped bit went unseen")
                    .to_string();
                assert!(error.contains(path.to_str().unwrap()), "bit {bit}: {error}");
            }
            disk.write(&path, &whole);
        }
        verify(&run).unwrap();
    }
}

#[test]
fn a_bad_record_is_corruption_with_another_behind_it_and_a_damaged_end_without() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&segment(1)).unwrap();
    let at = boundaries(&whole);
    let flip = |position: usize| {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x10;
        disk.write(&segment(1), &bytes);
    };
    flip(at[2] + HEADER_BYTES + 3);
    match verify(&run).unwrap_err() {
        JournalError::Corrupt {
            offset,
            after,
            reason: Fault::Followed { follows, .. },
            ..
        } => {
            assert_eq!(
                (offset, after, follows),
                (at[2] as u64, Some(Tick(1)), at[3] as u64)
            );
        }
        other => panic!("{other}"),
    }
    flip(at[4] + HEADER_BYTES + 3);
    let (_, entries, reader) = read_all(&run).unwrap();
    assert_eq!(entries.len(), 3);
    assert!(matches!(
        reader.torn().unwrap().kind,
        TornKind::Damaged { .. }
    ));
    assert!(matches!(
        verify(&run),
        Err(JournalError::DamagedTail { .. })
    ));
}

#[test]
fn a_record_in_another_place_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let whole = disk.read(&segment(1)).unwrap();
    let at = boundaries(&whole);
    let part = |record: usize| &whole[at[record]..at[record + 1]];
    let arrangements = [
        [part(0), part(2), part(1), part(3), part(4)].concat(),
        [part(0), part(1), part(1), part(2), part(3)].concat(),
        [part(0), part(1), part(3), part(4)].concat(),
        [part(0), part(0), part(1), part(2)].concat(),
        [part(1), part(2)].concat(),
    ];
    for bytes in arrangements {
        disk.write(&segment(1), &bytes);
        assert!(matches!(
            verify(&run),
            Err(JournalError::Corrupt {
                reason: Fault::Order { .. },
                ..
            })
        ));
    }
}

#[test]
fn a_record_of_another_run_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let (other, _) = Small {
        seed: 2,
        seal: false,
        ..Small::default()
    }
    .write();
    let (bytes, other) = (
        disk.read(&segment(1)).unwrap(),
        other.read(&segment(1)).unwrap(),
    );
    let at = boundaries(&bytes);
    let spliced = [&bytes[..at[2]], &other[at[2]..]].concat();
    disk.write(&segment(1), &spliced);
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: Fault::Run { .. },
            ..
        })
    ));
}

#[test]
fn a_record_of_another_history_is_refused() {
    let (disk, run) = Small {
        seal: false,
        ..Small::default()
    }
    .write();
    let mut bytes = disk.read(&segment(1)).unwrap();
    let at = boundaries(&bytes);
    // A record that holds together and follows something that never happened.
    let mut header = FrameHeader::parse(bytes[at[3]..].first_chunk().unwrap()).unwrap();
    header.previous[0] ^= 1;
    bytes[at[3]..at[3] + HEADER_BYTES].copy_from_slice(&header.to_bytes());
    let digest = *blake3::hash(&bytes[at[3]..at[4] - DIGEST_BYTES]).as_bytes();
    bytes[at[4] - DIGEST_BYTES..at[4]].copy_from_slice(&digest);
    disk.write(&segment(1), &bytes);
    match verify(&run).unwrap_err() {
        JournalError::Corrupt {
            after,
            reason: Fault::Previous { .. },
            ..
        } => assert_eq!(after, Some(Tick(2))),
        other => panic!("{other}"),
    }
}

#[test]
fn segments_must_be_all_there_and_alone() {
    let small = Small {
        segment_bytes: 600,
        ..Small::default()
    };
    let (disk, run) = small.write();
    let segments = disk.list(&run.journal()).unwrap().len() as u64;
    assert!(segments >= 3);
    disk.write(&run.journal().join("notes"), b"");
    assert!(matches!(verify(&run), Err(JournalError::Foreign { .. })));
    disk.remove_file(&run.journal().join("notes")).unwrap();
    let second = disk.read(&segment(2)).unwrap();
    disk.write(&segment(2), b"");
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: Fault::Empty,
            ..
        })
    ));
    disk.write(&segment(2), &second[..second.len() - 1]);
    assert!(matches!(verify(&run), Err(JournalError::Corrupt { .. })));
    disk.remove_file(&segment(2)).unwrap();
    assert!(matches!(
        verify(&run),
        Err(JournalError::MissingSegment { .. })
    ));
    disk.write(&segment(2), &second);
    verify(&run).unwrap();
    // An empty last segment is what a death between making and writing it leaves.
    let (disk, run) = Small {
        seal: false,
        ..small
    }
    .write();
    let count = disk.list(&run.journal()).unwrap().len() as u64;
    disk.write(&segment(count + 1), b"");
    assert!(verify(&run).unwrap().torn.is_none());
}

#[test]
fn nothing_may_follow_a_seal() {
    let (disk, run) = Small::default().write();
    let whole = disk.read(&segment(1)).unwrap();
    disk.write(&segment(1), &[&whole[..], &[0]].concat());
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: Fault::AfterSeal,
            ..
        })
    ));
    disk.write(&segment(1), &whole);
    disk.write(&segment(2), &[]);
    assert!(matches!(
        verify(&run),
        Err(JournalError::Corrupt {
            reason: Fault::AfterSeal,
            ..
        })
    ));
}

#[test]
fn objects_and_outbox_are_part_of_what_verifies() {
    let (disk, run) = Small::default().write();
    let verified = verify(&run).unwrap();
    assert_eq!(
        (
            verified.objects,
            verified.outbox_lines,
            verified.outbox_missing
        ),
        (2, 4, 0)
    );
    let outbox = disk.read(&run.outbox()).unwrap();
    for position in 0..outbox.len() {
        let mut flipped = outbox.clone();
        flipped[position] ^= 1;
        disk.write(&run.outbox(), &flipped);
        assert!(
            matches!(
                verify(&run),
                Err(JournalError::RunDir(RunDirError::Outbox { .. }))
            ),
            "byte {position}"
        );
    }
    disk.write(&run.outbox(), &[&outbox[..], &outbox[..]].concat());
    assert!(matches!(
        verify(&run),
        Err(JournalError::RunDir(RunDirError::Outbox { .. }))
    ));
    disk.write(&run.outbox(), &outbox[..outbox.len() / 2]);
    assert!(matches!(
        verify(&run),
        Err(JournalError::RunDir(RunDirError::Outbox { .. }))
    ));
    disk.write(&run.outbox(), &outbox);
    let objects = run.path().join("objects");
    for name in disk.list(&objects).unwrap() {
        let whole = disk.read(&objects.join(&name)).unwrap();
        disk.write(&objects.join(&name), b"other");
        assert!(matches!(
            verify(&run),
            Err(JournalError::RunDir(RunDirError::ObjectDamaged { .. }))
        ));
        disk.remove_file(&objects.join(&name)).unwrap();
        assert!(matches!(
            verify(&run),
            Err(JournalError::RunDir(RunDirError::ObjectMissing { .. }))
        ));
        disk.write(&objects.join(&name), &whole);
    }
    verify(&run).unwrap();
}

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
            (0..calls).flat_map(|call| memory_disk::Fault::ALL.map(|fault| (call, fault)))
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

/// Whether a disk holds a run up to a tick, with an end that nobody takes for damage.
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
    for fault in memory_disk::Fault::ALL {
        let disk = MemoryDisk::new();
        let run = RunDir::create_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
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
    let run = RunDir::create_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Batch).unwrap();
    disk.fail_call(disk.calls() + 1, memory_disk::Fault::Before);
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
    let run = RunDir::create_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    disk.fail_call(disk.calls(), memory_disk::Fault::NoSpace);
    let message = writer.append(Tick(1), &record(1)).unwrap_err().to_string();
    for part in [
        "tick 1",
        "/run/journal/00000001.lkj",
        "No space left",
        "free some space",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
#[should_panic(expected = "one after the other")]
fn a_tick_that_is_left_out_is_our_bug() {
    let run = RunDir::create_on(Arc::new(MemoryDisk::new()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    let _ = writer.append(Tick(2), &record(2));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a reader would refuse")]
fn a_tick_of_an_agent_that_is_not_there_is_our_bug() {
    let run = RunDir::create_on(Arc::new(MemoryDisk::new()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    let mut record = record(1);
    record.outcomes[0].agent.0 = 9;
    let _ = writer.append(Tick(1), &record);
}

#[test]
fn batches_become_durable_on_a_real_disk_while_appending_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDir::create_on(Arc::new(RealDisk), &path).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Batch).unwrap();
    for tick in 1..=5000 {
        writer.append(Tick(tick), &record(tick)).unwrap();
        assert!(writer.durable() <= writer.committed());
    }
    // At most 4096 ticks are written and not durable, so some of these are.
    assert!(writer.durable().0 >= 5000 - 4096);
    writer.wait_durable().unwrap();
    assert_eq!(writer.durable(), Tick(5000));
    let chain = writer.seal(SealReason::Stopped).unwrap();
    let (_, entries, reader) = read_all(&run).unwrap();
    assert_eq!((entries.len(), reader.chain()), (5000, chain));
}

#[test]
fn many_segments_on_a_real_disk_are_sealed_and_read_at_every_level() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(&folder.path().join("run")).unwrap();
        let mut writer = JournalWriter::create_with(&run, &header(1), durability, 600).unwrap();
        for tick in 1..=20 {
            writer.append(Tick(tick), &record(tick)).unwrap();
        }
        let chain = writer.seal(SealReason::Finished).unwrap();
        let (_, entries, reader) = read_all(&run).unwrap();
        assert_eq!((entries.len(), reader.chain()), (20, chain));
        assert!(RealDisk.list(&run.journal()).unwrap().len() > 5);
    }
}

#[test]
fn a_run_that_goes_on_can_be_read() {
    let disk = MemoryDisk::new();
    let run = RunDir::create_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    let reading = RunDir::read_on(Arc::new(disk), Path::new("/run")).unwrap();
    for tick in 1..=3 {
        writer.append(Tick(tick), &record(tick)).unwrap();
        assert_eq!(read_all(&reading).unwrap().1.len() as u64, tick);
    }
}

#[test]
fn equal_runs_do_not_differ_whatever_their_segments() {
    let (_, left) = Small::default().write();
    let (_, right) = Small {
        segment_bytes: 600,
        seal: false,
        ..Small::default()
    }
    .write();
    assert_eq!(diff(&left, &right).unwrap(), None);
}

/// A record around any payload, as somebody who wants to harm would make it.
fn framed(payload: &[u8], like: &FrameHeader) -> Vec<u8> {
    let mut bytes = FrameHeader {
        payload_bytes: payload.len() as u64,
        ..*like
    }
    .to_bytes()
    .to_vec();
    bytes.extend_from_slice(payload);
    let digest = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&digest);
    assert_eq!(bytes.len(), FRAME_BYTES + payload.len());
    bytes
}

proptest! {
    #[test]
    fn any_payload_is_refused_or_a_tick(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let (disk, run) = Small { ticks: 1, seal: false, ..Small::default() }.write();
        disk.remove_file(&run.outbox()).unwrap();
        let whole = disk.read(&segment(1)).unwrap();
        let at = boundaries(&whole)[1];
        let like = FrameHeader::parse(whole[at..].first_chunk().unwrap()).unwrap();
        let payload = match change {
            Some((index, byte)) => {
                let mut payload = codec::encode(&record(1));
                let position = index.index(payload.len());
                payload[position] = byte;
                payload
            }
            None => noise,
        };
        disk.write(&segment(1), &[&whole[..at], &framed(&payload, &like)].concat());
        match read_all(&run) {
            Ok((_, entries, _)) => prop_assert_eq!(codec::encode(&entries[0].record), payload),
            Err(error) => prop_assert!(matches!(error, JournalError::Corrupt { .. }), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_refused_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(value) = codec::decode::<TickRecord, { limit::TICK_RECORD_BYTES }>(&bytes) {
            let again = codec::decode::<TickRecord, { limit::TICK_RECORD_BYTES }>(&codec::encode(&value));
            prop_assert!(again.is_ok());
        }
        let _ = codec::decode::<RunHeader, { limit::TICK_RECORD_BYTES }>(&bytes);
    }

    #[test]
    fn any_journal_file_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), keep in any::<bool>()) {
        let (disk, run) = Small { ticks: 1, ..Small::default() }.write();
        let whole = disk.read(&segment(1)).unwrap();
        let start = if keep { &whole[..boundaries(&whole)[2]] } else { &[] };
        disk.write(&segment(1), &[start, &bytes].concat());
        let _ = verify(&run);
    }
}
