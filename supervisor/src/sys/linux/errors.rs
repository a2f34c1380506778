//! Errors as the system would give them, for injected faults and for calls that stop short.

use rustix::io::Errno;
use std::io;

/// `EIO`: the device failed.
#[must_use]
pub fn input_output_error() -> io::Error {
    Errno::IO.into()
}

/// `ENOSPC`: the disk is full.
#[must_use]
pub fn no_space_error() -> io::Error {
    Errno::NOSPC.into()
}

/// `ELOOP`: a path has too many symbolic links.
#[must_use]
pub fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}
