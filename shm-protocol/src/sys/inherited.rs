//! Inherited descriptors.

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Descriptors that this process has taken already.
static TAKEN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Takes the descriptor of this number and closes it on exec.
///
/// Only for numbers that the parent passes to this process, and before any other descriptor is opened.
///
/// # Errors
/// When it is not open, or was taken before.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if number < 0 || taken.contains(&number) {
        return Err(io::Error::from(rustix::io::Errno::BADF));
    }
    // SAFETY: the number is not -1, and the borrow ends with this function. A number that is not open is answered
    // by an error of the call it is used in.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_getfd(descriptor.as_fd())?;
    fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    taken.insert(number);
    // SAFETY: the calls above have shown that it is open, and each number is taken only once. The caller guarantees
    // that the parent has passed it, so that it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
