//! The function `infer`: a request whose result the step awaits.

use super::request::{check_call, check_request};
use super::tensors::RawNamedTensor;
use crate::bindings::lockstep::agent::host::{AwaitError, Refusal};
use crate::bindings::lockstep::agent::types::NamedTensor;
use crate::effects::HostCall;
use crate::events;
use crate::shared_config::SharedConfig;
use crate::store_data::StoreData;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::generation;
use shm_protocol::id::ModelId;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

/// The name of the function. The steps of a component that imports it run on a stack of their own.
pub(crate) const INFER_FUNCTION: &str = "infer";

/// The refusal for a language model, whose generations take many ticks and so cannot be awaited within a step.
fn refuse_language_model(shared: &SharedConfig, model: ModelId) -> Option<Refusal> {
    let (name, ports) = shared.model(model)?;
    let is_language_model = ports.signature == generation::signature();
    is_language_model.then(|| {
        Refusal::Mismatch(format!(
            "model {name} writes over many ticks, and no step can wait for that: ask it with submit"
        ))
    })
}

type Outputs = Result<Vec<NamedTensor>, AwaitError>;

/// Sends a request to a model and awaits the result.
///
/// # Errors
/// Those of [`check_request`].
pub(super) async fn infer(
    mut store: StoreContextMut<'_, StoreData>,
    model: ModelId,
    inputs: WasmList<RawNamedTensor>,
) -> wasmtime::Result<Outputs> {
    let refused = |refusal| Ok(Err(AwaitError::Refused(refusal)));
    if let Err(refusal) = check_call(&mut store, HostCall::Infer) {
        return refused(refusal);
    }
    if !store.data().awaits.are_within_limit() {
        return refused(Refusal::TooMany);
    }
    if let Some(refusal) = refuse_language_model(&store.data().shared, model) {
        return refused(refusal);
    }
    let (inputs, bytes) = match check_request(&mut store, model, &inputs)? {
        Ok((inputs, bytes)) => (Arc::new(inputs), bytes),
        Err(refusal) => return refused(refusal),
    };
    let effect = Effect::Infer {
        model,
        inputs: Arc::clone(&inputs),
    };
    let data = store.data_mut();
    data.effects.push(effect, bytes);
    let result = data.awaits.request(model, inputs).await;
    let outputs = events::convert_result(&store.data().shared, model, result);
    Ok(outputs.map_err(AwaitError::Failed))
}
