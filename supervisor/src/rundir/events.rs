//! What happened around a run, one JSON line each, for people: faults, hosts
//! that were lost and came back, checkpoints, launches that went on.
//!
//! None of it is in the journal, which does not change whatever happens here,
//! and nothing decides by it but which faults of a plan a run that goes on has
//! seen. So a line is written with one call and never synced, a write that fails
//! is no reason to stop, and a line that a power cut
//! or a full disk has damaged is [`Event::Unreadable`] to who reads it.

use super::{RunDir, RunDirError};
use crate::sys::disk::File;
use serde::{Deserialize, Serialize};
use shm_protocol::id::{HostId, Incarnation, Tick};
use shm_protocol::inference_to_supervisor::RefusedProvider;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

/// The role of a host that runs agents.
pub const AGENTS: &str = "agents";
/// The role of the host that runs models.
pub const INFERENCE: &str = "inference";

/// Something that happened around a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// A rule of the fault plan did what it says.
    FaultFired {
        /// Its number in the plan, counted from 1.
        rule: u32,
        /// What went wrong.
        kind: String,
        /// At which point.
        phase: String,
        /// In which tick.
        tick: Tick,
        /// For whom.
        target: String,
    },
    /// A host is lost.
    HostLost {
        /// Which.
        host: HostId,
        /// What it does: `agents` or `inference`.
        role: String,
        /// The life that ended.
        incarnation: Incarnation,
        /// The open tick.
        tick: Tick,
        /// What was seen of it.
        cause: String,
    },
    /// A host is back at work.
    HostRestored {
        /// Which.
        host: HostId,
        /// What it does: `agents` or `inference`.
        role: String,
        /// The life that began.
        incarnation: Incarnation,
        /// The open tick.
        tick: Tick,
        /// The checkpoint that its agents began with; none when they began anew.
        checkpoint: Option<u64>,
        /// Ticks that it executed again.
        redone: u64,
        /// Milliseconds from the loss to here.
        ms: f64,
        /// What was seen when it was lost.
        cause: String,
    },
    /// A checkpoint could not be made or used. Older ones serve, or the beginning.
    CheckpointFailed {
        /// Its tick.
        tick: Tick,
        /// What is wrong.
        reason: String,
    },
    /// The outbox was not what the run had written to it up to a checkpoint, and was written whole again.
    OutboxRepaired {
        /// The tick of the checkpoint.
        tick: Tick,
        /// Bytes that the file had.
        found_bytes: u64,
        /// Bytes at its beginning that were right.
        kept_bytes: u64,
        /// Bytes that were written behind them, up to this tick.
        written_bytes: u64,
    },
    /// A launch went on with the run.
    Resumed {
        /// The last tick that the journal had.
        tick: Tick,
        /// The checkpoint that was begun with; none when all of it was executed again.
        checkpoint: Option<u64>,
        /// Bytes that were cut from the end of the journal.
        cut_bytes: u64,
        /// Ticks that were executed again.
        redone: u64,
        /// Milliseconds until it was back at work.
        ms: f64,
    },
    /// A provider that a model asks for does not run it.
    ProviderRefused {
        /// The model.
        model: String,
        /// The provider.
        provider: String,
        /// The reason, as it is journaled.
        reason: String,
        /// The words of the engine and of drivers.
        detail: String,
    },
    /// It could not be tried whether requests to a model may be joined, so each runs alone.
    ProbeFailed {
        /// The model.
        model: String,
        /// The words of the engine or the system.
        detail: String,
    },
    /// Something was decided that changes the run. The journal has it too.
    Verdict {
        /// The tick.
        tick: Tick,
        /// What and why.
        text: String,
    },
    /// Never written: a line that cannot be read, because it was damaged or comes from another version.
    #[serde(skip)]
    Unreadable {
        /// The line, counted from 1.
        line: u64,
        /// What the parser said.
        reason: String,
    },
}

