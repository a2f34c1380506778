//! Where the engine's library comes from, and that it is the right one.
//!
//! The embedded library is copied into sealed anonymous memory and loaded from
//! there: nothing is written to a disk and nothing is left behind. A library
//! that the user names is loaded by its path, because a GPU build looks for its
//! providers beside itself. Either is checked before the loader sees it.

mod elf;
mod error;

pub use elf::NotLoadable;
pub use error::LibraryError;

use crate::sys::library::{LibraryVersionError, LoadedLibrary};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Releases that this host works with: those that the `ort` crate is made for. An older one aborts inside the
/// engine, a newer one was never tried.
pub const WANTED_VERSION: &str = "1.31.";

/// The library that is part of this binary.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedLibrary {
    /// The file.
    pub bytes: &'static [u8],
    /// Its SHA-256, in hexadecimal digits, as its publisher gives it.
    pub sha256: &'static str,
    /// Its BLAKE3, in hexadecimal digits, as the journal has it.
    pub blake3: &'static str,
}

/// The library that is part of this binary.
#[must_use]
pub fn embedded_library() -> EmbeddedLibrary {
    EmbeddedLibrary {
        bytes: include_bytes!(env!("LOCKSTEP_EMBEDDED_ORT")),
        sha256: env!("LOCKSTEP_EMBEDDED_ORT_SHA256"),
        blake3: env!("LOCKSTEP_EMBEDDED_ORT_BLAKE3"),
    }
}

/// A library that passed every check, ready to be handed to `ort`.
#[derive(Debug)]
pub struct CheckedLibrary {
    /// Where it can be loaded from while this value lives.
    pub path: PathBuf,
    /// What it says about itself, as in `1.31.1`.
    pub version: String,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
    /// Keeps it loaded, so that the engine need not be linked a second time.
    _loaded: LoadedLibrary,
    /// Keeps the memory behind `path` open.
    _memory: Option<OwnedFd>,
}

impl CheckedLibrary {
    /// The embedded library, or the one at `named`.
    ///
    /// # Errors
    /// [`LibraryError`] names the file, what is wrong with it, and the version that is wanted.
    pub fn open(named: Option<&Path>) -> Result<CheckedLibrary, LibraryError> {
        match named {
            None => CheckedLibrary::embedded(),
            Some(path) => CheckedLibrary::named(path),
        }
    }

    fn embedded() -> Result<CheckedLibrary, LibraryError> {
        let library = embedded_library();
        let memory = executable_memory(library.bytes).map_err(LibraryError::Memory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
        elf::check(library.bytes).map_err(|reason| LibraryError::NotLoadable {
            path: EMBEDDED.into(),
            reason,
        })?;
        let (loaded, version) = load(&path, Path::new(EMBEDDED))?;
        // The build computed it from the very bytes that it embedded.
        let digest = blake3::Hash::from_hex(library.blake3).expect("the build wrote 64 digits");
        Ok(CheckedLibrary {
            path,
            version,
            digest: *digest.as_bytes(),
            _loaded: loaded,
            _memory: Some(memory),
        })
    }

    fn named(path: &Path) -> Result<CheckedLibrary, LibraryError> {
        let unreadable = |source| LibraryError::Unreadable {
            path: path.into(),
            source,
        };
        let path = std::path::absolute(path).map_err(unreadable)?;
        let bytes = std::fs::read(&path).map_err(unreadable)?;
        elf::check(&bytes).map_err(|reason| LibraryError::NotLoadable {
            path: path.clone(),
            reason,
        })?;
        let (loaded, version) = load(&path, &path)?;
        Ok(CheckedLibrary {
            version,
            digest: *blake3::hash(&bytes).as_bytes(),
            path,
            _loaded: loaded,
            _memory: None,
        })
    }
}

/// What messages call the embedded library.
const EMBEDDED: &str = "embedded in lockstep";

/// Loads the library at `path` and gives its version, if it is one that works; `shown` names it in messages.
fn load(path: &Path, shown: &Path) -> Result<(LoadedLibrary, String), LibraryError> {
    let refused = |error| match error {
        LibraryVersionError::Refused(reason) => LibraryError::Refused {
            path: shown.into(),
            reason,
        },
        LibraryVersionError::NotOnnxRuntime => LibraryError::NotOnnxRuntime { path: shown.into() },
    };
    let loaded = LoadedLibrary::load(path).map_err(refused)?;
    let version = loaded.version().map_err(refused)?;
    if version.starts_with(WANTED_VERSION) {
        Ok((loaded, version))
    } else {
        Err(LibraryError::Version {
            path: shown.into(),
            found: version,
        })
    }
}

/// Sealed anonymous memory with `bytes`, from which code may be loaded.
fn executable_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and need none.
    let memory = memfd_create("onnxruntime", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("onnxruntime", flags))?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    let memory = OwnedFd::from(file);
    fcntl_add_seals(
        &memory,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::NamedTempFile;

    fn file_of(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("its bytes");
        file
    }

    fn refusal(path: &Path) -> String {
        let error = CheckedLibrary::open(Some(path)).expect_err("it must be refused");
        let message = error.to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(message.contains("1.31"), "{message}");
        message
    }

    #[test]
    fn the_embedded_library_has_the_pinned_version_and_digest() {
        let library = CheckedLibrary::open(None).expect("it is loadable");
        assert!(
            library.version.starts_with(WANTED_VERSION),
            "{}",
            library.version
        );
        assert_eq!(
            blake3::Hash::from(library.digest),
            blake3::hash(embedded_library().bytes)
        );
    }

    #[test]
    fn the_same_library_by_its_path_has_the_same_digest() {
        let file = file_of(embedded_library().bytes);
        let library = CheckedLibrary::open(Some(file.path())).expect("it is loadable");
        assert_eq!(
            blake3::Hash::from(library.digest).to_hex().as_str(),
            embedded_library().blake3
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(refusal(Path::new("/nowhere/libonnxruntime.so")).contains("No such file"));
    }

    #[test]
    fn a_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        refusal(folder.path());
    }

    #[test]
    fn junk_is_refused() {
        assert!(refusal(file_of(b"junk").path()).contains("not a shared library"));
        assert!(refusal(file_of(b"").path()).contains("not a shared library"));
    }

    #[test]
    fn a_library_that_was_cut_short_is_refused_before_it_is_loaded() {
        let whole = embedded_library().bytes;
        assert!(refusal(file_of(&whole[..20 << 20]).path()).contains("cut short"));
        assert!(refusal(file_of(&whole[..whole.len() - 1]).path()).contains("cut short"));
    }

    #[test]
    fn another_library_is_refused() {
        let maps =
            std::fs::read_to_string("/proc/self/maps").expect("the mappings of this process");
        let other = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("libc.so"));
        let other = other.expect("this process has a C library");
        assert!(refusal(Path::new(other)).contains("not ONNX Runtime"));
    }
}
