//! The segment that is written.

use crate::journal::error::JournalError;
use crate::journal::segment;
use crate::planted::{Bug, planted};
use crate::rundir::RunDir;
use crate::sys::disk::File;
use crate::sys::no_space_error;
use shm_protocol::id::Tick;
use std::path::PathBuf;
use std::sync::Arc;

/// The file that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) bytes: u64,
}

impl Segment {
    /// Makes the file, and its name durable.
    pub(super) fn create(run: &RunDir, number: u64, tick: Tick) -> Result<Segment, JournalError> {
        let path = run.journal().join(segment::name(number));
        let create = || {
            let file = run.disk().create_new(&path)?;
            if !planted(Bug::UnsyncedSegmentName) {
                run.disk().sync_dir(&run.journal())?;
            }
            Ok(file)
        };
        let failed = |source| JournalError::Write {
            file: path.clone(),
            tick,
            bytes: 0,
            written: 0,
            source,
        };
        let file = create().map_err(failed)?;
        Ok(Segment {
            number,
            path,
            file,
            bytes: 0,
        })
    }

    pub(super) fn append(&mut self, record: &[u8], tick: Tick) -> Result<(), JournalError> {
        let failed = |written, source| {
            let file = self.path.clone();
            JournalError::Write {
                file,
                tick,
                bytes: record.len(),
                written,
                source,
            }
        };
        match self.file.append(record) {
            Ok(written) if written == record.len() || planted(Bug::ShortWrite) => {
                self.bytes += written as u64;
                Ok(())
            }
            // The system took a part, which it does when the disk is full. The rest would be refused.
            Ok(written) => Err(failed(written, no_space_error())),
            Err(source) => Err(failed(0, source)),
        }
    }
}
