//! Why there is no link.

use std::io;
use thiserror::Error;

/// Why a link cannot be made or attached.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The system refuses, most often for lack of memory.
    #[error(
        "cannot {action} the {segment} memory of a host, {bytes} bytes: {source}; smaller rings need less memory"
    )]
    System {
        /// What was tried.
        action: &'static str,
        /// Which of the two segments, or the bell.
        segment: &'static str,
        /// How large it is.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The descriptor is not the memory that a supervisor makes.
    #[error(
        "the {segment} memory is not that of a supervisor: {reason}; hosts are started by the supervisor only"
    )]
    Foreign {
        /// Which of the two segments.
        segment: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}
