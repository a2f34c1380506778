//! What agents emitted, one JSON line each. The only way out of a run.
//!
//! A line is written once its tick is durable at its level, in schedule order,
//! once. Its key says where in the run it comes from, so that a reader can tell
//! a line it has seen. What is not written yet can be made again from the
//! journal: when a run goes on, what [`Outbox::push`] is given again is compared
//! with the file, written over itself as long as it is there, and written anew
//! from where it is not. A power cut may have taken any part of what was not
//! synced, and after a sync that failed the file only looks as if it had it.
//! What lies before that is compared with an [`OutboxMark`].
//!
//! Nobody else writes to the file. Whoever cuts or replaces it while the run goes
//! on would make a hole in it, so the run then stops ([`RunDirError::OutboxAltered`]).

pub(crate) use super::outbox_check::OutboxCheck;
use super::outbox_mark::OutboxHasher;
pub use super::outbox_mark::OutboxMark;
use super::outbox_owner::others_line;
use super::{RunDir, RunDirError};
use crate::journal::RunId;
use crate::planted::{Bug, planted};
use crate::sys::disk::{Disk, File, read_fully};
use base64::Engine as _;
use serde::Serialize;
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, Tick};
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of the file that are read at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// The file of what agents emitted, and the lines that wait for their tick to be durable.
#[derive(Debug)]
pub struct Outbox {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn File>,
    names: LineWriter,
    /// All lines that were made, also those that wait.
    made: OutboxHasher,
    /// Lines that wait, and after each tick with lines where they end.
    waiting: Vec<u8>,
    ends: VecDeque<(Tick, usize)>,
    /// Bytes of the file that are known to be the right ones.
    written: u64,
    /// Those of them that were there before.
    kept: u64,
    /// The file once more, to write in place, as long as it has what was there before and is compared with what is released.
    compared: Option<Arc<dyn File>>,
    poisoned: bool,
}

/// Where in a run a line comes from.
#[derive(Clone, Copy, Debug)]
struct OutboxPosition {
    tick: Tick,
    agent: AgentId,
    index: usize,
}

/// Renders lines; the same for who writes the outbox and for who checks it.
#[derive(Clone, Debug)]
pub(crate) struct LineWriter {
    run: RunId,
    agents: Vec<String>,
}

