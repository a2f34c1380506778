//! Why this host cannot go on, and whose fault that is.

use crate::library::LibraryError;
use crate::sys::library::with_causes;
use shm_protocol::agent_to_supervisor::{Blame, FAILURE, Failure};
use shm_protocol::boot::BadHostArguments;
use shm_protocol::codec::DecodeError;
use shm_protocol::host_process::{BeginError, ChannelClosed};
use shm_protocol::id::Tick;
use shm_protocol::link::{HostLink, LinkError};
use shm_protocol::ring::{PushError, RecordHeader, RingViolation};
use std::io::{self, Write};
use thiserror::Error;

/// Why this host cannot go on.
#[derive(Debug, Error)]
pub enum HostError {
    /// It was not started by the supervisor.
    #[error(transparent)]
    Arguments(#[from] BadHostArguments),
    /// A first step of every host failed.
    #[error("the inference host cannot begin: {0}")]
    Begin(#[from] BeginError),
    /// The supervisor is gone.
    #[error("the inference host ends: {0}")]
    Ended(#[from] ChannelClosed),
    /// Its memory is not what the supervisor promises.
    #[error("the inference host cannot attach its memory: {0}")]
    Link(#[from] LinkError),
    /// The models' memory is not what the supervisor promises.
    #[error("the inference host cannot map the memory with the models: {0}")]
    Artifacts(io::Error),
    /// There is no thread for requests.
    #[error("the inference host cannot start its thread for requests: {0}")]
    Requests(io::Error),
    /// The engine's library is not usable.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The fleet asks for no threads.
    #[error("intra_threads is 0; it must be at least 1, because the number may change bits")]
    NoThreads,
    /// The ring down carries what the supervisor never writes.
    #[error("the ring down cannot be read: {0}")]
    Violation(#[from] RingViolation),
    /// A record cannot be passed up.
    #[error("a record cannot be passed up: {0}")]
    Push(#[from] PushError),
    /// A record does not spell its message.
    #[error("a record of kind {kind} cannot be understood: {source}")]
    Decode {
        /// The record's kind.
        kind: u16,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A batch has failed, and who ran it computes no more.
    #[error("model `{model}` has failed ({message}), and {provider} computes no more: {reason}")]
    ProviderLost {
        /// The model's name.
        model: String,
        /// Who ran it.
        provider: String,
        /// What became of the batch.
        message: String,
        /// What became of the proof.
        reason: String,
    },
    /// Something came that has no place here.
    #[error("the supervisor sent {got} where {expected} belongs")]
    Protocol {
        /// What belongs here.
        expected: &'static str,
        /// What came.
        got: String,
    },
}

impl HostError {
    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            HostError::Library(LibraryError::Memory(_)) | HostError::Requests(_) => Blame::Machine,
            HostError::Library(_) | HostError::NoThreads => Blame::Input,
            _ => Blame::Us,
        }
    }

    /// Tells the supervisor, if it can still be told, and people; gives the exit code.
    #[must_use]
    pub fn report(&self, link: Option<&mut HostLink>) -> u8 {
        let (blame, message) = (self.blame(), with_causes(self));
        // Standard error may be closed or full; the exit code must still come out.
        let _ = writeln!(io::stderr(), "lockstep inference host: {message}");
        // A ring that is violated is not written to either.
        if let Some(link) =
            link.filter(|_| !matches!(self, HostError::Violation(_) | HostError::Push(_)))
        {
            let failure = shm_protocol::codec::encode(&Failure { blame, message });
            let _ = link.push(&RecordHeader::new(FAILURE, Tick::ZERO), &failure);
        }
        exit_code(blame)
    }
}

/// The exit code of a process that ended through this fault.
#[must_use]
pub fn exit_code(blame: Blame) -> u8 {
    match blame {
        Blame::Input => 2,
        Blame::Demand => 3,
        Blame::Machine => 5,
        Blame::Us => 70,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_wrong_library_is_the_users_fault_and_the_rest_is_ours() {
        let error = crate::library::CheckedLibrary::open(Some(Path::new("/nowhere")))
            .expect_err("there is none");
        let error = HostError::from(error);
        assert_eq!(error.blame(), Blame::Input);
        assert_eq!(error.report(None), 2);
        let error = HostError::Protocol {
            expected: "a command",
            got: "nothing".to_owned(),
        };
        assert_eq!(error.report(None), 70);
    }
}
