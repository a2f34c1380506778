//! The version of a shared library, if it is ONNX Runtime.

use crate::error_chain::with_causes;
use libloading::{Library, Symbol};
use std::ffi::CStr;
use std::path::Path;

/// The reason why a library has no version.
#[derive(Debug)]
pub(crate) enum LibraryVersionError {
    /// The loader refuses it, with this message.
    Refused(String),
    /// It loads, but it is another library.
    NotOnnxRuntime,
}

/// A shared library in this process.
#[derive(Debug)]
pub(crate) struct LoadedLibrary(Library);

impl LoadedLibrary {
    /// Loads the file at `path`, which must have been checked to be complete.
    pub(crate) fn load(path: &Path) -> Result<LoadedLibrary, LibraryVersionError> {
        // SAFETY: loading runs the library's constructors. The library is the engine that this process exists to run,
        // chosen by the user or embedded; running its code is the purpose.
        let library = unsafe { Library::new(path) };
        library
            .map(LoadedLibrary)
            .map_err(|error| LibraryVersionError::Refused(with_causes(&error)))
    }

    /// Its own version, if it is ONNX Runtime.
    pub(crate) fn version(&self) -> Result<String, LibraryVersionError> {
        // SAFETY: ONNX Runtime declares this function with this signature in every release; nothing else is known
        // to export the name. It returns a pointer to a static structure, or null.
        let base: Symbol<'_, unsafe extern "C" fn() -> *const ort::sys::OrtApiBase> =
            unsafe { self.0.get(b"OrtGetApiBase") }
                .map_err(|_| LibraryVersionError::NotOnnxRuntime)?;
        // SAFETY: as above; the pointer is checked before it is read, and the structure lives as long as the library,
        // which is borrowed until the string has been copied.
        let version = unsafe {
            let base = base();
            if base.is_null() {
                return Err(LibraryVersionError::NotOnnxRuntime);
            }
            CStr::from_ptr(((*base).GetVersionString)())
        };
        Ok(version.to_string_lossy().into_owned())
    }
}
