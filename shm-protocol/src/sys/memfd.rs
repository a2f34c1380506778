//! Anonymous memory with a descriptor, and its seals.

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, ftruncate,
    memfd_create,
};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The size can never change, so that a mapping never loses pages under its reader.
pub(crate) const RESIZE_SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Memory of this size whose pages exist, so that lack of memory is an error here and not a SIGBUS later.
pub(crate) fn create(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag.
        Err(Errno::INVAL) => memfd_create(name, flags)?,
        fd => fd?,
    };
    ftruncate(&fd, bytes)?;
    if bytes > 0 {
        fallocate(&fd, FallocateFlags::empty(), 0, bytes)?;
    }
    Ok(fd)
}

pub(crate) fn seal(fd: impl AsFd, seals: SealFlags) -> io::Result<()> {
    Ok(fcntl_add_seals(fd, seals)?)
}

/// Whether all of `seals` are on the descriptor. What is no memfd has none.
pub(crate) fn is_sealed(fd: impl AsFd, seals: SealFlags) -> bool {
    fcntl_get_seals(fd).is_ok_and(|found| found.contains(seals))
}
