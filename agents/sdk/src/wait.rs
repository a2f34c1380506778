//! Asking a model and waiting for what it says, within a step.

use crate::{ModelId, NamedTensor, Tensor, WaitError, host, tensors};

/// One output of a model for one input, in this very step; or why there is none, for people.
///
/// A model with more inputs is asked by `host::infer`. Most steps do better with `host::submit`: its result comes in a
/// later step, and the model works while other agents do.
pub fn infer(model: ModelId, input: NamedTensor, output: &str) -> Result<Tensor, String> {
    let outputs = host::infer(model, &[input]).map_err(|error| match error {
        WaitError::Refused(refusal) => format!("the request was refused: {refusal:?}"),
        WaitError::Failed(reason) => reason,
    })?;
    tensors::find(&outputs, output).cloned()
}
