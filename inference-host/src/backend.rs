//! What this host asks of an inference engine. Nothing outside the engine's own
//! folder knows which one it is.

use crate::sys::tensor::{TensorPlace, TensorView};
use shm_protocol::inference_to_supervisor::{EngineReady, LoadRefused, RefusedProvider};
use shm_protocol::tensor::{Shape, Signature};
use thiserror::Error;

/// An inference engine.
pub trait InferenceBackend {
    /// What it is.
    fn engine(&self) -> &EngineReady;

    /// Makes a model ready to run.
    ///
    /// # Errors
    /// Says whose fault it is and what to do next.
    fn load(&self, file: &[u8], wanted: &Wanted<'_>) -> Result<Prepared, LoadRefused>;
}

/// How a model is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name in the fleet file, for messages.
    pub name: &'a str,
    /// Providers to try, in order. None means the processor.
    pub providers: &'a [String],
    /// Whether anything but the first provider is a refusal.
    pub strict_providers: bool,
    /// Files with the model's weights, by the names that the model has for them.
    pub beside: &'a [(&'a str, &'a [u8])],
    /// Most inputs, and most outputs, that the model may have.
    pub ports: usize,
}

/// A model that is ready to run.
pub struct Prepared {
    /// The model.
    pub model: Box<dyn Model>,
    /// The provider that really runs it.
    pub provider: String,
    /// Providers that were asked for and refused.
    pub refused: Vec<RefusedProvider>,
}

/// A model that the engine holds.
pub trait Model {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// The shape that an output will have for inputs of these shapes, if that is known before the run.
    fn predict(&self, output: usize, inputs: &[Shape]) -> Option<Shape>;

    /// Runs once. Outputs that have a place are written there; an output beyond the end of `places` has none.
    ///
    /// # Errors
    /// What the engine said.
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        places: &mut [Option<TensorPlace<'_>>],
    ) -> Result<Written, RunError>;

    /// An output of the last run that was not written to a place, in the engine's own memory.
    ///
    /// # Errors
    /// When the last run gave no such output, or gave what is not a tensor.
    fn given(&self, output: usize) -> Result<TensorView<'_>, RunError>;
}

/// Where a run left its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Those with a place in their place, the others with the engine.
    InPlace,
    /// All with the engine: a place had another shape than the run gave. What is in the places does not count.
    Given,
}

/// Why a run gave nothing: the engine's own words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RunError(pub String);
