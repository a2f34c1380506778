//! Anonymous memory with a descriptor, and its seals.

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::io::{Errno, pread, pwrite};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The size can never change, so that a mapping never loses pages under its reader.
pub(crate) const RESIZE_SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Memory of this size with allocated pages, so that lack of memory is an error here and not a SIGBUS later.
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

/// True if the descriptor has all of `seals`. A descriptor that is not a memfd has none.
pub(crate) fn is_sealed(fd: impl AsFd, seals: SealFlags) -> bool {
    fcntl_get_seals(fd).is_ok_and(|found| found.contains(seals))
}

/// Bytes of a descriptor's file.
pub(crate) fn size(fd: impl AsFd) -> io::Result<u64> {
    u64::try_from(fstat(fd)?.st_size).map_err(io::Error::other)
}

/// Reads at a position and gives the number of bytes, fewer than asked for at the end of the file.
pub(crate) fn read_at(fd: impl AsFd, into: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(pread(fd, into, offset)?)
}

/// Writes at a position, for memory that [`create`] made: it takes all bytes at once.
pub(crate) fn write_at(fd: impl AsFd, bytes: &[u8], offset: u64) -> io::Result<()> {
    let written = pwrite(fd, bytes, offset)?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
