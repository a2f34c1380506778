//! The journal of a short run, cut at every byte and flipped at every bit.
//!
//! Whoever verifies and whoever goes on must agree about what is good, and no
//! change may go by unseen: it is refused as damage, or it is the end that a
//! writer left which died, and is cut, said, and made again.
//!
//! One thing is left to verifying alone: who goes on begins with a checkpoint and
//! does not read what is before it. Damage there is neither seen nor touched.

use super::case::Reference;
use super::fleet::Fleet;
use super::host_faults::HostFaults;
use super::hosts::SimHosts;
use super::observer::RunObserver;
use super::supervisor_run::DIRECTORY;
use super::{check, supervisor_run as life};
use crate::checkpoint::CheckpointReader;
use crate::error::RunError;
use crate::fleet::Durability;
use crate::journal::{JournalError, JournalReader, TornKind, VerifyReport, verify};
use crate::rundir::RunDir;
use crate::session::run_store::build;
use crate::sys::disk::Disk as _;
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::id::Tick;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use test_support::TestRng;

const TICKS: u64 = 12;
const CHECKPOINT_TICKS: u64 = 5;
/// Bytes of a digest at the end of a record.
const DIGEST_BYTES: usize = 32;

/// A run, and its journal to damage.
struct Patient {
    reference: Reference,
    /// What is damaged: the journal's only file, whole.
    whole: Vec<u8>,
    /// Where in it the first record after the header of the run begins.
    first: usize,
    /// Where in it the last record begins.
    last: usize,
    /// Where in it the record ends after which the newest checkpoint was taken.
    marked: usize,
    /// The disk on which it is damaged.
    disk: MemoryDisk,
}

/// What somebody says who goes on with a damaged journal.
#[derive(Debug)]
enum Said {
    /// It went on, to its end.
    WentOn {
        /// After this tick and a cut of so many bytes; none if nothing was left to do.
        said: Option<(Tick, u64)>,
        /// The journal that it has left.
        journal: Vec<u8>,
    },
    Refused(RunError),
}

/// What was done.
#[derive(Debug, Default)]
struct Count {
    changes: u64,
    went_on: u64,
    /// Damage before the newest checkpoint.
    passed_over: u64,
    refused: u64,
}

impl Patient {
    fn new(durability: Durability) -> Patient {
        let fleet = Fleet::steady(TICKS, CHECKPOINT_TICKS, durability);
        let reference = Reference::of_fleet(fleet);
        let [(path, whole)] = &reference.left.journal[..] else {
            panic!("a short run has one segment");
        };
        assert_eq!(*path, segment());
        let mut patient = Patient {
            whole: whole.clone(),
            first: 0,
            last: 0,
            marked: 0,
            disk: reference.disk.after_process_death(),
            reference,
        };
        patient.marked = patient.newest_mark();
        patient.find_ends();
        patient
    }

    /// The same without its seal, as if its writer had died after the last tick.
    fn unsealed(mut self) -> Patient {
        self.whole.truncate(self.last);
        self.find_ends();
        self
    }

    /// Finds the first and the last record, without anything that is known of the journal.
    fn find_ends(&mut self) {
        let disk = self.reference.disk.after_process_death();
        let _ = disk.remove_file(&Path::new(DIRECTORY).join("synced"));
        let torn_at = |bytes: usize| {
            disk.write(&segment(), &self.whole[..bytes]);
            let (_, mut reader) = JournalReader::open(&run_dir(&disk)).ok()?;
            reader.entries().for_each(drop);
            let torn = reader.torn()?;
            usize::try_from(torn.offset).ok()
        };
        let first = (1..self.whole.len()).find_map(torn_at);
        let last = torn_at(self.whole.len() - 1);
        (self.first, self.last) = first.zip(last).expect("a journal without its end is torn");
    }

    fn newest_mark(&self) -> usize {
        let run_id = self.reference.left.verified.run_id;
        let build = build(&self.reference.fleet.header);
        let shelf = CheckpointReader::new(&run_dir(&self.disk), run_id, build);
        let ticks = shelf.newest_first().expect("there are checkpoints");
        let checkpoint = shelf.load(ticks[0]).expect("it is good");
        usize::try_from(checkpoint.mark.offset).expect("it is short")
    }

    /// What verifying says of the journal with other bytes. The outbox may lag behind it in any run that goes on.
    fn verify(&self, bytes: &[u8]) -> Result<VerifyReport, JournalError> {
        self.disk.write(&segment(), bytes);
        let outbox = Path::new(DIRECTORY).join("outbox.jsonl");
        let lines = self.disk.read(&outbox).expect("the run has an outbox");
        self.disk.write(&outbox, b"");
        let verified = verify(&run_dir(&self.disk));
        self.disk.write(&outbox, &lines);
        verified
    }

