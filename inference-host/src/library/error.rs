//! The reasons why a library cannot be the engine.

use super::elf::ElfError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Releases of ONNX Runtime that this host supports: those that the `ort` crate is made for. An older one aborts inside
/// the engine, a newer one is untested.
pub const WANTED_VERSION: &str = "1.31.";

/// The reason why a library cannot be the engine. But for the first, the user has named it.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The embedded library could not be put into memory.
    #[error(
        "the embedded ONNX Runtime library cannot be loaded from memory: {0}; set LOCKSTEP_ORT_LIB to a file instead"
    )]
    Memory(io::Error),
    /// The file cannot be read.
    #[error(
        "the ONNX Runtime library {path:?} cannot be read: {source}; {}",
        next_step()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a complete library for this machine.
    #[error(
        "the ONNX Runtime library {path:?} cannot be loaded: {reason}; {}",
        next_step()
    )]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// The result of the check.
        reason: ElfError,
    },
    /// The system's loader refuses it.
    #[error(
        "the ONNX Runtime library {path:?} cannot be loaded: {reason}; {}",
        next_step()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// The message of the loader.
        reason: String,
    },
    /// It is another library.
    #[error(
        "the library {path:?} is not ONNX Runtime (it has no OrtGetApiBase); {}",
        next_step()
    )]
    NotOnnxRuntime {
        /// The file.
        path: PathBuf,
    },
    /// It is another release.
    #[error("the library {path:?} is ONNX Runtime {found}; {}", next_step())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// `ort` refuses it after the checks.
    #[error(
        "the ONNX Runtime library {path:?} does not start: {reason}; {}",
        next_step()
    )]
    Start {
        /// The file.
        path: PathBuf,
        /// The error, with its causes.
        reason: String,
    },
}

fn next_step() -> String {
    format!(
        "set LOCKSTEP_ORT_LIB to the libonnxruntime.so of ONNX Runtime {WANTED_VERSION}x, or unset it for the \
         embedded one"
    )
}
