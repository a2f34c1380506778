//! Requests to a model whose result is awaited within the step.

use crate::{AwaitError, ModelId, NamedTensor, Tensor, host, tensors};

/// Sends one input to a model, awaits the result within this step, and returns one output, or an error message.
///
/// A model with more inputs needs `host::infer`. In most cases `host::submit` is better: its result comes in a later
/// step, and the model works at the same time as other agents.
pub fn infer(model: ModelId, input: NamedTensor, output: &str) -> Result<Tensor, String> {
    let outputs = host::infer(model, &[input]).map_err(|error| match error {
        AwaitError::Refused(refusal) => format!("the request was refused: {refusal:?}"),
        AwaitError::Failed(reason) => reason,
    })?;
    tensors::find(&outputs, output).cloned()
}