impl fmt::Display for RunEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunEvent::FaultFired {
                rule,
                kind,
                phase,
                tick,
                target,
            } => {
                write!(
                    f,
                    "tick {tick}: fault of rule {rule}: {kind} at {phase}, {target}"
                )
            }
            RunEvent::HostLost {
                host,
                role,
                incarnation,
                tick,
                cause,
            } => {
                write!(
                    f,
                    "tick {tick}: host {host} ({role}, life {incarnation}) is lost: {cause}"
                )
            }
            RunEvent::HostRestored {
                host,
                role,
                incarnation,
                tick,
                checkpoint,
                redone,
                ms,
                cause,
            } => {
                write!(
                    f,
                    "tick {tick}: host {host} ({role}, life {incarnation}) was lost ({cause}) and is back after {ms:.1} ms: "
                )?;
                if role == INFERENCE {
                    return f.write_str("models loaded, open batches submitted again");
                }
                write_base(f, *checkpoint)?;
                write!(f, ", {redone} ticks executed again, none lost")
            }
            RunEvent::CheckpointFailed { tick, reason } => {
                write!(f, "tick {tick}: no checkpoint: {reason}")
            }
            RunEvent::OutboxRepaired {
                tick,
                found_bytes,
                kept_bytes,
                written_bytes,
            } => {
                write!(
                    f,
                    "tick {tick}: outbox.jsonl had {found_bytes} bytes and was not what the run has written up to this tick: \
                     the first {kept_bytes} bytes were right, and {written_bytes} behind them were written again from the \
                     journal; if something rotates or changes the file, let it take a copy"
                )
            }
            RunEvent::Resumed {
                tick,
                checkpoint,
                cut_bytes,
                redone,
                ms,
            } => {
                write!(
                    f,
                    "tick {tick}: the run was gone on with after {ms:.1} ms: "
                )?;
                write_base(f, *checkpoint)?;
                write!(
                    f,
                    ", {redone} ticks executed again, none lost, {cut_bytes} bytes cut from the end of the journal"
                )
            }
            RunEvent::ProviderRefused {
                model,
                provider,
                reason,
                detail,
            } => write!(
                f,
                "model {model}: provider {provider} is refused: {reason}: {detail}"
            ),
            RunEvent::ProbeFailed { model, detail } => write!(
                f,
                "model {model}: its requests run alone, because the probe could not be carried out: {detail}"
            ),
            RunEvent::Verdict { tick, text } => write!(f, "tick {tick}: verdict: {text}"),
            RunEvent::Unreadable { line, reason } => {
                write!(f, "line {line} cannot be read: {reason}")
            }
        }
    }
}

impl RunEvent {
    /// A provider does not run a model.
    #[must_use]
    pub fn provider_refused(model: &str, refused: &RefusedProvider) -> RunEvent {
        RunEvent::ProviderRefused {
            model: model.to_owned(),
            provider: refused.provider.clone(),
            reason: refused.reason.to_string(),
            detail: refused.detail.clone(),
        }
    }

    /// The tick it belongs to.
    #[must_use]
    pub fn tick(&self) -> Option<Tick> {
        match self {
            RunEvent::FaultFired { tick, .. }
            | RunEvent::HostLost { tick, .. }
            | RunEvent::HostRestored { tick, .. }
            | RunEvent::CheckpointFailed { tick, .. }
            | RunEvent::OutboxRepaired { tick, .. }
            | RunEvent::Resumed { tick, .. }
            | RunEvent::Verdict { tick, .. } => Some(*tick),
            RunEvent::ProviderRefused { .. }
            | RunEvent::ProbeFailed { .. }
            | RunEvent::Unreadable { .. } => None,
        }
    }
}

fn write_base(f: &mut fmt::Formatter<'_>, checkpoint: Option<u64>) -> fmt::Result {
    match checkpoint {
        Some(tick) => write!(f, "from checkpoint {tick}"),
        None => f.write_str("from the beginning"),
    }
}

/// The file of what happened around a run, to append to.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: Arc<dyn File>,
    /// Whether the file may end within a line.
    is_torn: bool,
}

impl EventLog {
    /// Opens the log of a run, and makes it if there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    ///
    /// # Panics
    /// Without the lock.
    pub fn open(run: &RunDir) -> Result<EventLog, RunDirError> {
        assert!(
            run.is_locked(),
            "only who holds the lock may write to a run"
        );
        let path = run.events();
        let open = || {
            let file = run.disk().open_append(&path)?;
            let (bytes, mut last) = (file.bytes()?, [b'\n']);
            if bytes > 0 {
                file.read_at(&mut last, bytes - 1)?;
            }
            Ok((file, last != *b"\n"))
        };
        let (file, is_torn) = open().map_err(RunDirError::io("open", &path))?;
        Ok(EventLog {
            path,
            file,
            is_torn,
        })
    }

    /// Writes an event as one line. After a failure the log takes further events; the line that failed may be torn.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, event: &RunEvent) -> Result<(), RunDirError> {
        let mut line = if self.is_torn {
            vec![b'\n']
        } else {
            Vec::new()
        };
        serde_json::to_writer(&mut line, event).expect("an event has nothing that JSON cannot say");
        line.push(b'\n');
        let written = self.file.append(&line);
        self.is_torn = !matches!(written, Ok(bytes) if bytes == line.len());
        let whole = written.and_then(|_| match self.is_torn {
            false => Ok(()),
            // The system takes a part when the disk is full.
            true => Err(rustix::io::Errno::NOSPC.into()),
        });
        whole.map_err(RunDirError::io("write", &self.path))
    }

    /// What happened around a run, in order. A last line that is not whole is being written, or its writer died.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(run: &RunDir) -> Result<Vec<RunEvent>, RunDirError> {
        let path = run.events();
        let bytes = match run.get_file(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RunDirError::io("read", &path)(source)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        let events = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        let parse = |(line, text)| {
            serde_json::from_slice(text).unwrap_or_else(|error: serde_json::Error| {
                RunEvent::Unreadable {
                    line,
                    reason: error.to_string(),
                }
            })
        };
        Ok(events.map(parse).collect())
    }
}

#[cfg(test)]
mod tests;
