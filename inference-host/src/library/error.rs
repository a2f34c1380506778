//! Why a library cannot be the engine.

use super::{NotLoadable, WANTED_VERSION};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a library cannot be the engine. But for the first, the user named it.
#[derive(Debug, Error)]
pub enum LibraryError {
    /// The embedded library could not be put into memory.
    #[error(
        "the embedded ONNX Runtime library cannot be put into executable memory: {0}; LOCKSTEP_ORT_LIB can name a file instead"
    )]
    Memory(io::Error),
    /// The file cannot be read.
    #[error(
        "the ONNX Runtime library {path:?} cannot be read: {source}; {}",
        wanted()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a complete library for this machine.
    #[error(
        "the ONNX Runtime library {path:?} cannot be loaded: {reason}; {}",
        wanted()
    )]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: NotLoadable,
    },
    /// The system's loader refuses it.
    #[error(
        "the ONNX Runtime library {path:?} cannot be loaded: {reason}; {}",
        wanted()
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// It is some other library.
    #[error(
        "the library {path:?} is not ONNX Runtime (it has no OrtGetApiBase); {}",
        wanted()
    )]
    NotOnnxRuntime {
        /// The file.
        path: PathBuf,
    },
    /// It is another release.
    #[error("the library {path:?} is ONNX Runtime {found}; {}", wanted())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// `ort` refuses it after all.
    #[error(
        "the ONNX Runtime library {path:?} does not start: {reason}; {}",
        wanted()
    )]
    Start {
        /// The file.
        path: PathBuf,
        /// What was said, with its causes.
        reason: String,
    },
}

fn wanted() -> String {
    format!(
        "LOCKSTEP_ORT_LIB must name the libonnxruntime.so of ONNX Runtime {WANTED_VERSION}x, or be unset for the embedded one"
    )
}
