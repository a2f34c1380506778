//! The promise of the journal: what was appended is read back; a cut leaves a
//! torn end after the last whole record; any other change is found.

mod crash;
mod damage;
mod promises;
mod resume;

use super::frame::{DIGEST_BYTES, FRAME_BYTES, FrameHeader, HEADER_BYTES};
use super::testing::{Kept, Small, header, record};
use super::{
    JournalEntry, JournalError, JournalReader, JournalWriter, RecordFault, TornKind, verify,
};
use crate::analysis::diff::diff;
use crate::fleet::Durability;
use crate::journal::{create_run_dir, create_run_dir_on};
use crate::record::{RunHeader, SealReason, TickRecord};
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

fn read_all(run: &RunDir) -> Result<(RunHeader, Vec<JournalEntry>, JournalReader), JournalError> {
    let (header, mut reader) = JournalReader::open(run)?;
    let entries = reader.entries().collect::<Result<Vec<_>, _>>()?;
    Ok((header, entries, reader))
}

/// The offsets of the records of a file, and of its end.
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
fn equal_runs_have_equal_files_and_other_seeds_differ() {
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

#[test]
#[should_panic(expected = "one after the other")]
fn a_tick_that_is_left_out_is_our_bug() {
    let run = create_run_dir_on(Arc::new(MemoryDisk::new()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    let _ = writer.append(Tick(2), &record(2));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a reader would refuse")]
fn a_tick_of_an_agent_that_is_not_there_is_our_bug() {
    let run = create_run_dir_on(Arc::new(MemoryDisk::new()), Path::new("/run")).unwrap();
    let mut writer = JournalWriter::create(&run, &header(1), Durability::Process).unwrap();
    let mut record = record(1);
    record.outcomes[0].agent.0 = 9;
    let _ = writer.append(Tick(1), &record);
}

#[test]
fn batches_become_durable_on_a_real_disk_during_appends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = create_run_dir_on(Arc::new(RealDisk), &path).unwrap();
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
fn many_segments_on_a_real_disk_are_sealed_and_read() {
    for durability in [Durability::Process, Durability::Batch, Durability::Sync] {
        let folder = tempfile::tempdir().unwrap();
        let run = create_run_dir(&folder.path().join("run")).unwrap();
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
    let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
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

/// A record around any payload, as an attacker would make it.
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
