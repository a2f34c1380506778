//! What can be wrong with a run directory.

use crate::journal::hex;
use crate::record::Digest;
use shm_protocol::id::Tick;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use thiserror::Error;

/// Why a run directory cannot be used, or is not whole.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// Another process has it: exit code 4.
    #[error("{path:?} is in use by {}: wait for it, stop it, or take another directory with --dir", holder_or_unknown(.holder))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it, as in `pid 123`.
        holder: String,
    },
    /// It holds a run already.
    #[error(
        "{path:?} already holds a run, {state}; `lockstep resume {}` would {}; or name another directory with --dir, or look at this one with `lockstep inspect`", path.display(), .state.resume()
    )]
    AlreadyARun {
        /// The directory.
        path: PathBuf,
        /// How far the run is.
        state: RunState,
    },
    /// It holds something that is no run.
    #[error(
        "{path:?} is not empty and holds no run: {entry:?} is there; name an empty or a new directory with --dir"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first thing that is there.
        entry: String,
    },
    /// It holds no run.
    #[error("{path:?} holds no run: a run directory has a folder `journal`")]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error("cannot {action} {path:?}: {source}{}", io_hint(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A component or model is missing.
    #[error(
        "{file:?} is missing: it is a component or model of the run; copy the whole run directory"
    )]
    ObjectMissing {
        /// Where it should be.
        file: PathBuf,
    },
    /// A component or model is not what its name says.
    #[error("{file:?} is damaged: its digest is {}, not {}; take the file from a backup", hex(.found), hex(.expected))]
    ObjectDamaged {
        /// The file.
        file: PathBuf,
        /// The digest by its name.
        expected: Digest,
        /// The digest by its bytes.
        found: Digest,
    },
    /// `launch.json` is not what it should be.
    #[error("{path:?} cannot be read as a launch: {source}")]
    Launch {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The outbox and the journal do not agree.
    #[error("{path:?} does not agree with the journal at byte {offset}, line {line}: {reason}")]
    Outbox {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else has written to the outbox while the run went on.
    #[error(
        "{path:?} has {bytes} bytes, and this run has written {written}: something has cut, replaced or changed it while the run went on; let it be read or copied, not rotated. `lockstep resume` writes it whole again from the journal"
    )]
    OutboxAltered {
        /// The file.
        path: PathBuf,
        /// Its bytes; none when it is gone.
        bytes: u64,
        /// Bytes that were written to it.
        written: u64,
    },
    /// The outbox could not be written before.
    #[error("{path:?} takes no more lines, because writing it failed before")]
    OutboxPoisoned {
        /// The file.
        path: PathBuf,
    },
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// All ticks that were asked for are done.
    Finished {
        /// The last tick.
        ticks: Tick,
    },
    /// It ended in another way, or its supervisor died.
    Interrupted {
        /// The last whole tick.
        ticks: Tick,
        /// The last tick that was asked for, if there is one.
        until: Option<Tick>,
    },
    /// Its journal is not whole.
    Damaged {
        /// What is wrong.
        reason: String,
    },
}

impl RunState {
    /// What going on would do, as in "`lockstep resume` would ...".
    fn resume(&self) -> String {
        match self {
            RunState::Finished { .. } => {
                "have nothing to do, unless it is given more ticks".to_owned()
            }
            RunState::Interrupted {
                ticks,
                until: Some(until),
            } => {
                format!("go on at tick {}, up to tick {until}", ticks.next())
            }
            RunState::Interrupted { ticks, until: None } => {
                format!("go on at tick {}", ticks.next())
            }
            RunState::Damaged { .. } => "refuse it".to_owned(),
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunState::Finished { ticks } => write!(f, "which finished with tick {ticks}"),
            RunState::Interrupted { ticks, .. } => write!(f, "which stopped after tick {ticks}"),
            RunState::Damaged { reason } => write!(f, "whose journal is damaged ({reason})"),
        }
    }
}

impl RunDirError {
    /// Whether another process has the directory.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, RunDirError::InUse { .. })
    }

    /// Whether the directory is not as it was written.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        use RunDirError::{ObjectDamaged, ObjectMissing, Outbox, OutboxAltered};
        matches!(
            self,
            ObjectMissing { .. } | ObjectDamaged { .. } | Outbox { .. } | OutboxAltered { .. }
        )
    }

    /// Turns what the system said into an error about `action` at `path`.
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
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => "; free some space",
        PermissionDenied | ReadOnlyFilesystem => {
            "; check its permissions, or name another directory with --dir"
        }
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
