//! Resuming a journal whose writer has ended.
//!
//! The bytes behind the last whole tick are cut: a record that its writer could not finish, or the seal. Corruption
//! never gets here, because the reader refuses it. The files of the finished run are those of an uninterrupted one,
//! byte for byte.

use super::{JournalWriter, Level, Segment};
use crate::fleet::Durability;
use crate::journal::error::JournalError;
use crate::journal::mark::JournalMark;
use crate::journal::reader::{JournalReader, TornKind};
use crate::journal::segment::{self, SEGMENT_BYTES};
use crate::journal::sync_marker::SyncMarker;
use crate::planted::{Bug, planted};
use crate::record::SealReason;
use crate::rundir::RunDir;
use crate::sys::disk::{File, read_fully};
use crate::sys::no_space_error;
use shm_protocol::id::Tick;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Bytes that are rewritten at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// The bytes behind the last tick of a journal, which are cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The file.
    pub file: PathBuf,
    /// The offset of the cut in the file.
    pub offset: u64,
    /// Bytes behind it. Zero when the journal ended with a tick.
    pub bytes: u64,
    /// The reason in the seal, when the seal was cut.
    pub seal: Option<SealReason>,
    /// The fault of the bytes, when they were no unfinished record but a damaged one.
    pub damage: Option<String>,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncation {
            file,
            offset,
            bytes,
            ..
        } = self;
        match (&self.seal, &self.damage) {
            _ if *bytes == 0 => write!(f, "{file:?} ends with a whole tick: nothing was cut"),
            (Some(_), _) => write!(
                f,
                "the seal was cut from {file:?} at byte {offset}: {bytes} bytes"
            ),
            (None, None) => write!(
                f,
                "an unfinished record was cut from {file:?} at byte {offset}: {bytes} bytes"
            ),
            (None, Some(damage)) => {
                write!(
                    f,
                    "a damaged end was cut from {file:?} at byte {offset}: {bytes} bytes: {damage}"
                )
            }
        }
    }
}

impl JournalWriter {
    /// Resumes the journal that a reader has read to its end, and gives what was cut from it.
    ///
    /// At the levels `batch` and `sync` everything that stays is on the disk when this returns, also what an earlier
    /// process wrote.
    ///
    /// # Errors
    /// When the journal cannot be cut, opened or synced. It can be tried again: nothing but the cut has changed.
    ///
    /// # Panics
    /// Without the lock of the run, or when the reader has not read to the end.
    pub fn resume(
        run: &RunDir,
        read: JournalReader,
        durability: Durability,
    ) -> Result<(JournalWriter, Truncation), JournalError> {
        JournalWriter::resume_with(run, read, durability, SEGMENT_BYTES)
    }

    /// As [`JournalWriter::resume`], with segments of another size.
    pub(crate) fn resume_with(
        run: &RunDir,
        read: JournalReader,
        durability: Durability,
        segment_limit: u64,
    ) -> Result<(JournalWriter, Truncation), JournalError> {
        assert!(
            run.is_locked(),
            "only who holds the lock may write to a run"
        );
        assert!(
            read.is_at_end(),
            "a journal is gone on with after its last tick"
        );
        let (mark, run_id, (agents, models)) = (read.mark(), read.run_id(), read.tables());
        let is_durable = durability != Durability::Process;
        let last = LastSegment {
            run,
            mark,
            is_durable,
        };
        if is_durable && !planted(Bug::TrustLastWriter) {
            last.sync_all(&read)?;
        }
        // Before the cut: no sync marker may be behind the end.
        let level = Level::start(run, run_id, durability, &mark)?;
        let (segment, cut) = last.cut(&read)?;
        let writer = JournalWriter {
            run: run.clone(),
            run_id,
            agents,
            models,
            segment,
            segment_limit,
            buffer: Vec::new(),
            previous: mark.chain,
            committed: mark.tick,
            level,
            poisoned: false,
        };
        Ok((writer, cut))
    }
}

/// The last segment of a journal, and what is behind its last tick.
struct LastSegment<'a> {
    run: &'a RunDir,
    mark: JournalMark,
    is_durable: bool,
}

