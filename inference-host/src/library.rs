//! The engine's library: its source, and the checks that it is the right one.
//!
//! The embedded library is copied to sealed anonymous memory and loaded from there: nothing is written to a disk and
//! nothing is left behind. A library that the user names is loaded by its path, because a GPU build looks for its
//! providers beside itself. Either is checked before the loader sees it.

mod elf;
mod error;

pub use elf::ElfError;
pub use error::{LibraryError, WANTED_VERSION};

use crate::sys::executable_memory::{descriptor_path, executable_memory};
use crate::sys::library::{LibraryVersionError, LoadedLibrary};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The library that is part of this binary.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedLibrary {
    /// The file.
    pub bytes: &'static [u8],
    /// Its SHA-256 in hexadecimal digits, as published.
    pub sha256: &'static str,
    /// Its BLAKE3 in hexadecimal digits, as in the journal.
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

/// A library that has passed every check, for `ort`.
#[derive(Debug)]
pub struct CheckedLibrary {
    /// The path to load it from while this value lives.
    pub path: PathBuf,
    /// Its own version, as in `1.31.1`.
    pub version: String,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
    /// Keeps it loaded, so that the engine need not be linked a second time.
    _loaded: LoadedLibrary,
    /// Keeps the memory behind `path` open.
    _memory: Option<OwnedFd>,
}

impl CheckedLibrary {
    /// The embedded library, or the one at `path`.
    ///
    /// # Errors
    /// [`LibraryError`] names the file, the reason, and the supported version.
    pub fn open(path: Option<&Path>) -> Result<CheckedLibrary, LibraryError> {
        match path {
            None => CheckedLibrary::embedded(),
            Some(path) => CheckedLibrary::at_path(path),
        }
    }

    fn embedded() -> Result<CheckedLibrary, LibraryError> {
        let library = embedded_library();
        let memory =
            executable_memory("onnxruntime", library.bytes).map_err(LibraryError::Memory)?;
        let path = descriptor_path(&memory);
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

    fn at_path(path: &Path) -> Result<CheckedLibrary, LibraryError> {
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

/// The name of the embedded library in messages.
const EMBEDDED: &str = "embedded in lockstep";

/// Loads the library at `path` and gives its version, if it is supported; `shown` is its name in messages.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
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
    fn a_file_without_elf_header_is_refused() {
        assert!(refusal(file_of(b"junk").path()).contains("not a shared library"));
        assert!(refusal(file_of(b"").path()).contains("not a shared library"));
    }

    #[test]
    fn a_truncated_library_is_refused_before_it_is_loaded() {
        let whole = embedded_library().bytes;
        assert!(refusal(file_of(&whole[..20 << 20]).path()).contains("truncated"));
        assert!(refusal(file_of(&whole[..whole.len() - 1]).path()).contains("truncated"));
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
