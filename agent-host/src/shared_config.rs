//! The configuration that all agents of the fleet share.

use shm_protocol::id::ModelId;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentSetup, ModelPorts};
use std::sync::OnceLock;

/// The configuration that all agents of the fleet share. The models become known last.
pub(crate) struct SharedConfig {
    pub(crate) setup: AgentSetup,
    models: OnceLock<Vec<ModelPorts>>,
}

impl SharedConfig {
    pub(crate) fn new(setup: AgentSetup) -> Self {
        SharedConfig {
            setup,
            models: OnceLock::new(),
        }
    }

    /// Maximum bytes of all effects of a step.
    pub(crate) fn max_step_bytes(&self) -> usize {
        usize::try_from(self.setup.max_step_bytes).unwrap_or(limit::MAX_STEP_BYTES)
    }

    /// Sets the inputs and outputs of the models. Only the first call has an effect.
    pub(crate) fn set_models(&self, models: Vec<ModelPorts>) {
        // The command loop ends at the first `Start`, so there is no second call.
        let _ = self.models.set(models);
    }

    /// A model's name and ports.
    pub(crate) fn model(&self, model: ModelId) -> Option<(&str, &ModelPorts)> {
        let ports = self.models.get()?.get(model.index())?;
        Some((self.setup.models.get(model.index())?, ports))
    }
}
