//! What agents emitted, one JSON line each. The only way out of a run.
//!
//! A line is written once its tick is durable at its level, in schedule order,
//! once. Its key says where in the run it comes from, so that a reader can tell
//! a line it has seen. What is not written yet can be made again from the
//! journal: when a run goes on, what [`Outbox::push`] is given again is compared
//! with the file, written over itself as long as it is there, and written anew
//! from where it is not. A power cut may have taken any part of what was not
//! synced, and after a sync that failed the file only looks as if it had it.

pub(crate) use super::outbox_check::OutboxCheck;
use super::{RunDir, RunDirError};
use crate::journal::RunId;
use crate::planted::{Bug, planted};
use crate::sys::disk::{File, read_fully};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, Tick};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of the file that are read at a time.
const WINDOW_BYTES: usize = 64 << 10;

/// The file of what agents emitted, and the lines that wait for their tick to be durable.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    file: Arc<dyn File>,
    names: LineWriter,
    /// Lines that wait, and after each tick with lines where they end.
    waiting: Vec<u8>,
    ends: VecDeque<(Tick, usize)>,
    /// Where the file, which was there before, is compared with what is released; none once it is at its end.
    compared: Option<Compared>,
    poisoned: bool,
}

/// A file that was there before, and is compared with what is released.
#[derive(Debug)]
struct Compared {
    /// Up to here they are equal.
    offset: u64,
    /// The file once more, to write in place.
    file: Arc<dyn File>,
}

/// Where in a run a line comes from.
#[derive(Clone, Copy, Debug)]
struct Position {
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
#[derive(Serialize, Deserialize)]
struct Line<'line> {
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
        Outbox::open_after(directory, run, agents, Tick::ZERO)
    }

    /// As [`Outbox::open`], when only ticks after this one are pushed. The lines up to it were synced.
    ///
    /// # Errors
    /// As [`Outbox::open`].
    ///
    /// # Panics
    /// As [`Outbox::open`].
    pub fn open_after(
        directory: &RunDir,
        run: RunId,
        agents: Vec<String>,
        synced: Tick,
    ) -> Result<Outbox, RunDirError> {
        assert!(
            directory.is_locked(),
            "only who holds the lock may write to a run"
        );
        let path = directory.outbox();
        let file = directory
            .disk()
            .open_append(&path)
            .map_err(RunDirError::io("open", &path))?;
        let names = LineWriter { run, agents };
        let compared = Compared {
            offset: names.end_of(synced, &path, &*file)?,
            file: directory
                .disk()
                .open_write(&path)
                .map_err(RunDirError::io("open", &path))?,
        };
        directory.sync_folder(directory.path())?;
        let (waiting, ends) = (Vec::new(), VecDeque::new());
        Ok(Outbox {
            path,
            file,
            names,
            waiting,
            ends,
            compared: Some(compared),
            poisoned: false,
        })
    }

    /// Takes what a committed tick emitted. It waits until [`Outbox::release`].
    pub fn push(&mut self, tick: Tick, outcomes: &[Outcome]) {
        let before = self.waiting.len();
        self.names.write_tick(tick, outcomes, &mut self.waiting);
        if self.waiting.len() > before {
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
        let written = self.write(end);
        self.poisoned = written.is_err();
        written.map_err(RunDirError::io("write", &self.path))?;
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
        if let Some(compared) = &mut self.compared
            && !planted(Bug::RepeatOutbox)
        {
            let there = compared.pass(&*self.file, bytes)?;
            bytes = &bytes[there..];
            if bytes.is_empty() {
                return Ok(());
            }
            if self.file.bytes()? > compared.offset {
                self.file.truncate(compared.offset)?;
            }
            self.compared = None;
        }
        match self.file.append(bytes)? {
            written if written == bytes.len() => Ok(()),
            // The system takes a part when the disk is full.
            _ => Err(rustix::io::Errno::NOSPC.into()),
        }
    }

    /// Makes what was written survive a power cut. Before a run is sealed, so that a sealed run has its whole outbox.
    ///
    /// # Errors
    /// When it may not survive. It is not tried again.
    pub fn sync(&mut self) -> Result<(), RunDirError> {
        if self.poisoned {
            return Err(RunDirError::OutboxPoisoned {
                path: self.path.clone(),
            });
        }
        let synced = self.file.sync();
        self.poisoned = synced.is_err();
        synced.map_err(RunDirError::io("sync", &self.path))
    }

    /// Bytes of the lines that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }
}

