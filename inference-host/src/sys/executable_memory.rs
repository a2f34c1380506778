//! Memory from which code may be loaded.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Attempts to seal the memory while the kernel says that it is busy.
const SEAL_ATTEMPTS: u32 = 20;

/// Sealed anonymous memory with `bytes`, from which code may be loaded.
///
/// # Errors
/// When the system lacks memory or descriptors.
pub(crate) fn executable_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and need none.
    let memory =
        memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    let memory = OwnedFd::from(file);
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    // While the kernel holds one of the pages for itself, as to move it, it refuses the seal against writing. It waits for
    // that itself, a tenth of a second each time.
    let mut attempts = 0;
    loop {
        attempts += 1;
        match fcntl_add_seals(&memory, seals) {
            Err(Errno::BUSY) if attempts < SEAL_ATTEMPTS => {}
            sealed => {
                sealed?;
                return Ok(memory);
            }
        }
    }
}

/// Path of an open file, valid in this process while it is open.
pub(crate) fn descriptor_path(descriptor: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}
