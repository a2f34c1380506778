//! Errors of run directories.

use crate::record::Digest;
use crate::record::hex;
use shm_protocol::id::Tick;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use thiserror::Error;

/// An error of a run directory.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum RunDirError {
    /// Another process has it: exit code 4.
    #[error("{path:?} is in use by {}; wait for it, stop it, or choose another directory with --dir", holder_or_unknown(.holder))]
    InUse { path: PathBuf, holder: String },
    /// It holds a run already.
    #[error(
        "{path:?} already holds a run, {state}; `lockstep resume {}` would {}; to start a new run, choose another directory with --dir", path.display(), .state.resume()
    )]
    AlreadyARun { path: PathBuf, state: RunState },
    /// It holds other files and no run.
    #[error(
        "{path:?} is not empty and holds no run (it contains {entry:?}); choose an empty or a new directory with --dir"
    )]
    NotEmpty { path: PathBuf, entry: String },
    /// It holds no run.
    #[error("{path:?} holds no run: it has no folder `journal`; name the directory of a run")]
    NotARun { path: PathBuf },
    /// A file or folder could not be used.
    #[error("cannot {action} {path:?}: {source}{}", io_hint(.source))]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A component or model is missing.
    #[error("{file:?} is missing, a component or model of the run; copy the whole run directory")]
    ObjectMissing { file: PathBuf },
    /// A component or model does not have the digest in its name.
    #[error("{file:?} is damaged: its digest is {}, not {}; restore the file from a backup", hex(.found), hex(.expected))]
    ObjectDamaged {
        file: PathBuf,
        expected: Digest,
        found: Digest,
    },
    /// `launch.json` is not what it should be.
    #[error("{path:?} is not a valid launch file: {source}; restore it from a backup")]
    Launch {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// The outbox and the journal do not agree.
    #[error("{path:?} differs from the journal at byte {offset}, line {line}: {reason}")]
    Outbox {
        path: PathBuf,
        offset: u64,
        line: u64,
        reason: String,
    },
    /// Another process has changed the outbox during the run.
    #[error(
        "{path:?} has {bytes} bytes, and the run has written {written}: another program has truncated, replaced or changed it during the run. Configure log rotation to copy the file; `lockstep resume` rewrites it from the journal"
    )]
    OutboxAltered {
        path: PathBuf,
        bytes: u64,
        written: u64,
    },
    /// The outbox could not be written before.
    #[error("{path:?} takes no more lines after a failed write")]
    OutboxPoisoned { path: PathBuf },
}

/// The progress of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// All requested ticks are done.
    Finished {
        /// The last tick.
        ticks: Tick,
    },
    /// It ended in another way, or its supervisor died.
    Interrupted {
        /// The last whole tick.
        ticks: Tick,
        /// The last requested tick, if there is one.
        until: Option<Tick>,
    },
    /// Its journal is not whole.
    Damaged {
        /// The error.
        reason: String,
    },
}

impl RunState {
    /// The effect of resuming, as in "`lockstep resume` would ...".
    fn resume(&self) -> String {
        match self {
            RunState::Finished { .. } => "have nothing to do without a larger --ticks".to_owned(),
            RunState::Interrupted {
                ticks,
                until: Some(until),
            } => {
                format!("continue with tick {}, up to tick {until}", ticks.next())
            }
            RunState::Interrupted { ticks, until: None } => {
                format!("continue with tick {}", ticks.next())
            }
            RunState::Damaged { .. } => "refuse it".to_owned(),
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunState::Finished { ticks } => write!(f, "finished with tick {ticks}"),
            RunState::Interrupted { ticks, .. } => write!(f, "stopped after tick {ticks}"),
            RunState::Damaged { reason } => write!(f, "with a damaged journal ({reason})"),
        }
    }
}

impl RunDirError {
    /// True if another process holds the directory.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, RunDirError::InUse { .. })
    }

    /// True if the directory is not as it was written.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        use RunDirError::{ObjectDamaged, ObjectMissing, Outbox, OutboxAltered};
        matches!(
            self,
            ObjectMissing { .. } | ObjectDamaged { .. } | Outbox { .. } | OutboxAltered { .. }
        )
    }

    /// For `map_err`: an error about `action` at `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
        let path = path.to_path_buf();
        move |source| RunDirError::Io {
            action,
            path,
            source,
        }
    }
}

fn io_hint(source: &io::Error) -> &'static str {
    use io::ErrorKind::{
        NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match source.kind() {
        StorageFull | QuotaExceeded => "; free some disk space",
        PermissionDenied | ReadOnlyFilesystem => {
            "; check its permissions, or choose another directory with --dir"
        }
        NotADirectory => "; name a directory",
        _ => "",
    }
}

fn holder_or_unknown(holder: &str) -> &str {
    if holder.is_empty() {
        "another process"
    } else {
        holder
    }
}
