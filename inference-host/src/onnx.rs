//! ONNX Runtime, the one real [`InferenceBackend`].
//!
//! Every setting that can change bits is fixed here: threads inside an operator, one operator at a time, the level of
//! graph optimisation, deterministic kernels, and pre-packed weights (on, because without them a row alone and a row in
//! a batch differ).

mod execution_provider;
mod model;
mod provider;
mod runtime;
mod self_test;
mod signature;

pub use runtime::OnnxRuntime;

use crate::backend::{InferenceBackend, LoadOptions, LoadedModel};
use model::OnnxModel;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::inference_to_supervisor::{EngineReady, LoadRefused};

impl InferenceBackend for OnnxRuntime {
    fn engine(&self) -> &EngineReady {
        &self.engine
    }

    fn load(&self, file: &[u8], options: &LoadOptions<'_>) -> Result<LoadedModel, LoadRefused> {
        let opened = provider::open_session(self, file, options)?;
        let model =
            OnnxModel::new(opened.session, options.max_ports).map_err(|message| LoadRefused {
                blame: Blame::Input,
                message: format!("model `{}`: {message}", options.name),
            })?;
        Ok(LoadedModel {
            model: Box::new(model),
            provider: opened.provider,
            refused: opened.refused,
        })
    }
}
