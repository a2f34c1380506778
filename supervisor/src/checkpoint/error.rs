//! What can be wrong with a checkpoint. None of it ends a run: an older one
//! serves, or the beginning.

use crate::journal::{RunId, hex};
use crate::record::Digest;
use shm_protocol::id::{AgentId, Tick};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a checkpoint cannot be used or made.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The disk refuses.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that should be there is not.
    #[error("{path:?} is missing")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was written.
    #[error("{path:?} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It was copied here from another run.
    #[error("{path:?} belongs to run {found}, and this is run {expected}")]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// Its run.
        found: RunId,
        /// This run.
        expected: RunId,
    },
    /// It was made by another build, whose agents may keep their state in another way.
    #[error("{path:?} was made by {found}, and this is {expected}")]
    OtherBuild {
        /// The file.
        path: PathBuf,
        /// Who made it.
        found: String,
        /// Who reads it.
        expected: String,
    },
    /// A page is not what its digest says.
    #[error("page {slot} of {path:?} is damaged: its digest is {}, not {}", hex(.found), hex(.expected))]
    Page {
        /// The file.
        path: PathBuf,
        /// Which page of it.
        slot: u32,
        /// The digest that was noted.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A host said something that cannot be.
    #[error("the state of agent {agent} after tick {tick} is refused: {reason}")]
    State {
        /// The agent.
        agent: AgentId,
        /// The tick.
        tick: Tick,
        /// What is wrong with it.
        reason: String,
    },
}

impl CheckpointError {
    /// For `map_err` where a file is opened that may be gone.
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
