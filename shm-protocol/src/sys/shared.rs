//! Shared memory as the ring uses it.
//!
//! Every access is checked against the length of the mapping, and every write against the writable length. A reference
//! to plain bytes is formed only for bytes that this end alone writes.

use super::copy::copy_lines;
use super::futex;
use super::mapping::{Access, Mapping};
use crate::ring::SegmentMemory;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;
use std::{io, slice};

/// A mapped segment. Clones share the mapping, which lives as long as any of them.
#[derive(Clone, Debug)]
pub struct SharedMemory {
    /// Start and lengths of the mapping, here as well, because every access needs them.
    start: NonNull<u8>,
    bytes: usize,
    writable_bytes: usize,
    /// Keeps the mapping alive.
    _mapping: Arc<Mapping>,
}

// SAFETY: the pointer is into the mapping, which is kept alive and may be used from any thread.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// Maps the first `bytes` of a descriptor that is sealed against changes of its size.
    pub(crate) fn map(fd: impl AsFd, bytes: usize, access: Access) -> io::Result<SharedMemory> {
        let mapping = Mapping::new(fd, bytes, access)?;
        Ok(SharedMemory {
            start: mapping.start(),
            bytes: mapping.bytes(),
            writable_bytes: mapping.writable_bytes(),
            _mapping: Arc::new(mapping),
        })
    }

    /// A pointer to bytes that the other end writes; only for reading.
    #[inline]
    pub(crate) fn pointer(&self, offset: usize, bytes: usize) -> *const u8 {
        check(offset, bytes, self.bytes);
        // SAFETY: the check keeps it within the mapping.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// A pointer to bytes that only this end writes.
    #[inline]
    pub(crate) fn own_pointer(&self, offset: usize, bytes: usize) -> *mut u8 {
        check(offset, bytes, self.writable_bytes);
        // SAFETY: the check keeps it within the mapping.
        unsafe { self.start.as_ptr().add(offset) }
    }

    #[inline]
    fn u64_at(&self, pointer: *const u8) -> &AtomicU64 {
        assert!(pointer.addr().is_multiple_of(8), "a word is aligned");
        // SAFETY: callers pass a pointer to eight bytes within the mapping, which outlives the reference, and it is
        // aligned. Every word that two processes use at once is only used through atomics. On a mapping that is
        // read-only it is only loaded, and the relaxed and acquire loads of a u64 never write.
        unsafe { AtomicU64::from_ptr(pointer.cast_mut().cast()) }
    }

    /// A word that this end alone writes, for as long as the process lives.
    pub(crate) fn word_for_good(&self, offset: usize) -> &'static AtomicU64 {
        let memory: &'static SharedMemory = Box::leak(Box::new(self.clone()));
        memory.u64_at(memory.own_pointer(offset, 8))
    }

    #[inline]
    fn u32_at(&self, pointer: *const u8) -> &AtomicU32 {
        assert!(pointer.addr().is_multiple_of(4), "a word is aligned");
        // SAFETY: as for `u64_at`, with four bytes.
        unsafe { AtomicU32::from_ptr(pointer.cast_mut().cast()) }
    }
}

/// Checks that a range lies within the first `limit` bytes.
#[inline]
fn check(offset: usize, bytes: usize, limit: usize) {
    let is_within = bytes <= limit && offset <= limit - bytes;
    assert!(
        is_within,
        "{bytes} bytes at {offset} are not within the {limit} bytes that this process may use"
    );
}

impl SegmentMemory for SharedMemory {
    #[inline]
    fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.u64_at(self.pointer(offset, 8)).load(order)
    }

    #[inline]
    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.u64_at(self.own_pointer(offset, 8)).store(value, order);
    }

    #[inline]
    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.u32_at(self.pointer(offset, 4)).load(order)
    }

    fn increment_u32(&self, offset: usize, order: Ordering) {
        self.u32_at(self.own_pointer(offset, 4)).fetch_add(1, order);
    }

    #[inline]
    fn fence(&self, order: Ordering) {
        fence(order);
    }

    #[inline]
    fn read_words<const N: usize>(&self, offset: usize) -> [u64; N] {
        let start = self.pointer(offset, 8 * N);
        let mut words = [0; N];
        for (at, word) in words.iter_mut().enumerate() {
            // Atomic, because another process may write here meanwhile.
            *word = self
                .u64_at(start.wrapping_add(8 * at))
                .load(Ordering::Relaxed);
        }
        words
    }

    #[inline]
    fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        let start = self.own_pointer(offset, 8 * N);
        for (at, word) in words.into_iter().enumerate() {
            self.u64_at(start.wrapping_add(8 * at))
                .store(word, Ordering::Relaxed);
        }
    }

    #[inline]
    fn read_bytes(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        let lines = bytes.next_multiple_of(64);
        let from = self.pointer(offset, lines);
        into.clear();
        into.reserve(lines);
        // SAFETY: the source is within the mapping, the destination has room for the lines and belongs to the caller,
        // who holds it alone. Afterwards its first `bytes` are initialised.
        unsafe {
            copy_lines(from, into.as_mut_ptr(), lines);
            into.set_len(bytes);
        }
    }

    #[inline]
    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let to = self.own_pointer(offset, bytes.len());
        // SAFETY: the destination is within the mapping, writable, and written by nobody but this end. It cannot
        // overlap with `bytes`, because no slice of the mapping is ever handed out.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn checksum(&self, offset: usize, bytes: usize) -> u32 {
        let start = self.own_pointer(offset, bytes);
        // SAFETY: within the mapping, which outlives the slice, and initialised, as all of a mapping is. Only this end
        // writes here: another process could only if it broke the rule that each segment has one writer, which the
        // supervisor, the one process that could, never does. This thread writes nothing while the slice lives.
        crc32c::crc32c(unsafe { slice::from_raw_parts(start, bytes) })
    }

    fn futex_wait(&self, offset: usize, expected: u32, timeout: Duration) {
        futex::wait(self.u32_at(self.pointer(offset, 4)), expected, timeout);
    }

    fn futex_wake(&self, offset: usize) {
        futex::wake(self.u32_at(self.own_pointer(offset, 4)));
    }
}