impl Compared {
    /// Passes over as much of `bytes` as is there, and says how much that is. It is written once more: after a sync that
    /// failed the kernel has dropped it, and would say of a second sync that all is well.
    fn pass(&mut self, file: &dyn File, bytes: &[u8]) -> io::Result<usize> {
        let there = common_bytes(file, self.offset, bytes)?;
        if there > 0 && self.file.write_at(&bytes[..there], self.offset)? < there {
            // The system takes a part when the disk is full.
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.offset += there as u64;
        Ok(there)
    }
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
            self.write(Position { tick, agent, index }, topic, payload, into);
        }
    }

    fn write(&self, position: Position, topic: &str, payload: &[u8], into: &mut Vec<u8>) {
        let Position { tick, agent, index } = position;
        let text = std::str::from_utf8(payload).ok();
        let line = Line {
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

    /// Where the lines up to a tick end, which were synced. What is behind them may be anything but lines of another run.
    fn end_of(&self, synced: Tick, path: &Path, file: &dyn File) -> Result<u64, RunDirError> {
        let failed = || RunDirError::io("read", path);
        let bytes = file.bytes().map_err(failed())?;
        let mut end = match synced {
            Tick::ZERO => first_newline(file).map_err(failed())?,
            _ => last_newline(file, bytes).map_err(failed())?,
        };
        while let Some(newline) = end {
            let before = last_newline(file, newline).map_err(failed())?;
            let start = before.map_or(0, |before| before + 1);
            let mut line = vec![0; usize::try_from(newline - start).unwrap_or(usize::MAX)];
            read_fully(file, &mut line, start).map_err(failed())?;
            match LineWriter::position(&line) {
                Some((run, _)) if run != self.run.to_string() => {
                    return Err(RunDirError::Outbox {
                        path: path.to_path_buf(),
                        offset: start,
                        line: 0,
                        reason: format!(
                            "the line is one of run {run}, and this is run {}",
                            self.run
                        ),
                    });
                }
                Some((_, tick)) if tick <= synced => return Ok(newline + 1),
                _ => end = before,
            }
        }
        Ok(0)
    }

    /// Which run and which tick a line comes from, by its key.
    fn position(line: &[u8]) -> Option<(String, Tick)> {
        #[derive(Deserialize)]
        struct Key {
            key: String,
        }
        let Key { key } = serde_json::from_slice(line).ok()?;
        let mut parts = key.split(':');
        let run = parts.next()?.to_owned();
        Some((run, Tick(parts.next()?.parse().ok()?)))
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

/// The first line break of a file.
fn first_newline(file: &dyn File) -> io::Result<Option<u64>> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut start = 0;
    loop {
        let read = read_fully(file, &mut window, start)?;
        if let Some(found) = window[..read].iter().position(|byte| *byte == b'\n') {
            return Ok(Some(start + found as u64));
        }
        if read < window.len() {
            return Ok(None);
        }
        start += read as u64;
    }
}

/// The last line break in the first `end` bytes of a file.
fn last_newline(file: &dyn File, mut end: u64) -> io::Result<Option<u64>> {
    let mut window = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(WINDOW_BYTES as u64);
        window.resize(usize::try_from(end - start).map_err(io::Error::other)?, 0);
        read_fully(file, &mut window, start)?;
        if let Some(found) = window.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + found as u64));
        }
        end = start;
    }
    Ok(None)
}
