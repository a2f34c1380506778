//! Errors about the files of a model.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Limit of all files of a model, in bytes: it is held in memory, by the supervisor and by the host.
pub(super) const MAX_BYTES: u64 = 64 << 30;

/// Copies of a model in memory while it is loaded: as read, as passed to the host, and in the host.
pub(super) const COPIES: u64 = 3;

/// The usual names of the graph of a folder, in the order of the search.
pub(super) const GRAPHS: [&str; 4] = [
    "model.onnx",
    "decoder_model_merged.onnx",
    "onnx/model.onnx",
    "onnx/decoder_model_merged.onnx",
];

/// An error about the files of a model.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum ModelFilesError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}; check the path and its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A folder has no graph, or several and none of the usual names.
    #[error("folder {} has {found}, expected one of {}; name the .onnx file itself", path.display(), GRAPHS.join(", "))]
    Graph { path: PathBuf, found: String },
    /// A graph names weights outside of its folder.
    #[error("{} keeps external data in `{location}`, which is not within its folder; move the file there", path.display())]
    Elsewhere { path: PathBuf, location: String },
    /// A graph names weights that are not there.
    #[error("{} keeps external data in {location}, which cannot be read: {source}; copy all files of the model", path.display())]
    Weights {
        path: PathBuf,
        location: String,
        source: io::Error,
    },
    /// The files do not fit into the free memory of this machine.
    #[error(
        "the files of {} have {bytes} bytes, loading needs memory for {COPIES} copies, and {available} bytes are available; free some memory, or use a smaller model",
        path.display()
    )]
    NoMemory {
        path: PathBuf,
        bytes: u64,
        available: u64,
    },
    /// The files are over the limit.
    #[error("the files of {} have {bytes} bytes, and a model may have {MAX_BYTES}", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
}
