//! What must hold of a run directory when a run is over, seen from outside.

use super::supervisor_run::DIRECTORY;
use crate::analysis::diff;
use crate::journal::{JournalError, JournalReader, VerifyReport, verify};
use crate::rundir::RunDir;
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::id::Tick;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a run has left that must be equal to what the fault-free one left, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) verified: VerifyReport,
    pub(super) journal: Vec<(PathBuf, Vec<u8>)>,
    pub(super) outbox: Vec<u8>,
    /// Decisions that changed the run.
    pub(super) verdicts: usize,
}

/// Opens the run directory to read.
pub(super) fn open(disk: &MemoryDisk) -> Result<RunDir, String> {
    RunDir::read_on(Arc::new(disk.clone()), Path::new(DIRECTORY)).map_err(|error| error.to_string())
}

/// The last tick of the journal, zero when it has not begun.
pub(super) fn ticks(disk: &MemoryDisk) -> Result<Tick, String> {
    let Ok(run_dir) = open(disk) else {
        return Ok(Tick::ZERO);
    };
    let mut reader = match JournalReader::open(&run_dir) {
        Ok((_, reader)) => reader,
        // A power cut may take any part of the header, and nothing was told of the run then.
        Err(JournalError::NotBegun { .. } | JournalError::DamagedTail { .. }) => {
            return Ok(Tick::ZERO);
        }
        Err(error) => return Err(format!("the journal cannot be read: {error}")),
    };
    for entry in reader.entries() {
        entry.map_err(|error| format!("the journal cannot be read: {error}"))?;
    }
    Ok(reader.ticks())
}

/// What has left the run, as whoever reads the file sees it.
pub(super) fn outbox(disk: &MemoryDisk) -> Vec<u8> {
    disk.read(&Path::new(DIRECTORY).join("outbox.jsonl"))
        .unwrap_or_default()
}

/// The last tick of which something has left the run, as whoever reads the file sees it.
pub(super) fn last_emitted(disk: &MemoryDisk) -> Tick {
    let outbox = outbox(disk);
    // What a power cut has torn is no line.
    let tick = |line| {
        let line: serde_json::Value = serde_json::from_slice(line).ok()?;
        line.get("tick")?.as_u64()
    };
    let lines = outbox.split(|byte| *byte == b'\n');
    Tick(lines.filter_map(tick).max().unwrap_or(0))
}

/// Verifies a run directory and takes from it what is compared.
pub(super) fn left(disk: &MemoryDisk) -> Result<Left, String> {
    let run_dir = open(disk)?;
    let verified = verify(&run_dir).map_err(|error| format!("it does not verify: {error}"))?;
    let names = run_dir
        .disk()
        .list(&run_dir.journal())
        .map_err(|error| error.to_string())?;
    let file = |name: String| {
        let path = run_dir.journal().join(name);
        let bytes = disk
            .read(&path)
            .ok_or_else(|| format!("{path:?} is gone"))?;
        Ok((path, bytes))
    };
    Ok(Left {
        verified,
        journal: names.into_iter().map(file).collect::<Result<_, String>>()?,
        outbox: outbox(disk),
        verdicts: verdicts(&run_dir).map_err(|error| error.to_string())?,
    })
}

fn verdicts(run_dir: &RunDir) -> Result<usize, JournalError> {
    let (_, mut reader) = JournalReader::open(run_dir)?;
    let mut verdicts = 0;
    for entry in reader.entries() {
        verdicts += entry?.record.verdicts.len();
    }
    Ok(verdicts)
}

/// Says in what two journals differ, in words.
pub(super) fn equal(reference: &MemoryDisk, run: &MemoryDisk) -> Result<(), String> {
    match diff::diff(&open(reference)?, &open(run)?).map_err(|error| error.to_string())? {
        None => Ok(()),
        Some(difference) => Err(format!("it differs from the fault-free run: {difference}")),
    }
}

/// Says in what two runs differ, if that is not their records.
pub(super) fn equal_bytes(reference: &Left, run: &Left) -> Result<(), String> {
    if reference.verified != run.verified {
        return Err(format!(
            "the fault-free run came to\n{:?}\nand this one to\n{:?}",
            reference.verified, run.verified
        ));
    }
    for ((path, expected), (other, found)) in reference.journal.iter().zip(&run.journal) {
        let differs = expected
            .iter()
            .zip(found)
            .position(|(left, right)| left != right);
        if path != other || expected.len() != found.len() || differs.is_some() {
            return Err(format!("{path:?} and {other:?} differ at byte {differs:?}"));
        }
    }
    if reference.journal.len() != run.journal.len() {
        return Err("one journal has more files".to_owned());
    }
    if reference.outbox != run.outbox {
        return Err("the outboxes differ".to_owned());
    }
    Ok(())
}
