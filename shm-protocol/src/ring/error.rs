//! What can go wrong at either end of a ring.

use crate::tensor::TensorError;
use thiserror::Error;

/// Why a record cannot be pushed, now or ever.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PushError {
    /// The payload can never fit, however empty the ring is.
    #[error(
        "a payload of {bytes} bytes does not fit a ring that takes {limit}; make the ring larger"
    )]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Most bytes that a payload of this ring may have.
        limit: usize,
    },
    /// The payload is not the tensor that the header describes.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The reader says that it is where it cannot be.
    #[error(transparent)]
    Violation(#[from] RingViolation),
}

/// The peer wrote something that its end of the protocol never writes.
///
/// Nothing it says is worth anything any more, and every later call says the same: end the host.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the peer violates the ring at byte {position}: {reason}")]
pub struct RingViolation {
    /// Position in the ring, counted from the first byte ever written.
    pub position: u64,
    /// What is wrong there.
    pub reason: &'static str,
}
