//! The restart of the inference host: the engine is loaded, and every version of a model that is needed.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slot::HostStage;
use super::host_slots::HostSlots;
use super::loaded_models::LoadedModels;
use super::restart::LoadProgress;
use crate::error::RunError;
use crate::host::LoadSequence;
use crate::record::EnginePin;
use shm_protocol::id::HostId;
use shm_protocol::inference_to_supervisor::{ENGINE_READY, EngineReady, MODEL_LOADED, ModelLoaded};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::InferenceCommand;

/// Tells an inference host that is ready which engine to load.
pub(super) fn begin(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    host: HostId,
) -> Result<(), LoopError> {
    let slot = slots.get_mut(host);
    slot.stage = HostStage::Loading(LoadProgress::Engine(None));
    slot.expect_replies(1);
    let setup = InferenceCommand::Setup(context.config.engine.clone());
    Ok(context.hosts.command_inference(setup)?)
}

/// The engine is loaded, or a model. Both must be what they were. Gives whether the host serves now.
pub(super) fn on_loaded(
    context: &mut RunContext<'_>,
    slots: &mut HostSlots,
    models: &mut LoadedModels,
    host: HostId,
    header: &RecordHeader,
) -> Result<bool, LoopError> {
    let stage = &mut slots.get_mut(host).stage;
    let HostStage::Loading(LoadProgress::Engine(loads)) = stage else {
        unreachable!("the caller has looked");
    };
    let mut loads = match loads.take() {
        None => {
            check_engine(context, host, header)?;
            LoadSequence::models_after_setup(context.machine.needed_versions())
        }
        Some(mut loads) => {
            let loaded: ModelLoaded = context.decode(host, header, MODEL_LOADED)?;
            loads.extend(models.take_loaded(context, loaded)?);
            loads
        }
    };
    loads.on_reply();
    let slot = slots.get_mut(host);
    slot.on_replies(1);
    if let Some(version) = loads.next_to_send() {
        let load = InferenceCommand::Load(models.load_command(version));
        slot.stage = HostStage::Loading(LoadProgress::Engine(Some(loads)));
        slot.expect_replies(1);
        context.hosts.command_inference(load)?;
        return Ok(false);
    }
    context.hosts.command_inference(InferenceCommand::Start)?;
    context.hosts.started(host)?;
    slot.stage = HostStage::Serving;
    Ok(true)
}

fn check_engine(
    context: &RunContext<'_>,
    host: HostId,
    header: &RecordHeader,
) -> Result<(), LoopError> {
    let ready: EngineReady = context.decode(host, header, ENGINE_READY)?;
    let present = EnginePin {
        name: ready.engine,
        library: ready.library_digest,
        intra_op_threads: context.config.engine.intra_op_threads,
    };
    let before = context.header.engine.as_ref();
    if before == Some(&present) {
        return Ok(());
    }
    Err(LoopError::Run(RunError::EngineChanged {
        before: before.map_or_else(String::new, ToString::to_string),
        now: present.to_string(),
    }))
}
