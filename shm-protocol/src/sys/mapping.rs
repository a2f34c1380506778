//! A mapping of shared memory into this process.

use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

/// The access of this process to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A mapping of the first bytes of a file. It only returns raw pointers; their use depends on who else writes there.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: MmapRaw,
    access: Access,
}

impl Mapping {
    /// Maps and prefaults. The file must be at least as long, and keep its length: callers check the seals.
    pub(super) fn new(fd: impl AsFd, bytes: usize, access: Access) -> io::Result<Mapping> {
        let fd = fd.as_fd().as_raw_fd();
        let mut options = MmapOptions::new();
        options.len(bytes).populate();
        let memory = match access {
            Access::Read => options.map_raw_read_only(fd),
            Access::ReadWrite => options.map_raw(fd),
        }?;
        Ok(Mapping { memory, access })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        NonNull::new(self.memory.as_mut_ptr()).expect("a mapping is never at address zero")
    }

    pub(super) fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Bytes that this process may write: all or none.
    pub(super) fn writable_bytes(&self) -> usize {
        match self.access {
            Access::Read => 0,
            Access::ReadWrite => self.bytes(),
        }
    }
}
