//! Requests and responses of the control socket: one JSON value a line, either way.

use crate::error::ErrorKind;
use crate::record::{ModelChange, NewVersion};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Limit of one line, either way, in bytes: a path, and words around it.
pub(crate) const LINE_BYTES: u64 = 64 << 10;

/// A request to change a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The name of the model.
    pub model: String,
    /// The change; a new version by the absolute path of its file.
    pub action: ModelChange<NewVersion<PathBuf>>,
}

/// The response of a run to a request: any number of stages, then one of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ChangeResponse {
    /// The current stage.
    Stage(String),
    /// The change is applied, and durable at the level of the run.
    Done(AppliedChange),
    /// The change is refused.
    Refused {
        /// The kind of the error.
        kind: ErrorKind,
        /// The reason.
        message: String,
    },
}

/// A change that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedChange {
    /// The first tick in which it holds.
    pub from: u64,
    /// The provider of the model from then on; none if it is unloaded.
    pub provider: Option<String>,
    /// Requested providers that were refused, each with its reason.
    pub refused: Vec<(String, String)>,
}
