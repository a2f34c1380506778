//! A position between two records of a journal, to continue from without reading the records before it.

use super::error::{JournalError, MarkFault};
use crate::record::Digest;
use bincode::{Decode, Encode};
use shm_protocol::id::Tick;
use std::path::Path;

/// The position of a journal after a tick, or after the header of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JournalMark {
    /// The tick; zero after the header.
    pub tick: Tick,
    /// Digest of its record: the value of the chain.
    pub chain: Digest,
    /// The segment with the record, counted from 1.
    pub segment: u64,
    /// The offset of the end of the record in the segment.
    pub offset: u64,
}

impl JournalMark {
    /// An error about this mark in a file.
    pub(super) fn refused(&self, file: &Path, reason: MarkFault) -> JournalError {
        JournalError::Mark {
            file: file.to_path_buf(),
            tick: self.tick,
            offset: self.offset,
            reason,
        }
    }
}
