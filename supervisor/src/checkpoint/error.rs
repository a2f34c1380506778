//! Errors of checkpoints. None of them ends a run: it falls back to an older
//! checkpoint, or to the beginning.

use crate::record::Digest;
use crate::record::{RunId, hex};
use shm_protocol::id::{AgentId, Tick};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// An error of a checkpoint.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum CheckpointError {
    /// The disk refuses.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file that should be there is not.
    #[error("{path:?} is missing")]
    Missing { path: PathBuf },
    /// The file is not what was written.
    #[error("{path:?} is damaged: {reason}")]
    Damaged { path: PathBuf, reason: &'static str },
    /// It was copied here from another run.
    #[error("{path:?} belongs to run {found}, and this is run {expected}")]
    OtherRun {
        path: PathBuf,
        found: RunId,
        expected: RunId,
    },
    /// It was made by another build, whose agents may keep their state in another way.
    #[error("{path:?} was made by {found}, and this is {expected}")]
    OtherBuild {
        path: PathBuf,
        found: String,
        expected: String,
    },
    /// A page does not have its digest.
    #[error("page {slot} of {path:?} is damaged: its digest is {}, not {}", hex(.found), hex(.expected))]
    Page {
        path: PathBuf,
        slot: u32,
        expected: Digest,
        found: Digest,
    },
    /// A host sent an impossible state.
    #[error("invalid state of agent {agent} after tick {tick}: {reason}")]
    State {
        agent: AgentId,
        tick: Tick,
        reason: String,
    },
}

impl CheckpointError {
    /// For `map_err` where a file is opened that may be missing.
    pub(super) fn opening(path: &std::path::Path) -> impl Fn(io::Error) -> CheckpointError + use<> {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => CheckpointError::Missing { path: path.clone() },
            _ => CheckpointError::io("read", &path)(source),
        }
    }

    /// For `map_err`.
    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl Fn(io::Error) -> CheckpointError + use<> {
        let path = path.to_path_buf();
        move |source| CheckpointError::Io {
            action,
            path: path.clone(),
            source,
        }
    }
}