    /// What going on says of it. The outbox is whole, and passed over where it is there.
    fn go_on(&mut self, bytes: &[u8]) -> Result<Said, String> {
        self.disk.write(&segment(), bytes);
        let fleet = &self.reference.fleet;
        let random = TestRng::for_purpose(fleet.seed, 3);
        let mut hosts = SimHosts::assembled(fleet, false, true, random, HostFaults::none());
        let mut observer = RunObserver::default();
        let disk = Arc::new(self.disk.clone());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            life::resume(fleet, disk, &mut hosts, &mut observer)
        }));
        match ended.map_err(|_| "it panicked".to_owned())? {
            Err(error) => {
                if self.disk.read(&segment()).as_deref() != Some(bytes) {
                    return Err(format!("refused and changed: {error}"));
                }
                Ok(Said::Refused(error))
            }
            Ok(_) => {
                let disk = self.reference.disk.after_process_death();
                let disk = std::mem::replace(&mut self.disk, disk);
                if check::outbox(&disk) != self.reference.left.outbox {
                    return Err("the outboxes differ".to_owned());
                }
                let journal = disk.read(&segment()).ok_or("its journal is gone")?;
                let said = observer.cut;
                Ok(Said::WentOn { said, journal })
            }
        }
    }

    /// A cut journal: both see the same ticks and the same torn end, or refuse for the same reason.
    fn is_cut(&mut self, at: usize, count: &mut Count) -> Result<(), String> {
        let bytes = self.whole[..at].to_vec();
        let verified = self.verify(&bytes);
        count.changes += 1;
        match (verified, self.go_on(&bytes)?) {
            (Ok(_), Said::WentOn { journal, .. }) if journal != self.whole => {
                Err("the journal is not the one that was cut".to_owned())
            }
            (Ok(verified), Said::WentOn { said, .. }) => {
                count.went_on += 1;
                let torn = verified.torn.map_or(0, |torn| torn.bytes);
                match said {
                    Some(said) if said != (verified.ticks, torn) => Err(format!(
                        "verifying finds {torn} torn bytes after tick {}, and going on {said:?}",
                        verified.ticks
                    )),
                    None if verified.ticks < Tick(TICKS) => {
                        Err("it went on and did not say so".to_owned())
                    }
                    _ => Ok(()),
                }
            }
            (Err(error), Said::Refused(refused)) => {
                count.refused += 1;
                match (&error, &refused) {
                    (_, RunError::Journal(other)) if error.to_string() == other.to_string() => {
                        Ok(())
                    }
                    _ => Err(format!("verifying says {error}, and going on {refused}")),
                }
            }
            (verified, said) => Err(format!(
                "verifying says {verified:?}, and going on {said:?}"
            )),
        }
    }

    /// A flipped bit: damage, which nobody goes on with unless it is in the last record of a journal of which nothing
    /// more is known.
    fn is_flipped(&mut self, bit: usize, is_known: bool, count: &mut Count) -> Result<(), String> {
        let mut bytes = self.whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verified = self.verify(&bytes);
        count.changes += 1;
        let error = match verified {
            Ok(verified) => return Err(format!("it verifies: {verified:?}")),
            Err(error) if !error.is_corruption() => return Err(format!("no damage: {error}")),
            Err(error) => error,
        };
        let may_be_cut = !is_known && bit / 8 >= self.last;
        let is_tail = matches!(&error, JournalError::DamagedTail { torn }
            if matches!(torn.kind, TornKind::Damaged { .. }));
        // The digest that a mark names is the last thing before it.
        let is_passed_over = (self.first..self.marked - DIGEST_BYTES).contains(&(bit / 8));
        match self.go_on(&bytes)? {
            Said::WentOn { journal, .. } if may_be_cut && is_tail => {
                count.went_on += 1;
                if journal != self.reference.left.journal[0].1 {
                    return Err("the journal is not the one without faults".to_owned());
                }
            }
            Said::WentOn { journal, .. } if is_passed_over && !is_tail => {
                count.passed_over += 1;
                let mut expected = self.reference.left.journal[0].1.clone();
                expected[bit / 8] = bytes[bit / 8];
                if journal != expected {
                    return Err("what is damaged was touched".to_owned());
                }
            }
            Said::Refused(_) if !may_be_cut && !is_passed_over && !is_tail => count.refused += 1,
            said => return Err(format!("verifying says {error}, and going on {said:?}")),
        }
        Ok(())
    }
}

fn run_dir(disk: &MemoryDisk) -> RunDir {
    RunDir::read_on(Arc::new(disk.clone()), Path::new(DIRECTORY)).expect("it is a run")
}

fn segment() -> PathBuf {
    Path::new(DIRECTORY).join("journal/00000001.lkj")
}

#[test]
fn a_journal_cut_at_any_byte_is_gone_on_with_or_refused() {
    for durability in [Durability::Process, Durability::Sync] {
        let mut patient = Patient::new(durability);
        let mut count = Count::default();
        for at in 0..patient.whole.len() {
            let checked = patient.is_cut(at, &mut count);
            checked.unwrap_or_else(|reason| panic!("{durability:?}, cut at {at}: {reason}"));
        }
        println!("{durability:?}: {count:?}");
        match durability {
            Durability::Process => assert!(count.went_on > 2_000, "{count:?}"),
            // All of it was on the disk, so that any cut is a loss.
            _ => assert_eq!(count.went_on, 0),
        }
    }
}

#[test]
fn a_journal_flipped_at_any_bit_is_damaged() {
    for (durability, is_sealed) in [
        (Durability::Process, true),
        (Durability::Process, false),
        (Durability::Sync, true),
    ] {
        let mut patient = Patient::new(durability);
        if !is_sealed {
            patient = patient.unsealed();
        }
        let is_known = durability == Durability::Sync;
        let mut count = Count::default();
        for bit in 0..patient.whole.len() * 8 {
            let checked = patient.is_flipped(bit, is_known, &mut count);
            checked.unwrap_or_else(|reason| {
                panic!("{durability:?}, sealed: {is_sealed}, bit {bit} flipped: {reason}")
            });
        }
        println!("{durability:?}, sealed: {is_sealed}: {count:?}");
        assert!(
            count.refused + count.passed_over > 20_000 && count.refused > 5_000,
            "{count:?}"
        );
    }
}
