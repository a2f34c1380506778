//! What all agents of the fleet have in common.

use shm_protocol::id::ModelId;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentSetup, ModelPorts};
use std::sync::OnceLock;

/// What all agents of the fleet have in common. The models become known last.
pub(crate) struct Fleet {
    pub(crate) setup: AgentSetup,
    models: OnceLock<Vec<ModelPorts>>,
}

impl Fleet {
    pub(crate) fn new(setup: AgentSetup) -> Self {
        Fleet {
            setup,
            models: OnceLock::new(),
        }
    }

    /// Most bytes of everything that a step does.
    pub(crate) fn step_bytes(&self) -> usize {
        usize::try_from(self.setup.step_bytes).unwrap_or(limit::MOST_STEP_BYTES)
    }

    /// Tells what the models take and give. Only the first call counts.
    pub(crate) fn start(&self, models: Vec<ModelPorts>) {
        // A second `Start` is refused before it comes here.
        let _ = self.models.set(models);
    }

    /// A model's name and ports.
    pub(crate) fn model(&self, model: ModelId) -> Option<(&str, &ModelPorts)> {
        let ports = self.models.get()?.get(model.index())?;
        Some((self.setup.models.get(model.index())?, ports))
    }
}
