//! How far the run of a directory is.

use super::{RunDir, RunDirError, RunState};
use crate::journal::record::SealReason;
use crate::journal::{JournalError, JournalReader};
use shm_protocol::id::Tick;

impl RunDir {
    /// The first tick of the journal, zero when there is only the header; none when not even that is whole.
    pub(super) fn first_tick(&self) -> Result<Option<Tick>, RunDirError> {
        if self.files_in(&self.journal())?.is_empty() {
            return Ok(None);
        }
        // A damaged journal is a run all the same.
        let read = JournalReader::open(self)
            .and_then(|(_, mut reader)| reader.next_tick().map(|_| reader.ticks()));
        match read {
            Ok(first) => Ok(Some(first)),
            Err(JournalError::NotBegun { .. }) => Ok(None),
            Err(_) => Ok(Some(Tick(1))),
        }
    }

    /// How far the run is, for who wanted to begin one here.
    pub(super) fn state(&self) -> RunState {
        let read = JournalReader::open(self).and_then(|(_, mut reader)| {
            while reader.next_tick()?.is_some() {}
            Ok(reader)
        });
        let until = self.launch().ok().and_then(|launch| launch.ticks).map(Tick);
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
}
