//! Event counters, the supervisor's bell: a descriptor that is readable once it was signalled, and can be waited for
//! together with others.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// An event that was not signalled.
pub(crate) fn create() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes the event readable.
pub(crate) fn signal(event: impl AsFd) {
    // The counter is full after 2^64 - 2 signals, or nobody waits any more. Neither needs a signal.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// Makes the event unreadable.
pub(crate) fn reset(event: impl AsFd) {
    // Nothing to read is the usual case.
    let _ = rustix::io::read(event, &mut [0; 8]);
}
