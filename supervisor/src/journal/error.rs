//! What can go wrong with a journal.

use super::frame::HeaderFault;
use super::mark::MarkFault;
use super::reader::Torn;
use crate::record::Digest;
use crate::rundir::RunDirError;
use shm_protocol::codec::DecodeError;
use shm_protocol::id::Tick;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a journal could not be written, or is not one.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A record could not be written. The journal ends with the tick before, and perhaps a part of this one.
    #[error("cannot write tick {tick} to {file:?}: {written} of {bytes} bytes were written: {source}; {}", write_hint(.source))]
    Write {
        /// The file.
        file: PathBuf,
        /// The tick; zero for the header of the run.
        tick: Tick,
        /// Bytes of the record.
        bytes: usize,
        /// Bytes that the system took.
        written: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A record is over the limit.
    #[error(
        "tick {tick} takes {bytes} bytes in the journal, over the limit of {limit}: let agents do less in one tick"
    )]
    TooLarge {
        /// The tick.
        tick: Tick,
        /// Bytes of its payload.
        bytes: usize,
        /// Most bytes of a payload.
        limit: usize,
    },
    /// What was written could not be made durable. It is not tried again, because the system may have dropped the data.
    #[error(
        "cannot bring {file:?} to the disk: {source}; ticks after {durable} may be lost at a power cut; check the disk, then run `lockstep verify`"
    )]
    Sync {
        /// The file or folder.
        file: PathBuf,
        /// The last tick that is durable.
        durable: Tick,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that syncs could not be started.
    #[error("cannot start the thread that syncs the journal: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// Something failed before, and was reported then.
    #[error("the journal in {folder:?} takes no more records, because writing it failed before")]
    Poisoned {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// A segment could not be read.
    #[error("cannot read {file:?} at byte {offset}: {source}")]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// There is no journal yet, or no whole header.
    #[error(
        "{folder:?} holds no run: it ended before the header of the run was written; start it again"
    )]
    NotBegun {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// A segment is missing.
    #[error("{file:?} is missing, and {next:?} is there: copy the whole run directory")]
    MissingSegment {
        /// What is missing.
        file: PathBuf,
        /// What is there.
        next: PathBuf,
    },
    /// A file that is no segment.
    #[error("{file:?} is not part of a journal: move it somewhere else")]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// A bad record with more journal behind it, or one that no torn write can leave.
    #[error("{file:?} is damaged at byte {offset}, where {} should be: {reason}; take the file from a backup", expected_record(.after))]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The last good tick; none when the header of the run is bad.
        after: Option<Tick>,
        /// What is wrong.
        reason: RecordFault,
    },
    /// The last record is whole but wrong: not what a write that stopped halfway leaves.
    #[error("the end of the journal is damaged: {torn}")]
    DamagedTail {
        /// What was found.
        torn: Torn,
    },
    /// The journal ends before a place that was on the disk.
    #[error(
        "{file:?} ends with tick {ticks}, and the journal was on the disk up to tick {synced}: take the journal from a backup"
    )]
    Lost {
        /// The last segment.
        file: PathBuf,
        /// The last tick that is there.
        ticks: Tick,
        /// The last tick that was on the disk.
        synced: Tick,
    },
    /// A place that was noted is not one of this journal, which was cut or is another one.
    #[error(
        "tick {tick} was noted to end at byte {offset} of {file:?}, which it does not: {reason}; take the journal from a backup, or go on without what was noted"
    )]
    Mark {
        /// The file.
        file: PathBuf,
        /// The tick.
        tick: Tick,
        /// Where its record was noted to end.
        offset: u64,
        /// What is wrong.
        reason: MarkFault,
    },
    /// What is behind the last whole record could not be cut off.
    #[error("cannot cut {file:?} to {bytes} bytes: {source}; check the disk, then try again")]
    Cut {
        /// The file or folder.
        file: PathBuf,
        /// How long it should be.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The run directory around the journal is wrong.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
}

/// What is wrong with a record.
#[derive(Debug, Error)]
pub enum RecordFault {
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The file ends within the record, and more segments follow.
    #[error("the file ends within the record")]
    Short,
    /// The digest does not fit header and payload.
    #[error("the digest does not fit the record")]
    Digest,
    /// Bad, and another record of the run follows.
    #[error("{fault}, and another record follows at byte {follows} of {file:?}")]
    Followed {
        /// What is wrong.
        fault: Box<RecordFault>,
        /// The file with the record that follows.
        file: PathBuf,
        /// Where it begins.
        follows: u64,
    },
    /// Bad, and it was on the disk.
    #[error("{fault}, and the journal was on the disk up to tick {tick}")]
    Synced {
        /// What is wrong.
        fault: Box<RecordFault>,
        /// The last tick that was on the disk.
        tick: Tick,
    },
    /// A record of another run.
    #[error("the record belongs to run {found}, and this is run {expected}")]
    Run {
        /// The run of the record.
        found: super::frame::RunId,
        /// The run of the journal.
        expected: super::frame::RunId,
    },
    /// A record that another one should precede.
    #[error("the record follows {}, and the one before it is {}", super::frame::hex(.found), super::frame::hex(.expected))]
    Previous {
        /// The digest that the record names.
        found: Digest,
        /// The digest of the record before.
        expected: Digest,
    },
    /// A record in the wrong place.
    #[error("the record is a {found} of tick {tick}")]
    Order {
        /// Its kind.
        found: &'static str,
        /// Its tick.
        tick: Tick,
    },
    /// Bytes after the seal.
    #[error("the run is sealed, and more bytes follow")]
    AfterSeal,
    /// An empty segment that is not the last.
    #[error("the file is empty, and more segments follow")]
    Empty,
    /// The payload does not decode.
    #[error(transparent)]
    Payload(#[from] DecodeError),
    /// The payload says something that cannot be.
    #[error("{0}")]
    Content(String),
}

impl JournalError {
    /// Whether the run directory is not as it was written, rather than out of reach: verifying it answers no.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            JournalError::MissingSegment { .. }
            | JournalError::Foreign { .. }
            | JournalError::Corrupt { .. }
            | JournalError::DamagedTail { .. }
            | JournalError::Lost { .. }
            | JournalError::Mark { .. } => true,
            JournalError::RunDir(error) => error.is_corruption(),
            JournalError::Write { .. }
            | JournalError::TooLarge { .. }
            | JournalError::Sync { .. }
            | JournalError::Thread { .. }
            | JournalError::Poisoned { .. }
            | JournalError::Read { .. }
            | JournalError::Cut { .. }
            | JournalError::NotBegun { .. } => false,
        }
    }
}

fn expected_record(after: &Option<Tick>) -> String {
    match after {
        None => "the header of the run".to_owned(),
        Some(tick) => format!("tick {}", tick.next()),
    }
}

fn write_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space; the ticks before are kept"
        }
        _ => "check the disk; the ticks before are kept",
    }
}
