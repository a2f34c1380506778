//! The outbox: the outputs of agents, one JSON line each. The only way out of a run.
//!
//! A line is written once, in schedule order, when its tick is durable at the level of the run. Its key names its
//! origin in the run, so that a reader can recognise duplicates. Lines can be made again from the journal: when a run
//! is resumed, the lines that [`Outbox::push`] gets again are compared with the file, rewritten as long as they are
//! equal, and written anew from there on. A power cut may have taken any part of unsynced lines, and after a failed
//! sync the file only seems to have them. Lines before the resume point are compared with an [`OutboxMark`].
//!
//! No other process may write to the file. A cut or replacement during the run would make a hole in it, so the run then
//! stops ([`RunDirError::OutboxAltered`]).

mod check;
mod line;
mod mark;
mod owner;

pub(crate) use check::OutboxCheck;
pub use mark::OutboxMark;

use super::{RunDir, RunDirError};
use crate::planted::{Bug, planted};
use crate::record::RunId;
use crate::sys::disk::{Disk, File, read_fully};
use crate::sys::no_space_error;
use line::LineWriter;
use mark::OutboxHasher;
use owner::foreign_line;
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::Tick;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of the file that are read at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// The file of the outbox, and the lines that wait for their tick to be durable.
#[derive(Debug)]
pub struct Outbox {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn File>,
    lines: LineWriter,
    /// The hash of all lines, also those that wait.
    hasher: OutboxHasher,
    /// Lines that wait, and their end after each tick with lines.
    waiting: Vec<u8>,
    ends: VecDeque<(Tick, usize)>,
    /// Bytes of the file that are known to be right.
    written: u64,
    /// Those of them that were there before.
    kept: u64,
    /// The file opened to write in place, as long as its existing lines are compared with the released ones.
    existing: Option<Arc<dyn File>>,
    poisoned: bool,
}

impl Outbox {
    /// Opens the outbox of a run; `agents` are the names by number. Every tick is pushed from the first one on.
    ///
    /// # Errors
    /// When it cannot be opened, or is that of another run.
    ///
    /// # Panics
    /// Without the lock.
    pub fn open(
        directory: &RunDir,
        run: RunId,
        agents: Vec<String>,
    ) -> Result<Outbox, RunDirError> {
        let nothing = OutboxHasher::default().mark();
        let opened = Outbox::open_at(directory, run, agents, &nothing)?;
        Ok(opened.expect("every file begins with nothing"))
    }

    /// As [`Outbox::open`], when only the ticks behind a mark are pushed. None when the file does not begin with what was
    /// marked: then every tick must be pushed.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    ///
    /// # Panics
    /// As [`Outbox::open`].
    pub fn open_at(
        directory: &RunDir,
        run: RunId,
        agents: Vec<String>,
        mark: &OutboxMark,
    ) -> Result<Option<Outbox>, RunDirError> {
        assert!(
            directory.is_locked(),
            "only who holds the lock may write to a run"
        );
        let (disk, path) = (Arc::clone(directory.disk()), directory.outbox());
        let file = disk
            .open_append(&path)
            .map_err(RunDirError::io("open", &path))?;
        let beginning =
            OutboxHasher::of_beginning(&*file, mark).map_err(RunDirError::io("read", &path))?;
        let Some(hasher) = beginning else {
            return Ok(None);
        };
        let written = hasher.mark().bytes;
        let others = foreign_line(&*file, run, written).map_err(RunDirError::io("read", &path))?;
        if let Some(others) = others {
            return Err(RunDirError::Outbox {
                path,
                offset: others.offset,
                line: others.line,
                reason: format!(
                    "the line belongs to run {}, and this is run {run}; move the file elsewhere, and it is rewritten from the journal",
                    others.run
                ),
            });
        }
        let compared = disk
            .open_write(&path)
            .map_err(RunDirError::io("open", &path))?;
        directory.sync_folder(directory.path())?;
        Ok(Some(Outbox {
            disk,
            path,
            file,
            lines: LineWriter::new(run, agents),
            hasher,
            waiting: Vec::new(),
            ends: VecDeque::new(),
            written,
            kept: written,
            existing: Some(compared),
            poisoned: false,
        }))
    }

    /// Takes the outputs of a committed tick. They wait until [`Outbox::release`].
    pub fn push(&mut self, tick: Tick, outcomes: &[Outcome]) {
        let before = self.waiting.len();
        self.lines.write_tick(tick, outcomes, &mut self.waiting);
        if self.waiting.len() > before {
            self.hasher.update(&self.waiting[before..]);
            self.ends.push_back((tick, self.waiting.len()));
        }
    }

    /// Writes the lines of all ticks up to `durable`.
    ///
    /// # Errors
    /// When they cannot be written. The outbox then takes no more; what is missing can be made again from the journal.
    pub fn release(&mut self, durable: Tick) -> Result<(), RunDirError> {
        // Also when nothing waits for this tick: after a success a checkpoint may be published.
        if self.poisoned {
            return Err(RunDirError::OutboxPoisoned {
                path: self.path.clone(),
            });
        }
        let mut end = 0;
        while let Some((tick, lines_end)) = self.ends.front().copied()
            && tick <= durable
        {
            end = lines_end;
            self.ends.pop_front();
        }
        if end == 0 {
            return Ok(());
        }
        let written = self.check_length().and_then(|()| {
            self.write(end)
                .map_err(RunDirError::io("write", &self.path))
        });
        self.poisoned = written.is_err();
        written?;
        self.waiting.drain(..end);
        self.ends
            .iter_mut()
            .for_each(|(_, lines_end)| *lines_end -= end);
        Ok(())
    }

