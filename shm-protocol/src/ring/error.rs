//! Errors at either end of a ring.

use crate::tensor::TensorError;
use thiserror::Error;

/// A record that can never be pushed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PushError {
    /// The payload can never fit, however empty the ring is.
    #[error(
        "a payload of {bytes} bytes does not fit a ring that takes {limit}; make the ring larger"
    )]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Maximum bytes of a payload of this ring.
        limit: usize,
    },
    /// The payload is not the tensor that the header describes.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The reader reports an impossible position.
    #[error(transparent)]
    Violation(#[from] RingViolation),
}

/// The peer wrote something that its end of the protocol never writes.
///
/// Its data can no longer be used, and every later call returns the same violation: end the host.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the peer violates the ring at byte {position}: {reason}")]
pub struct RingViolation {
    /// Position in the ring, counted from the first byte ever written.
    pub position: u64,
    /// The violated rule.
    pub reason: &'static str,
}
