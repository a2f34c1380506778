//! The state of the run in a directory, and the directory of a new run.

use super::{JournalError, JournalReader};
use crate::record::SealReason;
use crate::rundir::{RunDir, RunDirError, RunState};
use crate::sys::disk::{Disk, RealDisk};
use shm_protocol::id::Tick;
use std::path::Path;
use std::sync::Arc;

/// Makes the directory of a new run and takes its lock. A directory in which no run has begun is taken over.
///
/// # Errors
/// When it holds a run or something else, is in use, or cannot be made.
pub fn create_run_dir(path: &Path) -> Result<RunDir, RunDirError> {
    create_run_dir_on(Arc::new(RealDisk), path)
}

/// As [`create_run_dir`], on any disk.
///
/// # Errors
/// As [`create_run_dir`].
pub fn create_run_dir_on(disk: Arc<dyn Disk>, path: &Path) -> Result<RunDir, RunDirError> {
    let run = RunDir::claim(disk, path)?;
    if has_begun(&run)? {
        return Err(RunDirError::AlreadyARun {
            state: run_state(&run),
            path: run.path().to_path_buf(),
        });
    }
    run.lay_out()
}

/// True if a run has begun in a directory, which need not exist.
///
/// # Errors
/// When the directory cannot be read.
pub fn holds_run(path: &Path) -> Result<bool, RunDirError> {
    match RunDir::read(path) {
        Ok(run) => has_begun(&run),
        Err(RunDirError::NotARun { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a run without ticks, so that a failed start leaves nothing behind.
///
/// # Errors
/// When something cannot be removed.
///
/// # Panics
/// When a tick is journaled, or without the lock.
pub fn discard_run_dir(run: RunDir) -> Result<(), RunDirError> {
    if has_begun(&run)? {
        let first = JournalReader::open(&run)
            .and_then(|(_, mut reader)| reader.next_tick().map(|_| reader.ticks()));
        assert!(matches!(first, Ok(Tick::ZERO)), "a run with ticks is kept");
    }
    run.discard()
}

/// True if there is a journal with a whole header. A damaged journal counts as a run.
fn has_begun(run: &RunDir) -> Result<bool, RunDirError> {
    if run.files_in(&run.journal())?.is_empty() {
        return Ok(false);
    }
    let read = JournalReader::open(run).and_then(|(_, mut reader)| reader.next_tick());
    Ok(!matches!(read, Err(JournalError::NotBegun { .. })))
}

/// The state of a run, for the error of a new run in its directory.
fn run_state(run: &RunDir) -> RunState {
    let read = JournalReader::open(run).and_then(|(_, mut reader)| {
        while reader.next_tick()?.is_some() {}
        Ok(reader)
    });
    let until = run.launch().ok().and_then(|launch| launch.ticks).map(Tick);
    match read {
        Err(error) => RunState::Damaged {
            reason: error.to_string(),
        },
        Ok(reader) => {
            let ticks = reader.ticks();
            let is_finished = reader
                .seal()
                .is_some_and(|seal| seal.reason == SealReason::Finished);
            match is_finished {
                true => RunState::Finished { ticks },
                false => RunState::Interrupted { ticks, until },
            }
        }
    }
}
