//! The command loop: from the supervisor's setup to its drain.

use crate::backend::InferenceBackend;
use crate::confine;
use crate::error::InferenceHostError;
use crate::language_model;
use crate::library::CheckedLibrary;
use crate::memory_budget;
use crate::model_loader::ModelLoader;
use crate::model_registry::ModelRegistry;
use crate::onnx::OnnxRuntime;
use crate::serve::serve;
use shm_protocol::agent_to_supervisor::Layer;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::host_process::{CommandReceiver, ControlChannel};
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::{ENGINE_READY, PROVIDER_PROVED, ProviderTest};
use shm_protocol::link::HostLink;
use shm_protocol::provider::Provider;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{EngineSetup, InferenceCommand};
use shm_protocol::sys::SealedMap;
use std::path::Path;

/// Loads the engine and the models, then serves batches until the supervisor drains this host.
///
/// # Errors
/// When this host cannot go on. A model that cannot be loaded is reported to the supervisor, which decides.
pub fn run(
    link: &mut HostLink,
    artifacts: &SealedMap,
    mut control: ControlChannel<InferenceCommand>,
) -> Result<(), InferenceHostError> {
    let setup = match control.receive()? {
        InferenceCommand::Setup(setup) => setup,
        InferenceCommand::Drain => return Ok(()),
        other => return Err(unexpected_command("a setup", &other)),
    };
    memory_budget::prepare();
    fault::point(FaultPoint::BeforeEngine);
    let engine = start_engine(&setup)?;
    fault::point(FaultPoint::AfterEngine);
    // The embedded engine has no drivers that open files, so the process is confined before it reads a model.
    let is_embedded = setup.library.is_none();
    if is_embedded {
        confine();
    }
    link.push(
        &RecordHeader::new(ENGINE_READY, Tick::ZERO),
        &codec::encode(engine.engine()),
    )?;
    let commands = control.listen(|command| *command == InferenceCommand::Drain)?;
    let loader = ModelLoader {
        engine: &engine,
        artifacts: artifacts.bytes(),
    };
    let Some(mut models) = load_models(link, &loader, &commands)? else {
        return Ok(());
    };
    if !is_embedded && models.all_run_on("cpu") && !setup.loads_drivers_later {
        confine();
    } else if !is_embedded {
        tracing::warn!(
            "confinement: the inference host can still open files, because the driver of a provider needs them"
        );
    }
    language_model::start_worker().map_err(InferenceHostError::RequestThread)?;
    serve(link, &mut models, Some(&loader), &mut || {
        matches!(commands.try_next(), Some(InferenceCommand::Drain))
    })
}

/// Loads models until the supervisor starts this host. `None` if it drains it instead.
fn load_models(
    link: &mut HostLink,
    loader: &ModelLoader<'_>,
    commands: &CommandReceiver<InferenceCommand>,
) -> Result<Option<ModelRegistry>, InferenceHostError> {
    let mut models = ModelRegistry::default();
    loop {
        match commands.next() {
            Some(InferenceCommand::Load(load)) => {
                loader.load_version(link, &load, &mut models)?;
            }
            Some(InferenceCommand::Prove(name)) => {
                let result = Provider::named(&name)
                    .ok_or_else(|| "it is no known provider".to_owned())
                    .and_then(|provider| loader.engine.check_provider(provider));
                let tested = ProviderTest {
                    provider: name,
                    result,
                };
                link.push(
                    &RecordHeader::new(PROVIDER_PROVED, Tick::ZERO),
                    &codec::encode(&tested),
                )?;
            }
            Some(InferenceCommand::Start) => return Ok(Some(models)),
            Some(InferenceCommand::Drain) | None => return Ok(None),
            Some(other @ InferenceCommand::Setup(_)) => {
                return Err(unexpected_command("a load or a start", &other));
            }
        }
    }
}

fn start_engine(setup: &EngineSetup) -> Result<OnnxRuntime, InferenceHostError> {
    if setup.intra_op_threads == 0 {
        return Err(InferenceHostError::NoThreads);
    }
    let library = CheckedLibrary::open(setup.library.as_deref().map(Path::new))?;
    Ok(OnnxRuntime::start(library, setup.intra_op_threads)?)
}

fn confine() {
    for Layer { name, missing } in confine::after_engine() {
        match missing {
            None => tracing::debug!("confinement: {name} holds"),
            Some(reason) => tracing::warn!("confinement: {name} does not hold: {reason}"),
        }
    }
}

fn unexpected_command(expected: &'static str, got: &InferenceCommand) -> InferenceHostError {
    let got = match got {
        InferenceCommand::Setup(_) => "a setup",
        InferenceCommand::Load(_) => "a load",
        InferenceCommand::Prove(_) => "a provider to test",
        InferenceCommand::Start => "a start",
        InferenceCommand::Drain => "a drain",
    };
    InferenceHostError::Protocol {
        expected,
        got: got.to_owned(),
    }
}
