//! Whether bytes are a complete shared library for this machine.
//!
//! The loader maps what the headers promise. A library that was cut short ends
//! in a SIGBUS inside `dlopen`, which nobody can catch, so this is found out
//! before: every loaded segment and the table of sections, which stands at the
//! very end, must lie within the file.

use thiserror::Error;

/// Why bytes are not a library that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotLoadable {
    /// They do not begin like an ELF file.
    #[error("it is not a shared library (no ELF file)")]
    NotElf,
    /// They are an ELF file of another kind.
    #[error("it is an ELF file, but not a 64-bit little-endian shared library")]
    NotShared,
    /// They are for another processor.
    #[error("it is made for another processor (ELF machine {found}, this one is {wanted})")]
    Machine {
        /// The file's machine number.
        found: u16,
        /// This processor's machine number.
        wanted: u16,
    },
    /// They end before what the headers promise.
    #[error("it is cut short: its headers promise {promised} bytes, and it has {actual}")]
    Truncated {
        /// Bytes by the headers.
        promised: u64,
        /// Bytes there are.
        actual: u64,
    },
}

/// Bytes of the file header.
const HEADER_BYTES: usize = 64;
/// Bytes of one entry of the table of segments.
const SEGMENT_BYTES: u64 = 56;
/// Type of a segment that is loaded.
const PT_LOAD: u32 = 1;
/// File type of a shared library.
const ET_DYN: u16 = 3;

/// The machine number of the processor that this program is built for.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};

/// Checks that `file` can be handed to the loader.
///
/// # Errors
/// [`NotLoadable`] says what is wrong with it.
pub(super) fn check(file: &[u8]) -> Result<(), NotLoadable> {
    if !file.starts_with(b"\x7fELF") {
        return Err(NotLoadable::NotElf);
    }
    let actual = file.len() as u64;
    if file.len() < HEADER_BYTES {
        return Err(NotLoadable::Truncated {
            promised: HEADER_BYTES as u64,
            actual,
        });
    }
    if file[4..6] != [2, 1] || u16_at(file, 16) != Some(ET_DYN) {
        return Err(NotLoadable::NotShared);
    }
    let found = u16_at(file, 18).unwrap_or_default();
    if found != MACHINE {
        return Err(NotLoadable::Machine {
            found,
            wanted: MACHINE,
        });
    }
    let promised = promised_bytes(file).unwrap_or(u64::MAX);
    if promised > actual {
        Err(NotLoadable::Truncated { promised, actual })
    } else {
        Ok(())
    }
}

/// The end of the furthest thing the headers speak of. `None` when the headers themselves are cut off or overflow.
fn promised_bytes(file: &[u8]) -> Option<u64> {
    let (segments, sections) = (u64_at(file, 32)?, u64_at(file, 40)?);
    let (segment_count, section_bytes, section_count) = (
        u64::from(u16_at(file, 56)?),
        u64::from(u16_at(file, 58)?),
        u64::from(u16_at(file, 60)?),
    );
    let mut end = sections.checked_add(section_bytes * section_count)?;
    for number in 0..segment_count {
        let at = segments.checked_add(number * SEGMENT_BYTES)?;
        end = end.max(at.checked_add(SEGMENT_BYTES)?);
        let at = usize::try_from(at).ok()?;
        if u32_at(file, at)? == PT_LOAD {
            let offset = u64_at(file, at.checked_add(8)?)?;
            end = end.max(offset.checked_add(u64_at(file, at.checked_add(32)?)?)?);
        }
    }
    Some(end)
}

fn bytes_at<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    bytes_at(file, at).map(u16::from_le_bytes)
}

fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    bytes_at(file, at).map(u32::from_le_bytes)
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    bytes_at(file, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> Vec<u8> {
        crate::library::embedded_library().bytes.to_vec()
    }

    #[test]
    fn the_embedded_library_is_complete() {
        assert_eq!(check(&library()), Ok(()));
    }

    #[test]
    fn any_cut_is_found() {
        let whole = library();
        for left in [64, 65, 4096, whole.len() / 2, whole.len() - 1] {
            let cut = check(&whole[..left]);
            assert!(
                matches!(cut, Err(NotLoadable::Truncated { .. })),
                "{left} bytes: {cut:?}"
            );
        }
        assert_eq!(check(&whole[..3]), Err(NotLoadable::NotElf));
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        assert_eq!(check(b"not a library"), Err(NotLoadable::NotElf));
        let mut other = library();
        other[18] = 3;
        assert_eq!(
            check(&other),
            Err(NotLoadable::Machine {
                found: 3,
                wanted: MACHINE
            })
        );
        let mut executable = library();
        executable[16] = 2;
        assert_eq!(check(&executable), Err(NotLoadable::NotShared));
    }

    #[test]
    fn absurd_headers_do_not_overflow() {
        let mut absurd = library();
        absurd[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(check(&absurd), Err(NotLoadable::Truncated { .. })));
        let mut absurd = library();
        absurd[32..40].copy_from_slice(&(u64::MAX - 8).to_le_bytes());
        assert!(matches!(check(&absurd), Err(NotLoadable::Truncated { .. })));
    }
}
