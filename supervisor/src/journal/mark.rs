//! A place between two records of a journal, to go on from without reading what is before it.

use super::error::JournalError;
use crate::record::Digest;
use bincode::{Decode, Encode};
use shm_protocol::id::Tick;
use std::path::Path;
use thiserror::Error;

/// Where a journal stands after a tick, or after the header of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JournalMark {
    /// The tick; zero after the header.
    pub tick: Tick,
    /// Digest of its record: the value of the chain.
    pub chain: Digest,
    /// The segment with the record, counted from 1.
    pub segment: u64,
    /// Where in the segment the record ends.
    pub offset: u64,
}

/// Why a mark is not a place in a journal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MarkFault {
    /// The journal is shorter.
    #[error("there are {segments} segments, and this one has {bytes} bytes")]
    Beyond {
        /// Segments of the journal.
        segments: u64,
        /// Bytes of the marked segment; zero when there is none.
        bytes: u64,
    },
    /// What ends there is something else, or nothing.
    #[error("what ends there is {}, and the tick has {}", super::frame::hex(.found), super::frame::hex(.expected))]
    Chain {
        /// What stands where the digest of the marked record should.
        found: Digest,
        /// The digest that was noted.
        expected: Digest,
    },
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
