//! The loaded versions of models.

use crate::backend::Model;
use crate::memory_budget::MemoryBudget;
use shm_protocol::id::VersionId;
use std::collections::BTreeMap;

/// The loaded versions of models.
#[derive(Default)]
pub struct ModelRegistry(BTreeMap<VersionId, RegisteredModel>);

/// A model, its name in the fleet file, and its provider.
pub(crate) struct RegisteredModel {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) model: Box<dyn Model>,
    /// The limit of its memory, if there is one.
    pub(crate) memory_budget: Option<MemoryBudget>,
}

impl ModelRegistry {
    /// Adds a version without a memory budget.
    pub fn insert(
        &mut self,
        version: VersionId,
        name: &str,
        provider: &str,
        model: Box<dyn Model>,
    ) {
        self.register(
            version,
            RegisteredModel {
                name: name.to_owned(),
                provider: provider.to_owned(),
                model,
                memory_budget: None,
            },
        );
    }

    pub(crate) fn register(&mut self, version: VersionId, entry: RegisteredModel) {
        self.0.insert(version, entry);
    }

    /// Removes a version and frees its memory.
    pub fn remove(&mut self, version: VersionId) {
        self.0.remove(&version);
    }

    pub(crate) fn get_mut(&mut self, version: VersionId) -> Option<&mut RegisteredModel> {
        self.0.get_mut(&version)
    }

    /// True if this provider alone runs every version.
    #[must_use]
    pub fn all_run_on(&self, provider: &str) -> bool {
        self.0.values().all(|entry| entry.provider == provider)
    }
}
