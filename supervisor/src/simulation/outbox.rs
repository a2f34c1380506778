//! The outbox of a run, cut and changed while nobody writes to it.
//!
//! The promise: **what goes on is whole.** Whoever goes on with a run, or ends
//! one that was over already, leaves the outbox of the fault-free run, byte for
//! byte, and says so where a checkpoint says that something else had been there;
//! or it refuses, and has changed nothing.

use super::case::Reference;
use super::fleet::Fleet;
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::{OutboxRepair, RunObserver};
use super::supervisor_run::DIRECTORY;
use super::{check, supervisor_run as life};
use crate::checkpoint::CheckpointReader;
use crate::error::RunError;
use crate::fleet::Durability;
use crate::session::run_store::build;
use crate::sys::disk::Disk as _;
use crate::sys::memory_disk::MemoryDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use test_support::TestRng;

const TICKS: u64 = 12;
const CHECKPOINT_TICKS: u64 = 5;

fn path() -> PathBuf {
    Path::new(DIRECTORY).join("outbox.jsonl")
}

fn segment() -> PathBuf {
    Path::new(DIRECTORY).join("journal/00000001.lkj")
}

/// Cuts or changes the outbox at random, and says how. None when there is nothing of it.
pub(super) fn damage(disk: &MemoryDisk, random: &mut TestRng) -> Option<String> {
    let mut bytes = disk.read(&path()).filter(|bytes| !bytes.is_empty())?;
    let at = random.index(bytes.len());
    let how = match random.below(5) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            let end = at + 1 + random.index(bytes.len() - at);
            bytes.drain(at..end);
            format!("without its bytes {at} to {end}")
        }
        2 => {
            bytes[at] ^= 1 << random.below(8);
            format!("changed at {at}")
        }
        3 => {
            bytes.clear();
            "empty".to_owned()
        }
        _ => {
            disk.remove_file(&path()).expect("it is there");
            return Some("gone".to_owned());
        }
    };
    disk.write(&path(), &bytes);
    Some(how)
}

/// A run, and its outbox to damage.
struct Patient {
    reference: Reference,
    /// What goes on: the run with its seal, or without the ticks after its newest checkpoint.
    disk: MemoryDisk,
    whole: Vec<u8>,
    /// What of it the newest checkpoint speaks of.
    marked: usize,
}

impl Patient {
    fn new(durability: Durability, is_over: bool) -> Patient {
        let reference = Reference::of_fleet(Fleet::steady(TICKS, CHECKPOINT_TICKS, durability));
        let disk = reference.disk.after_process_death();
        let run_dir = check::open(&disk).expect("it is a run");
        let run_id = reference.left.verified.run_id;
        let shelf = CheckpointReader::new(&run_dir, run_id, build(&reference.fleet.header));
        let ticks = shelf.newest_first().expect("there are checkpoints");
        let checkpoint = shelf.load(ticks[0]).expect("it is good");
        if !is_over {
            let mut journal = disk.read(&segment()).expect("one segment");
            journal.truncate(usize::try_from(checkpoint.mark.offset).expect("it is short"));
            disk.write(&segment(), &journal);
        }
        let patient = Patient {
            whole: reference.left.outbox.clone(),
            marked: usize::try_from(checkpoint.outbox.bytes).expect("it is short"),
            disk,
            reference,
        };
        assert!(
            patient.marked > 500 && patient.whole.len() > patient.marked,
            "agents emit too little for this test: {} bytes of {}",
            patient.marked,
            patient.whole.len()
        );
        patient
    }

    /// Goes on with the run whose outbox has these bytes, or none. Gives the disk and what was told.
    fn go_on(&self, outbox: Option<&[u8]>) -> (MemoryDisk, RunObserver, Result<(), RunError>) {
        let disk = self.disk.after_process_death();
        match outbox {
            Some(bytes) => disk.write(&path(), bytes),
            None => disk.remove_file(&path()).expect("it is there"),
        }
        let fleet = &self.reference.fleet;
        let random = TestRng::for_purpose(fleet.seed, 3);
        let mut hosts = SimHosts::assembled(fleet, false, true, random, HostFaults::none());
        let mut observer = RunObserver::default();
        let ended = life::resume(fleet, Arc::new(disk.clone()), &mut hosts, &mut observer);
        (disk, observer, ended.map(drop))
    }

    /// What goes on is whole, and what was repaired is told.
    fn is_made_whole(&self, what: &str, outbox: Option<&[u8]>) -> bool {
        let (disk, observer, ended) = self.go_on(outbox);
        ended.unwrap_or_else(|error| panic!("{what}: {error}"));
        let left = check::left(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        check::equal_bytes(&self.reference.left, &left)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let bytes = outbox.unwrap_or_default();
        let pairs = bytes.iter().zip(&self.whole);
        let kept = pairs.take_while(|(left, right)| left == right).count();
        let repaired = (kept < self.marked).then(|| OutboxRepair {
            found: bytes.len() as u64,
            kept: kept as u64,
            written: (self.marked - kept) as u64,
        });
        assert_eq!(observer.repaired, repaired, "{what}");
        repaired.is_some()
    }
}

#[test]
fn an_outbox_damaged_anywhere_is_whole_again() {
    for (durability, is_over) in [
        (Durability::Process, false),
        (Durability::Process, true),
        (Durability::Sync, true),
    ] {
        let patient = Patient::new(durability, is_over);
        let whole = &patient.whole;
        let mut repaired = 0;
        let mut check = |what: &str, outbox: Option<&[u8]>| {
            let what = format!("{durability:?}, over: {is_over}, {what}");
            repaired += u64::from(patient.is_made_whole(&what, outbox));
        };
        check("untouched", Some(whole));
        check("gone", None);
        let with_returns = String::from_utf8_lossy(whole).replace('\n', "\r\n");
        check("other line ends", Some(with_returns.as_bytes()));
        for at in 0..whole.len() {
            check(&format!("cut at {at}"), Some(&whole[..at]));
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            check(&format!("flipped at {at}"), Some(&flipped));
            let end = (at + 1 + at % 300).min(whole.len());
            let holed = [&whole[..at], &whole[end..]].concat();
            check(&format!("without bytes {at} to {end}"), Some(&holed));
        }
        println!("{durability:?}, over: {is_over}: {repaired} repaired");
        assert!(repaired >= 3 * patient.marked as u64, "{repaired}");
    }
}

/// What is damaged in both cannot be made again from either. Nothing more of it is lost.
#[test]
fn an_outbox_is_left_alone_if_the_journal_cannot_restore_it() {
    for is_over in [false, true] {
        let patient = Patient::new(Durability::Process, is_over);
        let journal = patient.disk.read(&segment()).expect("one segment");
        let mut outbox = patient.whole.clone();
        outbox[10] ^= 1;
        let mut refused = 0;
        for at in (0..journal.len()).step_by(7) {
            let mut damaged = journal.clone();
            damaged[at] ^= 0x10;
            patient.disk.write(&segment(), &damaged);
            let (disk, _, ended) = patient.go_on(Some(&outbox));
            if let Err(error) = ended {
                assert!(matches!(error, RunError::Journal(_)), "{at}: {error}");
                let is_left_alone = check::outbox(&disk) == outbox;
                assert!(is_left_alone, "{at}: refused and changed");
                assert_eq!(disk.read(&segment()).unwrap(), damaged);
                refused += 1;
            } else {
                // A damaged end was cut, and computed again.
                let is_whole = check::outbox(&disk) == patient.whole;
                assert!(is_whole, "{at}: not whole");
            }
        }
        assert!(refused > 100, "{refused}");
    }
}
