//! The interface of an inference engine. Nothing outside the engine's own folder knows which engine it is.

use crate::sys::tensor::{TensorView, TensorViewMut};
use shm_protocol::inference_to_supervisor::{EngineReady, LoadRefused, RefusedProvider};
use shm_protocol::tensor::{Shape, Signature, TensorError};
use thiserror::Error;

/// An inference engine.
pub trait InferenceBackend {
    /// Its name, version and digest.
    fn engine(&self) -> &EngineReady;

    /// Loads a model.
    ///
    /// # Errors
    /// Names who is to blame, and the next step.
    fn load(&self, file: &[u8], options: &LoadOptions<'_>) -> Result<LoadedModel, LoadRefused>;
}

/// Options of a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// Its name in the fleet file, for messages.
    pub name: &'a str,
    /// Execution providers to try, in order. None means the CPU.
    pub providers: &'a [String],
    /// True if only the first provider is allowed.
    pub strict_providers: bool,
    /// ONNX external data: files with weights, by the names in the graph.
    pub external_data: &'a [(&'a str, &'a [u8])],
    /// Most inputs, and most outputs, of the model.
    pub max_ports: usize,
}

/// A model that is ready to run, and the provider that runs it.
pub struct LoadedModel {
    /// The model.
    pub model: Box<dyn Model>,
    /// The provider that runs it, as in `cuda+cpu`.
    pub provider: String,
    /// Requested providers that were refused.
    pub refused: Vec<RefusedProvider>,
}

/// A loaded model.
pub trait Model {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// The shape of an output for inputs of these shapes, if it is known before the run.
    fn predict_shape(&self, output: usize, inputs: &[Shape]) -> Option<Shape>;

    /// Runs once. An output with memory in `outputs` is written there; one beyond the end of `outputs` has none.
    ///
    /// # Errors
    /// The message of the engine.
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: &mut [Option<TensorViewMut<'_>>],
    ) -> Result<OutputLocation, ModelRunError>;

    /// An output of the last run that is in the engine's memory.
    ///
    /// # Errors
    /// When the last run has no such output, or it is not a tensor.
    fn output(&self, output: usize) -> Result<TensorView<'_>, ModelRunError>;
}

/// The memory with the outputs of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputLocation {
    /// Outputs with memory of the caller are there, the others in the engine's memory.
    InPlace,
    /// All are in the engine's memory, because the caller's memory had another shape; its contents do not count.
    Engine,
}

/// The engine's message for a run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ModelRunError(pub String);

impl From<TensorError> for ModelRunError {
    fn from(error: TensorError) -> ModelRunError {
        ModelRunError(error.to_string())
    }
}

impl From<ModelRunError> for String {
    fn from(error: ModelRunError) -> String {
        error.0
    }
}