    /// The file, for a sync on another thread. A failed sync must be followed by [`Outbox::poison`].
    #[must_use]
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// A sync has failed elsewhere: nothing more is written.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Writes the first `end` bytes that wait.
    fn write(&mut self, end: usize) -> io::Result<()> {
        let mut bytes = &self.waiting[..end];
        if let Some(compared) = &self.existing
            && !planted(Bug::RepeatOutbox)
        {
            let there = rewrite_common(&*self.file, &**compared, bytes, self.written)?;
            self.written += there as u64;
            self.kept = self.written;
            bytes = &bytes[there..];
            if bytes.is_empty() {
                return Ok(());
            }
            if self.file.bytes()? > self.written {
                self.file.truncate(self.written)?;
            }
            self.existing = None;
        }
        match self.file.append(bytes)? {
            written if written == bytes.len() => {
                self.written += written as u64;
                Ok(())
            }
            // The system takes a part when the disk is full.
            _ => Err(no_space_error()),
        }
    }

    /// Cuts bytes behind the last line of a run that had nothing to write: they are not of this run.
    fn cut_excess(&mut self) -> Result<(), RunDirError> {
        let failed = || RunDirError::io("cut", &self.path);
        let bytes = self.file.bytes().map_err(failed())?;
        if self.existing.take().is_none() || bytes <= self.written {
            return Ok(());
        }
        let excess = bytes - self.written;
        tracing::warn!(
            "{}: truncated {excess} bytes after the last line of the run",
            self.path.display()
        );
        self.file.truncate(self.written).map_err(failed())
    }

    fn check_length(&self) -> Result<(), RunDirError> {
        let bytes = self
            .file
            .bytes()
            .map_err(RunDirError::io("read", &self.path))?;
        let is_longer = bytes > self.written && self.existing.is_none();
        match bytes < self.written || is_longer {
            true => Err(self.altered(bytes)),
            false => Ok(()),
        }
    }

    /// Checks that the file of that name still is the open one, as far as its length tells.
    fn check_name(&self) -> Result<(), RunDirError> {
        let failed = || RunDirError::io("read", &self.path);
        let opened = self.disk.open_read(&self.path);
        let named = match opened.and_then(|file| file.bytes()) {
            Err(source) if source.kind() == io::ErrorKind::NotFound => 0,
            named => named.map_err(failed())?,
        };
        match named == self.file.bytes().map_err(failed())? {
            true => Ok(()),
            false => Err(self.altered(named)),
        }
    }

    fn altered(&self, bytes: u64) -> RunDirError {
        RunDirError::OutboxAltered {
            path: self.path.clone(),
            bytes,
            written: self.written,
        }
    }

    /// Syncs the written lines, before a run is sealed: a sealed run has its whole outbox.
    ///
    /// # Errors
    /// When the sync fails, or the file was cut or replaced meanwhile. It is not tried again.
    pub fn sync(&mut self) -> Result<(), RunDirError> {
        if self.poisoned {
            return Err(RunDirError::OutboxPoisoned {
                path: self.path.clone(),
            });
        }
        let synced = self
            .cut_excess()
            .and_then(|()| self.check_length())
            .and_then(|()| self.check_name())
            .and_then(|()| {
                self.file
                    .sync()
                    .map_err(RunDirError::io("sync", &self.path))
            });
        self.poisoned = synced.is_err();
        synced
    }

    /// Syncs the existing lines, also those of an earlier process, before more are written behind them.
    ///
    /// # Errors
    /// When it may not survive a power cut.
    pub fn sync_existing(&mut self) -> Result<(), RunDirError> {
        let settled = self.file.sync();
        if settled.is_err() {
            self.poisoned = true;
            // The kernel has dropped the bytes that it could not write, and still shows them. The next resume rewrites
            // a file that is shorter than its mark.
            let _ = self.file.truncate(self.written.saturating_sub(1));
        }
        settled.map_err(RunDirError::io("sync", &self.path))
    }

    /// The mark of the file once nothing waits.
    #[must_use]
    pub fn mark(&self) -> OutboxMark {
        self.hasher.mark()
    }

    /// Bytes at the beginning of the file that were there when it was opened, and were the right ones.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept
    }

    /// Bytes of the lines that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }
}

/// Rewrites as much of `bytes` as the file has at an offset, and gives its length. It is rewritten because the kernel
/// has dropped it after a failed sync, and would report success for a second sync.
fn rewrite_common(
    file: &dyn File,
    in_place: &dyn File,
    bytes: &[u8],
    offset: u64,
) -> io::Result<usize> {
    let there = common_bytes(file, offset, bytes)?;
    if there > 0 && in_place.write_at(&bytes[..there], offset)? < there {
        // The system takes a part when the disk is full.
        return Err(no_space_error());
    }
    Ok(there)
}

/// The number of these bytes that a file has at an offset.
fn common_bytes(file: &dyn File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
    let mut window = vec![0; bytes.len().min(WINDOW_BYTES)];
    let mut common = 0;
    while common < bytes.len() {
        let wanted = (bytes.len() - common).min(WINDOW_BYTES);
        let read = read_fully(file, &mut window[..wanted], offset + common as u64)?;
        let pairs = window[..read].iter().zip(&bytes[common..]);
        let equal = pairs
            .take_while(|(found, expected)| found == expected)
            .count();
        common += equal;
        if equal < wanted {
            break;
        }
    }
    Ok(common)
}
