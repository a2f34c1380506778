//! Sealed memory, which cannot be changed any more. It passes components and models to a host.

use super::mapping::{Access, Mapping};
use super::memfd::{RESIZE_SEALS, create, is_sealed, seal};
use rustix::fs::{SealFlags, fstat};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::slice;

const ALL_SEALS: SealFlags = RESIZE_SEALS.union(SealFlags::WRITE);

/// A memfd with these bytes one after the other, fully sealed.
///
/// # Errors
/// When the system lacks memory or descriptors.
pub fn sealed_memory(name: &str, parts: &[&[u8]]) -> io::Result<OwnedFd> {
    let bytes = parts.iter().map(|part| part.len() as u64).sum();
    let mut file = File::from(create(name, bytes)?);
    parts.iter().try_for_each(|part| file.write_all(part))?;
    seal(&file, ALL_SEALS)?;
    Ok(file.into())
}

/// A fully sealed memfd, mapped for reading.
#[derive(Debug)]
pub struct SealedMap {
    /// `None` if it is empty, because an empty range cannot be mapped.
    mapping: Option<Mapping>,
}

impl SealedMap {
    /// Maps a descriptor.
    ///
    /// # Errors
    /// When it is not sealed against writing and changes of size, or cannot be mapped.
    pub fn open(fd: OwnedFd) -> io::Result<SealedMap> {
        if !is_sealed(&fd, ALL_SEALS) {
            let reason = "the memory is not sealed against writing and changes of size";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        let bytes = usize::try_from(fstat(&fd)?.st_size).map_err(io::Error::other)?;
        let mapping = if bytes == 0 {
            None
        } else {
            Some(Mapping::new(&fd, bytes, Access::Read)?)
        };
        Ok(SealedMap { mapping })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.mapping {
            None => &[],
            // SAFETY: the mapping is as long and outlives the slice. The seals, which cannot be removed, prevent
            // every write and truncation of the memory, and can only be set while no writable mapping exists.
            Some(mapping) => unsafe {
                slice::from_raw_parts(mapping.start().as_ptr(), mapping.bytes())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{Errno, pwrite};

    #[test]
    fn parts_lie_one_after_the_other_and_cannot_be_changed() {
        let fd = sealed_memory("test", &[b"one", b"", b"two"]).expect("memory");
        assert_eq!(pwrite(&fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        assert_eq!(SealedMap::open(fd).expect("sealed").bytes(), b"onetwo");
    }

    #[test]
    fn nothing_is_a_memory_too() {
        let fd = sealed_memory("test", &[]).expect("memory");
        assert_eq!(SealedMap::open(fd).expect("sealed").bytes(), b"");
    }

    #[test]
    fn memory_that_can_still_be_written_is_refused() {
        let fd = create("test", 64).expect("memory");
        seal(&fd, SealFlags::SHRINK | SealFlags::GROW).expect("sealing");
        assert_eq!(
            SealedMap::open(fd).expect_err("not sealed").kind(),
            io::ErrorKind::PermissionDenied
        );
        let file = File::open("/proc/self/exe").expect("a file");
        assert!(SealedMap::open(file.into()).is_err(), "a file has no seals");
    }
}
