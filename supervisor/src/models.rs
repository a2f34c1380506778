//! The files of a model, arrays in files, and the versions that a model has over a run.

mod error;
pub(crate) mod external_data;
mod files;
mod folder;
pub mod npy;
mod versions;

pub use error::ModelFilesError;
pub use files::{read_folder, read_model};
pub(crate) use versions::{ModelVersion, apply_verdicts, header_at, timeline, versions};
