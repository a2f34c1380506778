//! Errors of journals.

use super::frame::HeaderFault;
use super::reader::Torn;
use crate::record::Digest;
use crate::rundir::RunDirError;
use shm_protocol::codec::DecodeError;
use shm_protocol::id::Tick;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// An error of a journal.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum JournalError {
    /// A record could not be written. The journal ends with the tick before, and perhaps a part of this one.
    #[error("cannot write tick {tick} to {file:?}: {written} of {bytes} bytes were written: {source}; {}", write_hint(.source))]
    Write {
        file: PathBuf,
        tick: Tick,
        bytes: usize,
        written: usize,
        source: io::Error,
    },
    /// A record is over the limit.
    #[error(
        "the record of tick {tick} has {bytes} bytes, over the limit of {limit}; let agents do less in one tick"
    )]
    TooLarge {
        tick: Tick,
        bytes: usize,
        limit: usize,
    },
    /// Written data could not be synced. The sync is not tried again, because the system may have dropped the data.
    #[error(
        "cannot sync {file:?}: {source}; ticks after {durable} may be lost at a power failure; check the disk, then run `lockstep verify`"
    )]
    Sync {
        file: PathBuf,
        durable: Tick,
        source: io::Error,
    },
    /// The thread that syncs could not be started.
    #[error(
        "cannot start the thread that syncs the journal: {source}; check the limits on processes and memory"
    )]
    Thread { source: io::Error },
    /// An earlier write failed, and was reported then.
    #[error("the journal in {folder:?} takes no more records after a failed write")]
    Poisoned { folder: PathBuf },
    /// A segment could not be read.
    #[error("cannot read {file:?} at byte {offset}: {source}")]
    Read {
        file: PathBuf,
        offset: u64,
        source: io::Error,
    },
    /// There is no journal yet, or no whole header.
    #[error("{folder:?} holds no run: it ended before its header was written; start it again")]
    NotBegun { folder: PathBuf },
    /// A segment is missing.
    #[error("{file:?} is missing, and {next:?} is there: copy the whole run directory")]
    MissingSegment { file: PathBuf, next: PathBuf },
    /// A file that is no segment.
    #[error("{file:?} is not part of a journal; move it elsewhere")]
    Foreign { file: PathBuf },
    /// A bad record with more journal behind it, or one that no torn write can leave.
    #[error("{file:?} is damaged at byte {offset}, where {} should be: {reason}; restore the file from a backup", expected_record(.after))]
    Corrupt {
        file: PathBuf,
        offset: u64,
        after: Option<Tick>,
        reason: RecordFault,
    },
    /// The last record is whole but wrong: not what a write that stopped halfway leaves.
    #[error("the end of the journal is damaged: {torn}")]
    DamagedTail { torn: Torn },
    /// The journal ends before a position that was on the disk.
    #[error(
        "{file:?} ends with tick {ticks}, although the journal was synced up to tick {synced}; restore the journal from a backup"
    )]
    Lost {
        file: PathBuf,
        ticks: Tick,
        synced: Tick,
    },
    /// A mark is no position of this journal, which was cut or is another one.
    #[error(
        "tick {tick} should end at byte {offset} of {file:?}, but {reason}; restore the journal from a backup"
    )]
    Mark {
        file: PathBuf,
        tick: Tick,
        offset: u64,
        reason: MarkFault,
    },
    /// The bytes behind the last whole record could not be cut off.
    #[error("cannot truncate {file:?} to {bytes} bytes: {source}; check the disk, then try again")]
    Cut {
        file: PathBuf,
        bytes: u64,
        source: io::Error,
    },
    /// The run directory around the journal is wrong.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
}

/// A fault of a record.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum RecordFault {
    /// The header.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The file ends within the record, and more segments follow.
    #[error("the file ends within the record")]
    Short,
    /// The digest does not fit header and payload.
    #[error("the digest does not match the record")]
    Digest,
    /// Bad, and another record of the run follows.
    #[error("{fault}, and another record follows at byte {follows} of {file:?}")]
    Followed {
        fault: Box<RecordFault>,
        file: PathBuf,
        follows: u64,
    },
    /// Bad, and it was on the disk.
    #[error("{fault}, although the journal was synced up to tick {tick}")]
    Synced { fault: Box<RecordFault>, tick: Tick },
    /// A record of another run.
    #[error("the record belongs to run {found}, and this is run {expected}")]
    Run {
        found: crate::record::RunId,
        expected: crate::record::RunId,
    },
    /// A record that another one should precede.
    #[error("the record follows {}, and the one before it is {}", crate::record::hex(.found), crate::record::hex(.expected))]
    Previous { found: Digest, expected: Digest },
    /// A record in the wrong place.
    #[error("unexpected record: a {found} of tick {tick}")]
    Order { found: &'static str, tick: Tick },
    /// Bytes after the seal.
    #[error("the run is sealed, and more bytes follow")]
    AfterSeal,
    /// An empty segment that is not the last.
    #[error("the file is empty, and more segments follow")]
    Empty,
    /// The payload does not decode.
    #[error(transparent)]
    Payload(#[from] DecodeError),
    /// The payload decodes to something impossible.
    #[error("{0}")]
    Content(String),
}

/// The reason for which a mark is no position of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum MarkFault {
    /// The journal is shorter.
    #[error("there are {segments} segments, and this one has {bytes} bytes")]
    Beyond { segments: u64, bytes: u64 },
    /// Another record ends there, or none.
    #[error("what ends there is {}, and the tick has {}", crate::record::hex(.found), crate::record::hex(.expected))]
    Chain { found: Digest, expected: Digest },
}

impl JournalError {
    /// True if the run directory is not as it was written, rather than unreadable: verification fails.
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
            "free some disk space; all ticks before it are kept"
        }
        _ => "check the disk; all ticks before it are kept",
    }
}
