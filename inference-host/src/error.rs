//! Errors that end this host, and who is to blame for each.

use crate::error_chain::with_causes;
use crate::library::LibraryError;
use shm_protocol::agent_to_supervisor::{Blame, FAILURE, Failure};
use shm_protocol::boot::BadHostArguments;
use shm_protocol::codec::DecodeError;
use shm_protocol::host_process::{BeginError, ChannelClosed};
use shm_protocol::id::Tick;
use shm_protocol::link::{HostLink, LinkError};
use shm_protocol::ring::{PushError, RecordHeader, RingViolation};
use std::io::{self, Write};
use thiserror::Error;

/// An error that ends this host.
#[derive(Debug, Error)]
pub enum InferenceHostError {
    /// It was not started by the supervisor.
    #[error(transparent)]
    Arguments(#[from] BadHostArguments),
    /// A first step of every host failed.
    #[error("the inference host cannot start: {0}")]
    Begin(#[from] BeginError),
    /// The supervisor is gone.
    #[error("the inference host lost its supervisor: {0}")]
    Ended(#[from] ChannelClosed),
    /// The rings are not what the protocol says.
    #[error("the inference host cannot attach its memory: {0}")]
    Link(#[from] LinkError),
    /// The shared memory with the models is not what the protocol says.
    #[error("the inference host cannot map the memory with the models: {0}")]
    Artifacts(io::Error),
    /// The system has no thread for requests.
    #[error(
        "the inference host cannot start its thread for requests: {0}; raise the limit on threads"
    )]
    RequestThread(io::Error),
    /// The engine's library cannot be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The fleet has zero threads.
    #[error(
        "intra_op_threads is 0; set it to at least 1 (there is no default for all cores, because the number may change \
         bits)"
    )]
    NoThreads,
    /// The ring from the supervisor has invalid data.
    #[error("the ring from the supervisor has invalid data: {0}")]
    Violation(#[from] RingViolation),
    /// A record cannot be sent to the supervisor.
    #[error("a record cannot be sent to the supervisor: {0}")]
    Push(#[from] PushError),
    /// A record cannot be decoded.
    #[error("a record of kind {kind} cannot be decoded: {source}")]
    Decode {
        /// The record's kind.
        kind: u16,
        /// The error of the codec.
        source: DecodeError,
    },
    /// A batch has failed, and its provider does not work any more.
    #[error(
        "model `{model}` has failed ({message}), and its provider {provider} does not work any more: {reason}"
    )]
    ProviderLost {
        /// The model's name.
        model: String,
        /// Its provider.
        provider: String,
        /// The failure of the batch.
        message: String,
        /// The failure of the provider's self-test.
        reason: String,
    },
    /// The supervisor sent something unexpected.
    #[error("protocol violation: the supervisor sent {got} instead of {expected}")]
    Protocol {
        /// The expected message.
        expected: &'static str,
        /// The message that came.
        got: String,
    },
}

impl InferenceHostError {
    /// The party to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            InferenceHostError::Library(LibraryError::Memory(_))
            | InferenceHostError::RequestThread(_) => Blame::Machine,
            InferenceHostError::Library(_) | InferenceHostError::NoThreads => Blame::Input,
            _ => Blame::Us,
        }
    }

    /// Reports the error to the supervisor, if the link still works, and on standard error; gives the exit code.
    #[must_use]
    pub fn report(&self, link: Option<&mut HostLink>) -> u8 {
        let (blame, message) = (self.blame(), with_causes(self));
        // Standard error may be closed or full; the exit code must still come out.
        let _ = writeln!(io::stderr(), "lockstep inference host: {message}");
        // After a violation of a ring, the other ring is not trusted either.
        if let Some(link) = link.filter(|_| {
            !matches!(
                self,
                InferenceHostError::Violation(_) | InferenceHostError::Push(_)
            )
        }) {
            let failure = shm_protocol::codec::encode(&Failure { blame, message });
            let _ = link.push(&RecordHeader::new(FAILURE, Tick::ZERO), &failure);
        }
        blame.exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_wrong_library_is_bad_input_and_a_violation_is_internal() {
        let error = crate::library::CheckedLibrary::open(Some(Path::new("/nowhere")))
            .expect_err("there is none");
        let error = InferenceHostError::from(error);
        assert_eq!(error.blame(), Blame::Input);
        assert_eq!(error.report(None), 2);
        let error = InferenceHostError::Protocol {
            expected: "a command",
            got: "nothing".to_owned(),
        };
        assert_eq!(error.report(None), 70);
    }
}
