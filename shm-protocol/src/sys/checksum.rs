//! CRC32C of words in registers.
//!
//! The `crc32c` crate takes bytes. Words that were just computed would have to be stored and loaded again in another
//! width, and such a load waits for all earlier stores, including those to lines that another core holds: that took
//! half the time of a small record.

/// Words of a cache line.
const WORDS: usize = 8;

/// Continues a CRC32C over eight words in little-endian order. Begin with zero.
#[inline]
pub(crate) fn checksum_words(checksum: u32, words: &[u64; WORDS]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instruction.
        return unsafe { with_instruction(checksum, words) };
    }
    in_software(checksum, words)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn with_instruction(checksum: u32, words: &[u64; WORDS]) -> u32 {
    let sum = words.iter().fold(u64::from(!checksum), |sum, word| {
        std::arch::x86_64::_mm_crc32_u64(sum, *word)
    });
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the instruction leaves the upper half zero"
    )]
    let sum = sum as u32;
    !sum
}

fn in_software(checksum: u32, words: &[u64; WORDS]) -> u32 {
    words.iter().fold(checksum, |checksum, word| {
        crc32c::crc32c_append(checksum, &word.to_le_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_crc32c() {
        let words: [u64; 2 * WORDS] =
            std::array::from_fn(|at| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (first, second) = words.split_at(WORDS);
        let (first, second) = (
            first.try_into().expect("eight"),
            second.try_into().expect("eight"),
        );
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected = crc32c::crc32c(&bytes);
        assert_eq!(checksum_words(checksum_words(0, first), second), expected);
        assert_eq!(in_software(in_software(0, first), second), expected);
    }
}
