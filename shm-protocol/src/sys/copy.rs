//! Copying from memory that another process may be writing.
//!
//! In Rust such a write is a data race with a plain read, and `memcpy` is a plain read. A loop over relaxed atomic
//! words is not, but the compiler does not vectorise it. The loads are therefore assembly, of which Rust only knows the
//! effect: the destination is filled with some bytes. The caller's checksum detects a concurrent write.

/// Copies whole lines of 64 bytes.
///
/// # Safety
/// `from` must be readable and `to` writable for `bytes`, a multiple of 64, and they must not overlap. No other code of
/// this process may use `to` meanwhile; `from` may be written concurrently.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) unsafe fn copy_lines(from: *const u8, to: *mut u8, bytes: usize) {
    if bytes == 0 {
        return;
    }
    // SAFETY: reads `bytes` at `from` and writes them at `to`, which the caller allows. SSE2 is part of x86_64.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {bytes}, 64",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            bytes = inout(reg) bytes => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// Copies whole lines of 64 bytes.
///
/// # Safety
/// As above; `from` must be aligned to 8 bytes as well.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) unsafe fn copy_lines(from: *const u8, to: *mut u8, bytes: usize) {
    use std::sync::atomic::{AtomicU64, Ordering};
    for at in (0..bytes).step_by(8) {
        // SAFETY: within what the caller allows; the source is aligned, and is only accessed atomically here.
        unsafe {
            let word = AtomicU64::from_ptr(from.add(at).cast_mut().cast()).load(Ordering::Relaxed);
            to.add(at).cast::<u64>().write_unaligned(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_and_nothing_else_changes() {
        let from: Vec<u64> = (0..512)
            .map(|word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        for lines in 0..=64 {
            let mut to = vec![7_u64; 512 + 8];
            // SAFETY: both are longer than the lines.
            unsafe { copy_lines(from.as_ptr().cast(), to.as_mut_ptr().cast(), lines * 64) };
            assert_eq!(to[..lines * 8], from[..lines * 8]);
            assert!(to[lines * 8..].iter().all(|word| *word == 7));
        }
    }
}
