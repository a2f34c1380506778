//! The functions that an agent can call: the interface `host` of `wit/lockstep.wit`, and of its former version.
//!
//! Arguments arrive as ranges of the agent's memory. Their size is checked first, and they are copied once, into the
//! effect, so an agent cannot make the host allocate memory for a call that it refuses.

mod infer;
mod input_match;
mod lookups;
mod request;
mod tensors;

use crate::bindings::lockstep::agent::host::{AwaitError, LogLevel, Refusal};
use crate::bindings::v0_1::lockstep::agent as v0_1;
use crate::effects::HostCall;
use crate::interface_version::InterfaceVersion;
use crate::store_data::StoreData;
use request::{check_call, check_request};
use shm_protocol::agent_to_supervisor::{self, Effect};
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::{AgentId, ModelId, RequestId};
use shm_protocol::limit;
use shm_protocol::tensor::Tensor;
use tensors::RawNamedTensor;
use wasmtime::component::{ComponentType, Linker, LinkerInstance, Lower, WasmList, WasmStr};
use wasmtime::{Engine, StoreContextMut};

pub(crate) use infer::INFER_FUNCTION;

/// Maximum bytes of the arguments of one call, or twice the limit of a step if that is more. A call beyond it ends the
/// step. It is far above the limits of single calls, which answer with a refusal.
pub(crate) const MAX_ARGUMENT_BYTES: usize = 64 << 20;

const _: () = assert!(MAX_ARGUMENT_BYTES > limit::STEP_BYTES);

type HostCallResult<T> = wasmtime::Result<Result<T, Refusal>>;

/// A linker with every function that an agent can call, in every version of the interface.
///
/// # Errors
/// When the engine is out of memory.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    let mut host = linker.instance(InterfaceVersion::V0_1.host_interface())?;
    define::<v0_1::host::Refusal, v0_1::host::WaitError>(&mut host)?;
    let mut host = linker.instance(InterfaceVersion::V0_2.host_interface())?;
    define::<Refusal, AwaitError>(&mut host)?;
    host.func_wrap("finish", |store, (reason,)| Ok((finish(store, &reason)?,)))?;
    lookups::define(&mut host)?;
    Ok(linker)
}

/// Defines the functions that all versions have. They differ in the types of their errors.
fn define<R, E>(host: &mut LinkerInstance<'_, StoreData>) -> wasmtime::Result<()>
where
    R: From<Refusal> + ComponentType + Lower + Send + Sync + 'static,
    E: From<AwaitError> + ComponentType + Lower + Send + Sync + 'static,
{
    host.func_wrap("tick", |store: StoreContextMut<'_, StoreData>, ()| {
        fault::point(FaultPoint::InStep);
        Ok((store.data().tick.0,))
    })?;
    host.func_wrap("random", |store, ()| Ok((random(store),)))?;
    host.func_wrap("log", |store, (level, text)| log(store, level, &text))?;
    host.func_wrap("send", |store, (to, payload)| {
        Ok((send(store, AgentId(to), &payload).map_err(R::from),))
    })?;
    host.func_wrap("submit", |store, (model, inputs)| {
        Ok((submit(store, ModelId(model), &inputs)?.map_err(R::from),))
    })?;
    host.func_wrap("emit", |store, (topic, payload)| {
        Ok((emit(store, &topic, &payload)?.map_err(R::from),))
    })?;
    host.func_wrap_async(INFER_FUNCTION, |store, (model, inputs)| {
        Box::new(async move {
            let outputs = infer::infer(store, ModelId(model), inputs).await?;
            Ok((outputs.map_err(E::from),))
        })
    })
}

fn random(mut store: StoreContextMut<'_, StoreData>) -> u64 {
    fault::point(FaultPoint::InStep);
    let data = store.data_mut();
    data.random.next(data.tick)
}