/// One line.
#[derive(Serialize)]
struct OutboxLine<'line> {
    key: String,
    tick: u64,
    agent: &'line str,
    topic: &'line str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'line str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
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
        let Some(made) = beginning else {
            return Ok(None);
        };
        let written = made.mark().bytes;
        let others = others_line(&*file, run, written).map_err(RunDirError::io("read", &path))?;
        if let Some(others) = others {
            return Err(RunDirError::Outbox {
                path,
                offset: others.offset,
                line: others.line,
                reason: format!(
                    "the line is one of run {}, and this is run {run}; move the file away, and it is written anew",
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
            names: LineWriter { run, agents },
            made,
            waiting: Vec::new(),
            ends: VecDeque::new(),
            written,
            kept: written,
            compared: Some(compared),
            poisoned: false,
        }))
    }

    /// Takes what a committed tick emitted. It waits until [`Outbox::release`].
    pub fn push(&mut self, tick: Tick, outcomes: &[Outcome]) {
        let before = self.waiting.len();
        self.names.write_tick(tick, outcomes, &mut self.waiting);
        if self.waiting.len() > before {
            self.made.update(&self.waiting[before..]);
            self.ends.push_back((tick, self.waiting.len()));
        }
    }

    /// Writes the lines of all ticks up to `durable`.
    ///
    /// # Errors
    /// When they cannot be written. The outbox then takes no more; what is missing can be made again from the journal.
    pub fn release(&mut self, durable: Tick) -> Result<(), RunDirError> {
        // Also when nothing waits for this tick: who is told that all is well may go on to a checkpoint.
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

    /// The file, for somebody else to sync. Who fails to must tell [`Outbox::poison`].
    #[must_use]
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// A sync has failed elsewhere: nothing more is written.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Brings the file to where it has the first `end` bytes that wait.
    fn write(&mut self, end: usize) -> io::Result<()> {
        let mut bytes = &self.waiting[..end];
        if let Some(compared) = &self.compared
            && !planted(Bug::RepeatOutbox)
        {
            let there = pass(&*self.file, &**compared, bytes, self.written)?;
            self.written += there as u64;
            self.kept = self.written;
            bytes = &bytes[there..];
            if bytes.is_empty() {
                return Ok(());
            }
            if self.file.bytes()? > self.written {
                self.file.truncate(self.written)?;
            }
            self.compared = None;
        }
        match self.file.append(bytes)? {
            written if written == bytes.len() => {
                self.written += written as u64;
                Ok(())
            }
            // The system takes a part when the disk is full.
            _ => Err(rustix::io::Errno::NOSPC.into()),
        }
    }

    /// Nobody but this writes to the file: it has what was written, and more only as long as it is compared.
    /// Cuts what stands behind the last line of a run that had nothing to write: nobody of this run has written it.
    fn cut_excess(&mut self) -> Result<(), RunDirError> {
        let failed = || RunDirError::io("cut", &self.path);
        let bytes = self.file.bytes().map_err(failed())?;
        if self.compared.take().is_none() || bytes <= self.written {
            return Ok(());
        }
        let excess = bytes - self.written;
        tracing::warn!(
            "{} had {excess} bytes behind the last line of the run, which are cut",
            self.path.display()
        );
        self.file.truncate(self.written).map_err(failed())
    }

    fn check_length(&self) -> Result<(), RunDirError> {
        let bytes = self
            .file
            .bytes()
            .map_err(RunDirError::io("read", &self.path))?;
        let is_longer = bytes > self.written && self.compared.is_none();
        match bytes < self.written || is_longer {
            true => Err(self.altered(bytes)),
            false => Ok(()),
        }
    }

    /// The file of that name still is the one that was opened, as far as its length tells.
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

    /// Makes what was written survive a power cut. Before a run is sealed, so that a sealed run has its whole outbox.
    ///
    /// # Errors
    /// When it may not survive, or somebody has cut or replaced it meanwhile. It is not tried again.
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

    /// Brings what is there to the disk, whoever wrote it, before more is written behind it.
    ///
    /// # Errors
    /// When it may not survive a power cut.
    pub fn settle(&mut self) -> Result<(), RunDirError> {
        let settled = self.file.sync();
        if settled.is_err() {
            self.poisoned = true;
            // The kernel has dropped what it could not write, and still shows it. A file that is shorter than what was
            // marked is written anew by who goes on next.
            let _ = self.file.truncate(self.written.saturating_sub(1));
        }
        settled.map_err(RunDirError::io("sync", &self.path))
    }

    /// What the file is once nothing waits.
    #[must_use]
    pub fn mark(&self) -> OutboxMark {
        self.made.mark()
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

/// Passes over as much of `bytes` as the file has at an offset, and says how much that is. It is written once more: after
/// a sync that failed the kernel has dropped it, and would say of a second sync that all is well.
fn pass(file: &dyn File, in_place: &dyn File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let there = common_bytes(file, offset, bytes)?;
    if there > 0 && in_place.write_at(&bytes[..there], offset)? < there {
        // The system takes a part when the disk is full.
        return Err(rustix::io::Errno::NOSPC.into());
    }
    Ok(there)
}

/// What outcomes emit: agent, position among the agent's outputs of this step, topic and bytes.
fn emits(outcomes: &[Outcome]) -> impl Iterator<Item = (AgentId, usize, &str, &[u8])> {
    outcomes.iter().flat_map(|outcome| {
        let emitted = outcome.effects.iter().filter_map(|effect| match effect {
            Effect::Emit { topic, payload } => Some((topic.as_str(), payload.as_slice())),
            Effect::Send { .. } | Effect::Submit { .. } | Effect::Infer { .. } | Effect::Log(_) => {
                None
            }
        });
        emitted
            .enumerate()
            .map(|(index, (topic, payload))| (outcome.agent, index, topic, payload))
    })
}

impl LineWriter {
    pub(crate) fn new(run: RunId, agents: Vec<String>) -> LineWriter {
        LineWriter { run, agents }
    }

    /// Appends every line of a tick.
    pub(crate) fn write_tick(&self, tick: Tick, outcomes: &[Outcome], into: &mut Vec<u8>) {
        for (agent, index, topic, payload) in emits(outcomes) {
            self.write(OutboxPosition { tick, agent, index }, topic, payload, into);
        }
    }

    fn write(&self, position: OutboxPosition, topic: &str, payload: &[u8], into: &mut Vec<u8>) {
        let OutboxPosition { tick, agent, index } = position;
        let text = std::str::from_utf8(payload).ok();
        let line = OutboxLine {
            key: format!("{}:{tick}:{agent}:{index}", self.run),
            tick: tick.0,
            agent: &self.agents[agent.index()],
            topic,
            text,
            base64: text
                .is_none()
                .then(|| base64::engine::general_purpose::STANDARD.encode(payload)),
        };
        serde_json::to_writer(&mut *into, &line).expect("writing JSON to memory cannot fail");
        into.push(b'\n');
    }
}

/// How many of these bytes a file has at an offset.
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
