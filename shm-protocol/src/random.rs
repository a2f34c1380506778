//! Numbers that follow from a seed, for choices that must be the same each time: fault plans, probes of a model, and
//! everything that tests draw.
//!
//! The numbers of a seed never change: plans and simulations are named by their seeds.

/// The increment of the state: the golden ratio, as an odd 64-bit number.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The generator SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
///
/// It is small and passes the usual tests of randomness. It is no source of secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator of a seed.
    #[inline]
    #[must_use]
    pub const fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        finalize(self.0)
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// When `end` is zero.
    #[inline]
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// A position in something of this length.
    ///
    /// # Panics
    /// When the length is zero.
    #[inline]
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// True in half of all cases.
    #[inline]
    pub const fn flip(&mut self) -> bool {
        self.next_u64() & 1 == 1
    }
}

/// The finalizer of SplitMix64: a permutation of 64-bit numbers in which every bit depends on every bit.
#[inline]
#[must_use]
pub const fn finalize(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        // The first numbers of the authors' implementation for this seed.
        let mut random = SplitMix64::new(1_234_567);
        let numbers = [(); 5].map(|()| random.next_u64());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(numbers, published);
    }
}
