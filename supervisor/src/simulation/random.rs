//! All chance of the simulator: one number goes in, and everything follows from it.

/// Numbers that follow from a seed. SplitMix64, see Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The numbers of a seed for one purpose. Different purposes have nothing in common.
    pub(super) fn new(seed: u64, purpose: u64) -> Random {
        Random {
            state: mix(seed, purpose),
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.state)
    }

    /// A number below `end`, which is not zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of a range.
    pub(super) fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A position in something of this length, which is not zero.
    pub(super) fn position(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// True in `times` of `of` cases.
    pub(super) fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.position(from.len())]
    }
}

/// A number that depends on every bit of both.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    finish(one.rotate_left(23) ^ finish(other.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// A number that depends on every bit of these bytes.
pub(super) fn mix_bytes(start: u64, bytes: &[u8]) -> u64 {
    let mut mixed = mix(start, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed = mix(mixed, u64::from_le_bytes(word));
    }
    mixed
}

fn finish(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
