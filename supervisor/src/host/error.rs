//! Why the hosts of a run cannot go on.

use super::lifecycle::IllegalTransition;
use super::pool::PoolError;
use super::process::SpawnError;
use nix::sys::signal::Signal;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::codec::{self, DecodeError};
use shm_protocol::id::HostId;
use shm_protocol::ring::RingViolation;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use thiserror::Error;

/// Which kind of host it is, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// It runs agents.
    Agents,
    /// It runs models.
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
    /// Waiting failed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The folder for the hosts' sockets could not be made.
    #[error(
        "a temporary folder for the control channels could not be made: {0}; set TMPDIR to a writable folder with a short path"
    )]
    Folder(io::Error),
    /// A host's ring holds what no sound host writes.
    #[error("host {host} wrote garbage into its ring: {violation}")]
    Garbage {
        /// Whose ring.
        host: HostId,
        /// What is wrong with it.
        violation: RingViolation,
    },
    /// There is no living incarnation of the host.
    #[error("host {host} is not running")]
    Gone {
        /// Which.
        host: HostId,
    },
    /// A host process is gone.
    #[error("{kind} {host} {}{}", ending(*status), quoted(stderr_tail))]
    Died {
        /// Its kind.
        kind: HostKind,
        /// Which.
        host: HostId,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error.
        stderr_tail: String,
    },
    /// A host said why it cannot go on.
    #[error("{message}")]
    Failed {
        /// Whose fault it is.
        blame: Blame,
        /// What it said.
        message: String,
    },
    /// No host answered or reported progress for too long.
    #[error(
        "no host has answered or reported progress for {seconds} s; if the machine is busy or a model very large, raise `load_ms`: in the fleet file before a run begins, with `lockstep resume DIR --load-ms N` after that (`--deadline-ms` of `lockstep infer` and `generate`)"
    )]
    Silent {
        /// For how long.
        seconds: f64,
    },
    /// A host's record cannot be decoded.
    #[error("{kind} {host} sent a bad record: {source}")]
    Decode {
        /// Its kind.
        kind: HostKind,
        /// Which.
        host: HostId,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A host sent a record that has no place now.
    #[error("{kind} {host} sent a record of kind {record} out of place")]
    OutOfPlace {
        /// Its kind.
        kind: HostKind,
        /// Which.
        host: HostId,
        /// Kind of the record.
        record: u16,
    },
    /// A host speaks another version of the messages.
    #[error(
        "{kind} {host} speaks version {theirs} of the protocol, not {}",
        codec::VERSION
    )]
    Version {
        /// Its kind.
        kind: HostKind,
        /// Which.
        host: HostId,
        /// Its version.
        theirs: u16,
    },
    /// A moment came out of its order; a bug of ours.
    #[error(transparent)]
    Lifecycle(#[from] IllegalTransition),
    /// Somebody asked for the end before the run began.
    #[error("stopped before the first tick")]
    Stopped,
}

impl HostSetError {
    /// Whether a host was lost, and another one may do better.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            HostSetError::Died { .. }
            | HostSetError::Silent { .. }
            | HostSetError::Garbage { .. }
            | HostSetError::Gone { .. }
            | HostSetError::Decode { .. }
            | HostSetError::OutOfPlace { .. }
            | HostSetError::Spawn(SpawnError::Connect { .. }) => true,
            HostSetError::Spawn(_)
            | HostSetError::Pool(_)
            | HostSetError::Folder(_)
            | HostSetError::Failed { .. }
            | HostSetError::Version { .. }
            | HostSetError::Lifecycle(_)
            | HostSetError::Stopped => false,
        }
    }
}

/// The exit code of a host that blames the machine.
const MACHINE: i32 = 5;

/// Whether a process ended by a fault of its own. Other signals come from outside: from a person, or from a kernel that
/// is short of memory. They say nothing about what the process worked on.
#[must_use]
pub fn is_crash(status: ExitStatus) -> bool {
    const FAULTS: [Signal; 7] = [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ];
    let is_fault = |signal| FAULTS.iter().any(|fault| *fault as i32 == signal);
    match status.signal() {
        Some(signal) => is_fault(signal),
        None => status.code() != Some(MACHINE),
    }
}

/// How a process ended, in words that follow its name.
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
