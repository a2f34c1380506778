//! Descriptors that were open before this process began.

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// Descriptors that this process has taken already.
static TAKEN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Takes the descriptor of this number and keeps it from children.
///
/// Only for numbers that the parent has promised to this process, before anything else could have opened them.
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
    // SAFETY: it is open, as the calls above have shown, and each number is given away only once. That no other
    // owner has it is the promise of the parent, which the caller vouches for.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
