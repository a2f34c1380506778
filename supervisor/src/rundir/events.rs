//! The event log of a run, one JSON line for each event, for people: faults, host
//! failures and restarts, checkpoints, resumed launches.
//!
//! None of them is in the journal, and nothing depends on them but the faults of a plan that a resumed run does not
//! repeat. So a line is written with one call and never synced, a failed write does not stop the run, and a line that a
//! power cut or a full disk has damaged is read as [`RunEvent::Unreadable`].

use super::{RunDir, RunDirError};
use crate::sys::disk::File;
use crate::sys::no_space_error;
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

/// An event around a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names of these fields suffice")]
pub enum RunEvent {
    /// A rule of the fault plan fired.
    FaultFired {
        /// Its number in the plan, counted from 1.
        rule: u32,
        /// The kind of the fault.
        kind: String,
        /// The fault point.
        point: String,
        /// The open tick.
        tick: Tick,
        /// The target of the rule.
        target: String,
    },
    /// A host is lost.
    HostLost {
        host: HostId,
        /// Its role: `agents` or `inference`.
        role: String,
        /// The incarnation that ended.
        incarnation: Incarnation,
        /// The open tick.
        tick: Tick,
        /// The observed cause.
        cause: String,
    },
    /// A host is restored.
    HostRestarted {
        host: HostId,
        /// Its role: `agents` or `inference`.
        role: String,
        /// The incarnation that began.
        incarnation: Incarnation,
        /// The open tick.
        tick: Tick,
        /// The checkpoint with which its agents began; none when they began anew.
        checkpoint: Option<u64>,
        /// Ticks that were executed again.
        reexecuted: u64,
        /// Milliseconds from the loss to here.
        ms: f64,
        /// The observed cause of the loss.
        cause: String,
    },
    /// A checkpoint could not be made or used. Older ones serve, or the beginning.
    CheckpointFailed {
        tick: Tick,
        /// The error.
        reason: String,
    },
    /// The outbox differed from the lines of the run up to a checkpoint, and was repaired.
    OutboxRepaired {
        /// The tick of the checkpoint.
        tick: Tick,
        /// Bytes of the file before the repair.
        found_bytes: u64,
        /// Bytes at its beginning that were kept.
        kept_bytes: u64,
        /// Bytes that were written behind them, up to this tick.
        written_bytes: u64,
    },
    /// The run was resumed.
    Resumed {
        /// The last tick of the journal.
        tick: Tick,
        /// The checkpoint with which the run resumed; none when all of it was executed again.
        checkpoint: Option<u64>,
        /// Bytes that were cut from the end of the journal.
        cut_bytes: u64,
        /// Ticks that were executed again.
        reexecuted: u64,
        /// Milliseconds until all hosts were restored.
        ms: f64,
    },
    /// A provider that a model asks for does not run it.
    ProviderRefused {
        model: String,
        provider: String,
        /// The reason, as it is journaled.
        reason: String,
        /// The message of the engine and of drivers.
        detail: String,
    },
    /// The batching probe of a model could not run, so its requests are not batched.
    ProbeFailed {
        model: String,
        /// The message of the engine or the system.
        detail: String,
    },
    /// A verdict changed the run. The journal has it too.
    Verdict {
        tick: Tick,
        /// The verdict and its reason.
        text: String,
    },
    /// Never written: a line that cannot be read, because it was damaged or comes from another version.
    #[serde(skip)]
    Unreadable {
        /// The line, counted from 1.
        line: u64,
        /// The error of the parser.
        reason: String,
    },
}

impl fmt::Display for RunEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunEvent::FaultFired {
                rule,
                kind,
                point,
                tick,
                target,
            } => {
                write!(
                    f,
                    "tick {tick}: injected fault (rule {rule}): {kind} at {point}, {target}"
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
                    "tick {tick}: host {host} ({role}, incarnation {incarnation}) failed: {cause}"
                )
            }
            RunEvent::HostRestarted {
                host,
                role,
                incarnation,
                tick,
                checkpoint,
                reexecuted,
                ms,
                cause,
            } => {
                write!(
                    f,
                    "tick {tick}: host {host} ({role}, incarnation {incarnation}) restarted in {ms:.1} ms after a failure ({cause}): "
                )?;
                if role == INFERENCE {
                    return f.write_str("models loaded, open batches submitted again");
                }
                write_base(f, *checkpoint)?;
                write!(f, ", {reexecuted} ticks re-executed, none lost")
            }
            RunEvent::CheckpointFailed { tick, reason } => {
                write!(f, "tick {tick}: checkpoint failed: {reason}")
            }
            RunEvent::OutboxRepaired {
                tick,
                found_bytes,
                kept_bytes,
                written_bytes,
            } => {
                write!(
                    f,
                    "tick {tick}: outbox.jsonl had {found_bytes} bytes, of which the first {kept_bytes} were valid up to this \
                     tick; {written_bytes} bytes were rewritten from the journal. If another program rotates or \
                     changes the file, configure it to work on a copy"
                )
            }
            RunEvent::Resumed {
                tick,
                checkpoint,
                cut_bytes,
                reexecuted,
                ms,
            } => {
                write!(f, "tick {tick}: run resumed after {ms:.1} ms: ")?;
                write_base(f, *checkpoint)?;
                write!(
                    f,
                    ", {reexecuted} ticks re-executed, none lost, {cut_bytes} bytes truncated from the journal"
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
                "model {model}: requests are not batched, because the probe failed: {detail}"
            ),
            RunEvent::Verdict { tick, text } => write!(f, "tick {tick}: verdict: {text}"),
            RunEvent::Unreadable { line, reason } => {
                write!(f, "line {line} cannot be read: {reason}")
            }
        }
    }
}

impl RunEvent {
    /// The event of a refused provider.
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
            | RunEvent::HostRestarted { tick, .. }
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

/// The file of the events, to append to.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: Arc<dyn File>,
    /// True if the file may end within a line.
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
            true => Err(no_space_error()),
        });
        whole.map_err(RunDirError::io("write", &self.path))
    }

    /// The events of a run, in order. An incomplete last line is being written, or its writer died.
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
