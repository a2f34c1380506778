//! The checks that a call passes before it has an effect.

use super::input_match::match_inputs;
use super::tensors::{RawNamedTensor, lift};
use crate::bindings::lockstep::agent::host::Refusal;
use crate::effects::HostCall;
use crate::store_data::StoreData;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::ModelId;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnMismatch;
use shm_protocol::tensor::Tensor;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

/// Checks that a call with an effect is allowed now, and counts it.
pub(super) fn check_call(
    store: &mut StoreContextMut<'_, StoreData>,
    call: HostCall,
) -> Result<(), Refusal> {
    fault::point(FaultPoint::InStep);
    let data = store.data_mut();
    if data.in_init() {
        Err(Refusal::NotInInit)
    } else if data.effects.count(call) {
        Ok(())
    } else {
        Err(Refusal::TooMany)
    }
}

/// Checks the inputs of a request and copies them in the model's order. Also returns their size, for which the step has
/// room.
///
/// # Errors
/// When the agent's memory does not hold what its call says, or the inputs do not fit and the model's `on_mismatch`
/// stops the run. The step ends with the error.
pub(super) fn check_request(
    store: &mut StoreContextMut<'_, StoreData>,
    model: ModelId,
    inputs: &WasmList<RawNamedTensor>,
) -> wasmtime::Result<Result<(Vec<Tensor>, usize), Refusal>> {
    let shared = Arc::clone(&store.data().shared);
    let Some((name, ports)) = shared.model(model) else {
        return Ok(Err(Refusal::NoSuchModel));
    };
    if inputs.len() > limit::TENSORS {
        return Ok(Err(Refusal::TooLarge));
    }
    let inputs = lift(store, inputs)?;
    let order = match match_inputs(&ports.signature.inputs, &inputs.view(store)?) {
        Ok(order) => order,
        Err(reason) => {
            let text = format!("model {name}: {reason}");
            return match ports.on_mismatch {
                OnMismatch::Reject => Ok(Err(Refusal::Mismatch(text))),
                OnMismatch::Stop => {
                    store.data_mut().mismatch = Some(text);
                    Err(wasmtime::Error::msg("a request does not fit its model"))
                }
            };
        }
    };
    let view = inputs.view(store)?;
    let bytes = view.iter().map(|input| input.data.len()).sum();
    if !store.data().effects.admits(bytes) {
        return Ok(Err(Refusal::TooLarge));
    }
    let inputs = order
        .iter()
        .map(|position| view[*position].to_tensor())
        .collect();
    Ok(Ok((inputs, bytes)))
}
