//! The interface between the ring and its memory. The algorithm is generic over it, so that the same code runs over
//! shared memory and over the cells of a model checker.
//!
//! The orderings are arguments, because they belong to the algorithm, where they are explained.

use std::sync::atomic::Ordering;
use std::time::Duration;

/// A segment, addressed by byte offsets from its beginning.
///
/// Every method panics when the offset is outside or not aligned, or when a method that writes is used on memory of the
/// other end: each is a bug of the ring.
pub trait SegmentMemory {
    /// Bytes of the segment, control page included.
    fn bytes(&self) -> usize;

    /// Loads an atomic word.
    fn load_u64(&self, offset: usize, order: Ordering) -> u64;
    /// Stores an atomic word.
    fn store_u64(&self, offset: usize, value: u64, order: Ordering);
    /// Loads a futex word.
    fn load_u32(&self, offset: usize, order: Ordering) -> u32;
    /// Adds one to a futex word.
    fn increment_u32(&self, offset: usize, order: Ordering);
    /// A fence between accesses to this segment and to others.
    fn fence(&self, order: Ordering);

    /// Copies plain words. A concurrent write of another process may be seen in part.
    fn read_words<const N: usize>(&self, offset: usize) -> [u64; N];
    /// Writes plain words into own memory.
    fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]);

    /// Replaces `into` by a copy of the `bytes` at a multiple of 64. A concurrent write of another process may be
    /// seen in part. The memory up to the next multiple of 64 must be inside the segment.
    fn read_bytes(&self, offset: usize, bytes: usize, into: &mut Vec<u8>);
    /// Writes plain bytes into own memory.
    fn write_bytes(&self, offset: usize, bytes: &[u8]);
    /// CRC32C of bytes of own memory.
    fn checksum(&self, offset: usize, bytes: usize) -> u32;

    /// Sleeps until the futex word is woken, unless it differs from `expected`. May wake spuriously.
    fn futex_wait(&self, offset: usize, expected: u32, timeout: Duration);
    /// Wakes the sleeper on the futex word.
    fn futex_wake(&self, offset: usize);
}