impl LastSegment<'_> {
    /// Brings everything up to the last tick to the disk, also what an earlier process wrote.
    ///
    /// Bytes that may not be on the disk are rewritten first: after a failed sync the kernel has dropped them, and
    /// would report success for a second sync.
    fn sync_all(&self, read: &JournalReader) -> Result<(), JournalError> {
        let (first, offset) = read.synced().map_or((1, 0), SyncMarker::place);
        for number in first..=self.mark.segment {
            let path = self.path(number);
            let rewrite = || {
                let file = self.run.disk().open_write(&path)?;
                let from = if number == first { offset } else { 0 };
                let end = if number == self.mark.segment {
                    self.mark.offset
                } else {
                    file.bytes()?
                };
                write_over(&*file, from, end)?;
                file.sync()
            };
            rewrite().map_err(|source| self.sync_failed(&path, source))?;
        }
        let folder = self.run.journal();
        let synced = self.run.disk().sync_dir(&folder);
        synced.map_err(|source| self.sync_failed(&folder, source))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.run.journal().join(segment::name(number))
    }

    fn sync_failed(&self, path: &Path, source: io::Error) -> JournalError {
        JournalError::Sync {
            file: path.to_path_buf(),
            durable: Tick::ZERO,
            source,
        }
    }

    /// Cuts, and opens the last segment to append to.
    fn cut(&self, read: &JournalReader) -> Result<(Segment, Truncation), JournalError> {
        let paths = segment::list(self.run)?;
        let number = self.mark.segment;
        let last = usize::try_from(number).expect("segments are counted in memory");
        assert!(
            (last..=last + 1).contains(&paths.len()),
            "the reader has read to the last segment"
        );
        let path = paths[last - 1].clone();
        let mut cut = Truncation {
            file: path.clone(),
            offset: self.mark.offset,
            bytes: 0,
            seal: read.seal().map(|seal| seal.reason),
            damage: read.torn().and_then(|torn| match &torn.kind {
                TornKind::Unfinished => None,
                TornKind::Unsynced { reason } | TornKind::Damaged { reason } => {
                    Some(reason.clone())
                }
            }),
        };
        if let Some(behind) = paths.get(last) {
            cut.bytes = self.remove(behind)?;
            (cut.file, cut.offset) = (behind.clone(), 0);
        }
        let file = self
            .run
            .disk()
            .open_append(&path)
            .map_err(self.failed(&path))?;
        let bytes = file.bytes().map_err(self.failed(&path))?;
        assert!(
            bytes >= self.mark.offset,
            "somebody else has cut the journal under our lock"
        );
        if bytes > self.mark.offset && !planted(Bug::KeepTornEnd) {
            (cut.file, cut.offset, cut.bytes) =
                (path.clone(), self.mark.offset, bytes - self.mark.offset);
            let truncate = || {
                file.truncate(self.mark.offset)?;
                if self.is_durable { file.sync() } else { Ok(()) }
            };
            truncate().map_err(self.failed(&path))?;
        }
        Ok((
            Segment {
                number,
                path,
                file,
                bytes: self.mark.offset,
            },
            cut,
        ))
    }

    /// Removes a segment that begins with what is cut. The next record decides whether there is to be one, as it would
    /// have without the cut: a seal may be longer than that record.
    fn remove(&self, path: &Path) -> Result<u64, JournalError> {
        let remove = || {
            let bytes = self.run.disk().open_read(path)?.bytes()?;
            self.run.disk().remove_file(path)?;
            if self.is_durable {
                self.run.disk().sync_dir(&self.run.journal())?;
            }
            Ok(bytes)
        };
        remove().map_err(self.failed(path))
    }

    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
        let (file, bytes) = (path.to_path_buf(), self.mark.offset);
        move |source| JournalError::Cut {
            file,
            bytes,
            source,
        }
    }
}

/// Rewrites a part of a file.
fn write_over(file: &dyn File, from: u64, end: u64) -> io::Result<()> {
    let mut chunk = Vec::new();
    let mut at = from;
    while at < end {
        let bytes = (end - at).min(CHUNK_BYTES);
        chunk.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
        if read_fully(file, &mut chunk, at)? < chunk.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if file.write_at(&chunk, at)? < chunk.len() {
            return Err(no_space_error());
        }
        at += bytes;
    }
    Ok(())
}
