//! The versions of models that are loaded.

use crate::allowance::Allowance;
use crate::backend::Model;
use shm_protocol::id::VersionId;
use std::collections::BTreeMap;

/// The versions of models that are loaded.
#[derive(Default)]
pub struct Models(BTreeMap<VersionId, Named>);

/// A model, its name in the fleet file, and who runs it.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) model: Box<dyn Model>,
    /// What it may take, if that is limited.
    pub(crate) allowance: Option<Allowance>,
}

impl Models {
    /// Keeps a version whose memory is not limited.
    pub fn insert(
        &mut self,
        version: VersionId,
        name: &str,
        provider: &str,
        model: Box<dyn Model>,
    ) {
        self.keep(
            version,
            Named {
                name: name.to_owned(),
                provider: provider.to_owned(),
                model,
                allowance: None,
            },
        );
    }

    pub(crate) fn keep(&mut self, version: VersionId, named: Named) {
        self.0.insert(version, named);
    }

    /// Lets a version go, and its memory with it.
    pub fn remove(&mut self, version: VersionId) {
        self.0.remove(&version);
    }

    pub(crate) fn get_mut(&mut self, version: VersionId) -> Option<&mut Named> {
        self.0.get_mut(&version)
    }

    /// Whether this provider alone runs every version.
    #[must_use]
    pub fn all_on(&self, provider: &str) -> bool {
        self.0.values().all(|named| named.provider == provider)
    }
}
