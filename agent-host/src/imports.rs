//! What an agent can call: the interface `host` of `wit/lockstep.wit`.
//!
//! Arguments arrive as ranges of the agent's memory. They are measured first
//! and copied once, into the effect, so an agent cannot make the host allocate
//! what it will refuse.

mod fit;
mod infer;
mod tensors;

use crate::bindings::lockstep::agent::host::{LogLevel, Refusal};
use crate::effects::Call;
use crate::state::State;
use shm_protocol::agent_to_supervisor::{self, Effect};
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::{AgentId, ModelId, RequestId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnMismatch;
use shm_protocol::tensor::Tensor;
use std::sync::Arc;
use tensors::{RawNamedTensor, lift};
use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::{Engine, StoreContextMut};

pub(crate) use infer::INFER;

/// The interface as components import it.
pub(crate) const HOST: &str = "lockstep:agent/host@0.1.0";

/// Most bytes that the arguments of one call may span, or twice what a step may hold if that is more. What is over it ends
/// the step: beyond any limit of ours, and below it every call is answered by a refusal.
pub(crate) const ARGUMENT_BYTES: usize = 64 << 20;

const _: () = assert!(ARGUMENT_BYTES > limit::STEP_BYTES);

type Answer<T> = wasmtime::Result<(Result<T, Refusal>,)>;

/// Everything that an agent can call.
///
/// # Errors
/// When the engine is out of memory.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let mut host = linker.instance(HOST)?;
    host.func_wrap("tick", |store: StoreContextMut<'_, State>, ()| {
        fault::point(FaultPoint::InStep);
        Ok((store.data().tick.0,))
    })?;
    host.func_wrap("random", |store, ()| Ok((random(store),)))?;
    host.func_wrap("log", |store, (level, text)| log(store, level, &text))?;
    host.func_wrap("send", |store, (to, payload)| {
        Ok((send(store, AgentId(to), &payload),))
    })?;
    host.func_wrap("submit", |store, (model, inputs)| {
        submit(store, ModelId(model), &inputs)
    })?;
    host.func_wrap("emit", |store, (topic, payload)| {
        emit(store, &topic, &payload)
    })?;
    host.func_wrap_async(INFER, |store, (model, inputs)| {
        Box::new(infer::infer(store, ModelId(model), inputs))
    })?;
    Ok(linker)
}

fn random(mut store: StoreContextMut<'_, State>) -> u64 {
    fault::point(FaultPoint::InStep);
    let state = store.data_mut();
    state.random.next(state.tick)
}

fn log(
    mut store: StoreContextMut<'_, State>,
    level: LogLevel,
    text: &WasmStr,
) -> wasmtime::Result<()> {
    fault::point(FaultPoint::InStep);
    // Before the text is looked at: looking at a long one takes time.
    if !store.data_mut().effects.count(Call::Log) {
        return Ok(());
    }
    let text = text.to_str(&store)?.into_owned();
    store.data_mut().effects.log(level.into(), &text);
    Ok(())
}

fn send(
    mut store: StoreContextMut<'_, State>,
    to: AgentId,
    payload: &WasmList<u8>,
) -> Result<(), Refusal> {
    begin(&mut store, Call::Send)?;
    let state = store.data();
    if to.index() >= state.fleet.setup.agents.len() {
        return Err(Refusal::NoSuchAgent);
    }
    let bytes = payload.len();
    if bytes > limit::PAYLOAD_BYTES || !state.effects.admits(bytes) {
        return Err(Refusal::TooLarge);
    }
    let payload = payload.as_le_slice(&store).to_vec();
    store
        .data_mut()
        .effects
        .push(Effect::Send { to, payload }, bytes);
    Ok(())
}

fn emit(
    mut store: StoreContextMut<'_, State>,
    topic: &WasmStr,
    payload: &WasmList<u8>,
) -> Answer<()> {
    if let Err(refusal) = begin(&mut store, Call::Emit) {
        return Ok((Err(refusal),));
    }
    let topic = topic.to_str(&store)?;
    let bytes = topic.len() + payload.len();
    let too_large = topic.len() > limit::PAYLOAD_BYTES || payload.len() > limit::PAYLOAD_BYTES;
    if too_large || !store.data().effects.admits(bytes) {
        return Ok((Err(Refusal::TooLarge),));
    }
    let effect = Effect::Emit {
        topic: topic.into_owned(),
        payload: payload.as_le_slice(&store).to_vec(),
    };
    store.data_mut().effects.push(effect, bytes);
    Ok((Ok(()),))
}

fn submit(
    mut store: StoreContextMut<'_, State>,
    model: ModelId,
    inputs: &WasmList<RawNamedTensor>,
) -> Answer<u64> {
    if let Err(refusal) = begin(&mut store, Call::Submit) {
        return Ok((Err(refusal),));
    }
    let request = match request(&mut store, model, inputs)? {
        Ok((inputs, bytes)) => accept(store.data_mut(), model, inputs, bytes),
        Err(refusal) => return Ok((Err(refusal),)),
    };
    Ok((Ok(request.0),))
}

/// The inputs of a request in the model's order, and how many bytes they have, which the step may hold.
fn request(
    store: &mut StoreContextMut<'_, State>,
    model: ModelId,
    inputs: &WasmList<RawNamedTensor>,
) -> wasmtime::Result<Result<(Vec<Tensor>, usize), Refusal>> {
    let fleet = Arc::clone(&store.data().fleet);
    let Some((name, ports)) = fleet.model(model) else {
        return Ok(Err(Refusal::NoSuchModel));
    };
    if inputs.len() > limit::TENSORS {
        return Ok(Err(Refusal::TooLarge));
    }
    let inputs = lift(store, inputs)?;
    let order = match fit::order(&ports.signature.inputs, &inputs.view(store)?) {
        Ok(order) => order,
        Err(reason) => {
            let text = format!("model {name}: {reason}");
            return match ports.on_mismatch {
                OnMismatch::Refuse => Ok(Err(Refusal::Mismatch(text))),
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

fn accept(state: &mut State, model: ModelId, inputs: Vec<Tensor>, bytes: usize) -> RequestId {
    let request = state.next_request;
    state.next_request = RequestId(request.0 + 1);
    state.effects.push(
        Effect::Submit {
            request,
            model,
            inputs,
        },
        bytes,
    );
    request
}

/// What every call that has an effect begins with.
fn begin(store: &mut StoreContextMut<'_, State>, call: Call) -> Result<(), Refusal> {
    fault::point(FaultPoint::InStep);
    let state = store.data_mut();
    if state.in_init() {
        Err(Refusal::NotInInit)
    } else if state.effects.count(call) {
        Ok(())
    } else {
        Err(Refusal::TooMany)
    }
}

impl From<LogLevel> for agent_to_supervisor::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::Trace,
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}
