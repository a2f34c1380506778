//! Random numbers that are the same in every measurement.

use std::ops::Range;
use std::time::Duration;

/// A stream of random numbers (splitmix64; Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of this number.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// A number of the range, which is not empty.
    pub fn among(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (word ^ (word >> 31)) % (range.end - range.start)
    }

    /// A time of the range, to the microsecond.
    pub fn time(&mut self, range: &Range<Duration>) -> Duration {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.among(micros(range.start)..micros(range.end)))
    }
}
