//! The levels of durability, as a writer has them.

use super::syncer::Syncer;
use crate::fleet::Durability;
use crate::journal::error::JournalError;
use crate::journal::mark::JournalMark;
use crate::journal::sync_marker::SyncMarkerFile;
use crate::record::RunId;
use crate::rundir::RunDir;
use shm_protocol::id::Tick;
use std::path::Path;

/// The operation that makes a tick durable.
#[derive(Debug)]
pub(super) enum Level {
    /// The write.
    Process,
    /// A sync of its thread.
    Batch(Syncer),
    /// A sync within the tick.
    Sync(SyncMarkerFile),
}

impl Level {
    /// The level of a journal that is on the disk up to a mark, unless it is `process`.
    pub(super) fn start(
        run: &RunDir,
        run_id: RunId,
        durability: Durability,
        at: &JournalMark,
    ) -> Result<Level, JournalError> {
        let synced = |is_exact| SyncMarkerFile::create(run, run_id, is_exact, at);
        Ok(match durability {
            Durability::Process => {
                SyncMarkerFile::remove(run)?;
                Level::Process
            }
            Durability::Batch => Level::Batch(
                Syncer::start(at.tick, synced(true)?, run.disk().has_threads())
                    .map_err(|source| JournalError::Thread { source })?,
            ),
            Durability::Sync => Level::Sync(synced(false)?),
        })
    }

    /// Writes the marker of the end of a journal that is on the disk up to there, seal included.
    pub(super) fn note_end(&mut self, end: &JournalMark) -> Result<(), JournalError> {
        match self {
            Level::Process => Ok(()),
            Level::Batch(syncer) => syncer.note(end),
            Level::Sync(synced) => {
                note(synced, end)?;
                synced.sync().map_err(sync_failed(synced.path(), end.tick))
            }
        }
    }
}

/// Writes the marker of a position up to which the journal is on the disk, for a resume after the death of this
/// process.
pub(super) fn note(synced: &mut SyncMarkerFile, at: &JournalMark) -> Result<(), JournalError> {
    let written = synced.write(at);
    written.map_err(sync_failed(synced.path(), at.tick))
}

fn sync_failed(file: &Path, durable: Tick) -> impl FnOnce(std::io::Error) -> JournalError {
    let file = file.to_path_buf();
    move |source| JournalError::Sync {
        file,
        durable,
        source,
    }
}
