//! A request for whose answer the step waits.

use super::tensors::RawNamedTensor;
use super::{begin, request};
use crate::bindings::lockstep::agent::host::{Refusal, WaitError};
use crate::bindings::lockstep::agent::types::NamedTensor;
use crate::effects::Call;
use crate::events;
use crate::fleet::Fleet;
use crate::state::State;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::generation;
use shm_protocol::id::ModelId;
use std::sync::Arc;
use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

/// The name of the function. A component that imports it is stepped on a stack of its own.
pub(crate) const INFER: &str = "infer";

/// Why no step can wait for a model, if none can.
fn unfit(fleet: &Fleet, model: ModelId) -> Option<Refusal> {
    let (name, ports) = fleet.model(model)?;
    let is_writer = ports.signature == generation::signature();
    is_writer.then(|| {
        Refusal::Mismatch(format!(
            "model {name} writes over many ticks, and no step can wait for that: ask it with submit"
        ))
    })
}

type Outputs = (Result<Vec<NamedTensor>, WaitError>,);

/// Asks a model and waits.
///
/// # Errors
/// When the agent's memory does not hold what its call says, or the request does not fit and the model says to stop
/// then. The step ends with that.
pub(super) async fn infer(
    mut store: StoreContextMut<'_, State>,
    model: ModelId,
    inputs: WasmList<RawNamedTensor>,
) -> wasmtime::Result<Outputs> {
    let refused = |refusal| Ok((Err(WaitError::Refused(refusal)),));
    if let Err(refusal) = begin(&mut store, Call::Infer) {
        return refused(refusal);
    }
    if !store.data().waits.are_admitted() {
        return refused(Refusal::TooMany);
    }
    if let Some(refusal) = unfit(&store.data().fleet, model) {
        return refused(refusal);
    }
    let (inputs, bytes) = match request(&mut store, model, &inputs)? {
        Ok((inputs, bytes)) => (Arc::new(inputs), bytes),
        Err(refusal) => return refused(refusal),
    };
    let effect = Effect::Infer {
        model,
        inputs: Arc::clone(&inputs),
    };
    let state = store.data_mut();
    state.effects.push(effect, bytes);
    let answer = state.waits.ask(model, inputs).await;
    let outputs = events::answer(&store.data().fleet, model, answer);
    Ok((outputs.map_err(WaitError::Failed),))
}
