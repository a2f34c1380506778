//! Changes of models: the same three, from the fleet file, from the command line and in the journal. What a replacement
//! is depends on who speaks of it: a file to be read, bytes by their digest, or a version that was loaded and pinned.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use shm_protocol::id::{ModelId, Tick};
use std::convert::Infallible;

/// A change of a model; `V` is its new version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelChange<V> {
    /// It answers no requests.
    Unload,
    /// It answers requests again, as its last version.
    Load,
    /// It is another version, with the same inputs and outputs.
    Replace(V),
}

/// A version before it is loaded: its name and its file, as a path, a source or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVersion<F> {
    /// Its ONNX file, or the folder of a language model.
    pub file: F,
    /// Its name.
    pub version: String,
}

/// A change of a model from a tick on: it holds for requests of that tick and later ones. Earlier requests are answered
/// as they would have been.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScheduledChange<V> {
    /// The first tick in which it holds.
    pub from: Tick,
    /// The model.
    pub model: ModelId,
    /// The change.
    pub change: ModelChange<V>,
}

impl<V> ModelChange<V> {
    /// The new version, if it is a replacement.
    pub fn new_version(&self) -> Option<&V> {
        match self {
            ModelChange::Replace(version) => Some(version),
            ModelChange::Unload | ModelChange::Load => None,
        }
    }

    /// The same change with another description of the new version.
    pub fn map<W>(&self, describe: impl FnOnce(&V) -> W) -> ModelChange<W> {
        let Ok(mapped) = self.try_map(|version| Ok::<W, Infallible>(describe(version)));
        mapped
    }

    /// The same change with another description of the new version.
    ///
    /// # Errors
    /// Those of `describe`.
    pub fn try_map<W, E>(
        &self,
        describe: impl FnOnce(&V) -> Result<W, E>,
    ) -> Result<ModelChange<W>, E> {
        Ok(match self {
            ModelChange::Unload => ModelChange::Unload,
            ModelChange::Load => ModelChange::Load,
            ModelChange::Replace(version) => ModelChange::Replace(describe(version)?),
        })
    }
}

impl<V> ScheduledChange<V> {
    /// The same change with another description of the new version.
    pub fn map<W>(&self, describe: impl FnOnce(&V) -> W) -> ScheduledChange<W> {
        let Ok(mapped) = self.try_map(|version| Ok::<W, Infallible>(describe(version)));
        mapped
    }

    /// The same change with another description of the new version.
    ///
    /// # Errors
    /// Those of `describe`.
    pub fn try_map<W, E>(
        &self,
        describe: impl FnOnce(&V) -> Result<W, E>,
    ) -> Result<ScheduledChange<W>, E> {
        Ok(ScheduledChange {
            from: self.from,
            model: self.model,
            change: self.change.try_map(describe)?,
        })
    }
}
