//! This binary, open for the whole run.
//!
//! Hosts are the same binary in another role. They start from a descriptor and
//! not from a path, so a binary that is replaced or deleted while a run goes on
//! changes nothing.

use crate::sys::{descriptor_path, duplicate_from, own_executable};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The least number of the binary's descriptor. Hosts get descriptors at fixed lower numbers, which would overwrite it
/// before the binary is started.
const LEAST_DESCRIPTOR: i32 = 64;

/// The binary that hosts are started from.
#[derive(Debug)]
pub struct HostProgram {
    binary: OwnedFd,
}

impl HostProgram {
    /// The binary that runs now.
    ///
    /// # Errors
    /// When the file cannot be opened, as where there is no `/proc`.
    pub fn current() -> io::Result<HostProgram> {
        HostProgram::open(own_executable())
    }

    /// Another binary that knows the roles of [`shm_protocol::boot::Role`].
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: PathBuf) -> io::Result<HostProgram> {
        let file = File::open(path)?;
        Ok(HostProgram {
            binary: duplicate_from(&file, LEAST_DESCRIPTOR)?,
        })
    }

    /// A path that names the open binary in a process that was just forked from this one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        descriptor_path(&self.binary)
    }
}
