//! The generator of everything that tests draw.
//!
//! The numbers of a seed never change, because seeds that have found a bug are run for ever.

use shm_protocol::random::{SplitMix64, finalize};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct TestRng(SplitMix64);

impl TestRng {
    /// The numbers of a seed.
    #[inline]
    #[must_use]
    pub const fn new(seed: u64) -> TestRng {
        TestRng(SplitMix64::new(seed))
    }

    /// The numbers of a seed for one purpose. Different purposes have nothing in common.
    #[inline]
    #[must_use]
    pub const fn for_purpose(seed: u64, purpose: u64) -> TestRng {
        TestRng::new(mix(seed, purpose))
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not zero.
    #[inline]
    pub const fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// A number of a range.
    #[inline]
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A position in something of this length, which is not zero.
    #[inline]
    pub fn index(&mut self, length: usize) -> usize {
        self.0.index(length)
    }

    /// True in `times` of `of` cases.
    #[inline]
    pub const fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of these.
    #[inline]
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A time of a range that is not empty, to the microsecond.
    pub fn duration(&mut self, range: &Range<Duration>) -> Duration {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (start, end) = (micros(range.start), micros(range.end));
        Duration::from_micros(start + self.below(end - start))
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next_u64().to_le_bytes());
        words.take(count).collect()
    }
}

/// A number that depends on every bit of both.
#[inline]
#[must_use]
pub const fn mix(one: u64, other: u64) -> u64 {
    finalize(one.rotate_left(23) ^ SplitMix64::new(other).next_u64())
}

/// A number that depends on every bit of these bytes.
#[must_use]
pub fn mix_bytes(start: u64, bytes: &[u8]) -> u64 {
    let mut mixed = mix(start, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed = mix(mixed, u64::from_le_bytes(word));
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut random = TestRng::for_purpose(3, 3);
        let drawn = [random.next_u64(), random.below(1000), random.within(5..=9)];
        assert_eq!(drawn, [18_173_768_655_860_231_863, 29, 5]);
        assert_eq!(mix_bytes(1, b"ten bytes!"), 12_684_400_971_536_667_540);
    }
}
