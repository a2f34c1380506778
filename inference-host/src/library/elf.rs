//! Check that bytes are a complete shared library for this machine.
//!
//! The loader maps what the headers promise. A truncated library ends in a SIGBUS inside `dlopen`, which nobody can
//! catch, so it is checked before: every loaded segment, and the table of sections at the very end, must lie within the
//! file.

use ::elf::abi::{EM_AARCH64, EM_RISCV, EM_X86_64, ET_DYN, PT_LOAD};
use ::elf::endian::LittleEndian;
use ::elf::file::Class;
use ::elf::{ElfBytes, ParseError};
use thiserror::Error;

/// The reason why bytes are not a library that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
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
    /// They end before the end that the headers promise.
    #[error("it is truncated: its headers promise {promised} bytes, and it has {actual}")]
    Truncated {
        /// Bytes by the headers.
        promised: usize,
        /// Bytes in the file.
        actual: usize,
    },
    /// The headers contradict each other.
    #[error("its ELF headers are invalid: {0}")]
    Invalid(String),
}

/// The machine number of the processor that this program is built for.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    EM_AARCH64
} else if cfg!(target_arch = "riscv64") {
    EM_RISCV
} else {
    0
};

/// Checks that `file` can be handed to the loader.
///
/// # Errors
/// [`ElfError`] says what is wrong with it.
pub(super) fn check(file: &[u8]) -> Result<(), ElfError> {
    let invalid = |error: ParseError| match error {
        ParseError::BadMagic(_) => ElfError::NotElf,
        ParseError::UnsupportedElfClass(_) | ParseError::UnsupportedElfEndianness(_) => {
            ElfError::NotShared
        }
        ParseError::SliceReadError((_, promised)) => truncated(file, promised),
        ParseError::IntegerOverflow => truncated(file, usize::MAX),
        error => ElfError::Invalid(error.to_string()),
    };
    if !file.starts_with(&::elf::abi::ELFMAGIC) {
        return Err(ElfError::NotElf);
    }
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(invalid)?;
    if elf.ehdr.class != Class::ELF64 || elf.ehdr.e_type != ET_DYN {
        return Err(ElfError::NotShared);
    }
    if elf.ehdr.e_machine != MACHINE {
        return Err(ElfError::Machine {
            found: elf.ehdr.e_machine,
            wanted: MACHINE,
        });
    }
    let segments = elf.segments().into_iter().flat_map(|table| table.iter());
    for segment in segments.filter(|segment| segment.p_type == PT_LOAD) {
        elf.segment_data(&segment).map_err(invalid)?;
    }
    Ok(())
}

fn truncated(file: &[u8], promised: usize) -> ElfError {
    ElfError::Truncated {
        promised,
        actual: file.len(),
    }
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
    fn any_truncation_is_found() {
        let whole = library();
        for left in [5, 64, 65, 4096, whole.len() / 2, whole.len() - 1] {
            let result = check(&whole[..left]);
            assert!(
                matches!(result, Err(ElfError::Truncated { .. })),
                "{left} bytes: {result:?}"
            );
        }
        assert_eq!(check(&whole[..3]), Err(ElfError::NotElf));
    }

    #[test]
    fn other_files_are_refused_for_what_they_are() {
        assert_eq!(check(b"not a library"), Err(ElfError::NotElf));
        let mut other = library();
        other[18] = 3;
        assert_eq!(
            check(&other),
            Err(ElfError::Machine {
                found: 3,
                wanted: MACHINE
            })
        );
        let mut executable = library();
        executable[16] = 2;
        assert_eq!(check(&executable), Err(ElfError::NotShared));
    }

    #[test]
    fn offsets_beyond_any_file_do_not_overflow() {
        let mut absurd = library();
        absurd[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(check(&absurd), Err(ElfError::Truncated { .. })));
        let mut absurd = library();
        absurd[32..40].copy_from_slice(&(u64::MAX - 8).to_le_bytes());
        assert!(matches!(check(&absurd), Err(ElfError::Truncated { .. })));
    }
}
