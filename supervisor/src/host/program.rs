//! This binary, held open for the whole run.
//!
//! Hosts are the same binary in another role. They start from a descriptor and
//! not from a path, so a binary that is replaced or deleted while a run goes on
//! changes nothing.

use rustix::io::fcntl_dupfd_cloexec;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Descriptors below this number are given to hosts at fixed places; the
/// program's own must not be one of them, or it would be overwritten before it is started.
const ABOVE_BOOT_DESCRIPTORS: i32 = 64;

/// A binary to start hosts from.
#[derive(Debug)]
pub struct HostProgram {
    binary: OwnedFd,
}

impl HostProgram {
    /// The binary that runs now.
    ///
    /// # Errors
    /// What the system says, where there is no `/proc` for example.
    pub fn current() -> io::Result<HostProgram> {
        HostProgram::open("/proc/self/exe".into())
    }

    /// Another binary that knows the roles of [`shm_protocol::boot::Role`].
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: PathBuf) -> io::Result<HostProgram> {
        let file = File::open(path)?;
        Ok(HostProgram {
            binary: fcntl_dupfd_cloexec(&file, ABOVE_BOOT_DESCRIPTORS)?,
        })
    }

    /// A path that names the held binary in a process that was just forked from this one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.binary.as_raw_fd()))
    }
}