fn log(
    mut store: StoreContextMut<'_, StoreData>,
    level: LogLevel,
    text: &WasmStr,
) -> wasmtime::Result<()> {
    fault::point(FaultPoint::InStep);
    // Counted before the text is read, because reading a long one takes time.
    if !store.data_mut().effects.count(HostCall::Log) {
        return Ok(());
    }
    let text = text.to_str(&store)?.into_owned();
    store.data_mut().effects.log(level.into(), &text);
    Ok(())
}

fn send(
    mut store: StoreContextMut<'_, StoreData>,
    to: AgentId,
    payload: &WasmList<u8>,
) -> Result<(), Refusal> {
    check_call(&mut store, HostCall::Send)?;
    let data = store.data();
    if data.shared.agents.name(to.0).is_none() {
        return Err(Refusal::NoSuchAgent);
    }
    let bytes = payload.len();
    if bytes > limit::PAYLOAD_BYTES || !data.effects.admits(bytes) {
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
    mut store: StoreContextMut<'_, StoreData>,
    topic: &WasmStr,
    payload: &WasmList<u8>,
) -> HostCallResult<()> {
    if let Err(refusal) = check_call(&mut store, HostCall::Emit) {
        return Ok(Err(refusal));
    }
    let topic = topic.to_str(&store)?;
    let bytes = topic.len() + payload.len();
    let too_large = topic.len() > limit::PAYLOAD_BYTES || payload.len() > limit::PAYLOAD_BYTES;
    if too_large || !store.data().effects.admits(bytes) {
        return Ok(Err(Refusal::TooLarge));
    }
    let effect = Effect::Emit {
        topic: topic.into_owned(),
        payload: payload.as_le_slice(&store).to_vec(),
    };
    store.data_mut().effects.push(effect, bytes);
    Ok(Ok(()))
}

fn finish(mut store: StoreContextMut<'_, StoreData>, reason: &WasmStr) -> HostCallResult<()> {
    if let Err(refusal) = check_call(&mut store, HostCall::Finish) {
        return Ok(Err(refusal));
    }
    if !store.data().may_finish {
        return Ok(Err(Refusal::NotGranted));
    }
    let reason = reason.to_str(&store)?;
    let bytes = reason.len();
    if bytes > limit::FINISH_REASON_BYTES || !store.data().effects.admits(bytes) {
        return Ok(Err(Refusal::TooLarge));
    }
    let reason = reason.into_owned();
    let effects = &mut store.data_mut().effects;
    effects.push(Effect::Finish { reason }, bytes);
    Ok(Ok(()))
}

fn submit(
    mut store: StoreContextMut<'_, StoreData>,
    model: ModelId,
    inputs: &WasmList<RawNamedTensor>,
) -> HostCallResult<u64> {
    if let Err(refusal) = check_call(&mut store, HostCall::Submit) {
        return Ok(Err(refusal));
    }
    let request = match check_request(&mut store, model, inputs)? {
        Ok((inputs, bytes)) => submit_request(store.data_mut(), model, inputs, bytes),
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(Ok(request.0))
}

/// Adds a request with the agent's next number to the effects.
fn submit_request(
    data: &mut StoreData,
    model: ModelId,
    inputs: Vec<Tensor>,
    bytes: usize,
) -> RequestId {
    let request = data.next_request;
    data.next_request = RequestId(request.0 + 1);
    data.effects.push(
        Effect::Submit {
            request,
            model,
            inputs,
        },
        bytes,
    );
    request
}

impl From<Refusal> for v0_1::host::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchAgent => Self::NoSuchAgent,
            Refusal::NoSuchModel => Self::NoSuchModel,
            Refusal::TooLarge => Self::TooLarge,
            Refusal::TooMany => Self::TooMany,
            Refusal::Mismatch(text) => Self::Mismatch(text),
            Refusal::NotInInit => Self::NotInInit,
            Refusal::NotGranted => unreachable!("this version has no call that is granted"),
        }
    }
}

impl From<AwaitError> for v0_1::host::WaitError {
    fn from(error: AwaitError) -> Self {
        match error {
            AwaitError::Refused(refusal) => Self::Refused(refusal.into()),
            AwaitError::Failed(reason) => Self::Failed(reason),
        }
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
