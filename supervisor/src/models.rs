//! The files of a model, and the versions that a model has over a run.

pub(crate) mod external_data;
mod files;
mod versions;

pub use files::{ModelFilesError, read_folder, read_model};
pub(crate) use versions::{ModelVersion, as_of, judge, lives, versions};
