//! Errors of creating and attaching a link.

use std::io;
use thiserror::Error;

/// A link that cannot be created or attached.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The system refuses an operation, most often for lack of memory.
    #[error(
        "cannot {action} the {segment} memory of a host, {bytes} bytes: {source}; smaller rings need less memory"
    )]
    System {
        /// The operation.
        action: &'static str,
        /// The segment, or the bell.
        segment: &'static str,
        /// Its size.
        bytes: usize,
        /// The system's error.
        source: io::Error,
    },
    /// The descriptor is not a segment of a supervisor.
    #[error(
        "the {segment} memory was not created by a supervisor: {reason}; hosts are started by the supervisor only"
    )]
    Foreign {
        /// The segment.
        segment: &'static str,
        /// The violated property.
        reason: &'static str,
    },
}
