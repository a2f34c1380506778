//! Failures of hosts.

use super::lifecycle::IllegalTransition;
use super::pool::PoolError;
use super::spawn::SpawnError;
use crate::sys::is_fault_signal;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::codec::{self, DecodeError};
use shm_protocol::id::HostId;
use shm_protocol::ring::RingViolation;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use thiserror::Error;

/// The kind of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// Runs agents.
    Agents,
    /// Runs models.
    Inference,
}

impl std::fmt::Display for HostKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            HostKind::Agents => "agent host",
            HostKind::Inference => "inference host",
        })
    }
}

/// Why the hosts of a run cannot go on.
#[derive(Debug, Error)]
pub enum HostSetError {
    /// A host could not be started or reached.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The supervisor cannot wait for hosts.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The folder for the hosts' sockets could not be created.
    #[error(
        "a temporary folder for the control channels could not be created: {0}; set TMPDIR to a writable folder with a short path"
    )]
    SocketDir(io::Error),
    /// A host's ring holds data that no correct host writes.
    #[error("host {host} wrote invalid ring data: {violation}")]
    InvalidRing {
        /// The host.
        host: HostId,
        /// The first rule of the ring that the data break.
        violation: RingViolation,
    },
    /// The host has no living incarnation.
    #[error("host {host} is not running")]
    Gone {
        /// The host.
        host: HostId,
    },
    /// A host process has ended.
    #[error("{kind} {host} {}{}", ending(*status), quoted(stderr_tail))]
    Died {
        /// Its kind.
        kind: HostKind,
        /// The host.
        host: HostId,
        /// The exit status of its process.
        status: ExitStatus,
        /// The end of its standard error.
        stderr_tail: String,
    },
    /// A host reported why it cannot go on.
    #[error("{message}")]
    Failed {
        /// The cause to blame.
        blame: Blame,
        /// Its message.
        message: String,
    },
    /// No host answered or reported progress in time.
    #[error(
        "timed out: timed out after {seconds} s waiting for any host; if the machine is busy or a model very large, raise `load_ms` in the fleet file of a new run, `--load-ms` of `lockstep resume`, or `--deadline-ms` of `lockstep infer` and `generate`"
    )]
    TimedOut {
        /// The timeout, in seconds.
        seconds: f64,
    },
    /// A host's record cannot be decoded.
    #[error("{kind} {host} sent a record that cannot be decoded: {source}")]
    Decode {
        /// Its kind.
        kind: HostKind,
        /// The host.
        host: HostId,
        /// The error.
        source: DecodeError,
    },
    /// A host sent a record that is not expected now.
    #[error("{kind} {host} sent an unexpected record of kind {record}")]
    UnexpectedRecord {
        /// Its kind.
        kind: HostKind,
        /// The host.
        host: HostId,
        /// The kind of the record.
        record: u16,
    },
    /// A host speaks another version of the protocol.
    #[error(
        "{kind} {host} uses version {theirs} of the protocol, not {}",
        codec::VERSION
    )]
    Version {
        /// Its kind.
        kind: HostKind,
        /// The host.
        host: HostId,
        /// Its version.
        theirs: u16,
    },
    /// A lifecycle event came out of order; an internal error.
    #[error(transparent)]
    Lifecycle(#[from] IllegalTransition),
    /// A stop signal came before the run began.
    #[error("stopped before the first tick")]
    Stopped,
}

impl HostSetError {
    /// Whether a host failed, so that a restart may help.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            HostSetError::Died { .. }
            | HostSetError::TimedOut { .. }
            | HostSetError::InvalidRing { .. }
            | HostSetError::Gone { .. }
            | HostSetError::Decode { .. }
            | HostSetError::UnexpectedRecord { .. }
            | HostSetError::Spawn(SpawnError::Connect { .. }) => true,
            HostSetError::Spawn(_)
            | HostSetError::Pool(_)
            | HostSetError::SocketDir(_)
            | HostSetError::Failed { .. }
            | HostSetError::Version { .. }
            | HostSetError::Lifecycle(_)
            | HostSetError::Stopped => false,
        }
    }
}

/// The exit code of a host that blames the machine.
const MACHINE_EXIT_CODE: i32 = 5;

/// Whether a process ended by a fault of its own. Other signals come from outside, as from a person or from a kernel that
/// is short of memory, and say nothing about what the process worked on.
#[must_use]
pub fn is_crash(status: ExitStatus) -> bool {
    match status.signal() {
        Some(signal) => is_fault_signal(signal),
        None => status.code() != Some(MACHINE_EXIT_CODE),
    }
}

/// The exit status of a process, in words that follow its name.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn quoted(stderr_tail: &str) -> String {
    if stderr_tail.is_empty() {
        String::new()
    } else {
        format!("; last stderr output: {stderr_tail}")
    }
}
