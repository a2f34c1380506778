//! What goes wrong while the event loop deals with one host.

use crate::error::RunError;
use crate::host::HostSetError;
use crate::tick::Violation;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::ring::PushError;

/// What goes wrong while the event loop deals with one host.
#[derive(Debug)]
pub(super) enum LoopError {
    /// The host has broken the protocol: its incarnation ends, and it counts as a crash.
    Host(String),
    /// The host is gone through no fault of its own, or for an unknown reason: its incarnation ends.
    Gone(String),
    /// The run ends.
    Run(RunError),
}

impl From<RunError> for LoopError {
    fn from(error: RunError) -> LoopError {
        LoopError::Run(error)
    }
}

impl From<HostSetError> for LoopError {
    fn from(error: HostSetError) -> LoopError {
        let is_machines = matches!(
            error,
            HostSetError::Failed {
                blame: Blame::Machine,
                ..
            }
        );
        match error {
            error if is_machines => LoopError::Gone(error.to_string()),
            HostSetError::InvalidRing { .. }
            | HostSetError::Decode { .. }
            | HostSetError::UnexpectedRecord { .. }
            | HostSetError::Version { .. }
            | HostSetError::Failed { .. } => LoopError::Host(error.to_string()),
            other => LoopError::Gone(other.to_string()),
        }
    }
}

impl From<PushError> for LoopError {
    fn from(source: PushError) -> LoopError {
        LoopError::Host(format!("invalid ring data: {source}"))
    }
}

impl From<Violation> for LoopError {
    fn from(violation: Violation) -> LoopError {
        LoopError::Host(format!("protocol violation: {violation}"))
    }
}
