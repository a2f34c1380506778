//! Obeys the supervisor's commands, up to the end.

use crate::allowance;
use crate::backend::InferenceBackend;
use crate::confine;
use crate::error::HostError;
use crate::generator;
use crate::library::CheckedLibrary;
use crate::load::Loader;
use crate::models::Models;
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

/// Loads the engine and the models, then serves batches until told to end.
///
/// # Errors
/// When this host cannot go on. A model that cannot be loaded is no such case: the supervisor is told, and decides.
pub fn obey(
    link: &mut HostLink,
    artifacts: &SealedMap,
    mut control: ControlChannel<InferenceCommand>,
) -> Result<(), HostError> {
    let setup = match control.receive()? {
        InferenceCommand::Setup(setup) => setup,
        InferenceCommand::Drain => return Ok(()),
        other => return Err(out_of_place("a setup", &other)),
    };
    allowance::prepare();
    fault::point(FaultPoint::BeforeEngine);
    let engine = start_engine(&setup)?;
    fault::point(FaultPoint::AfterEngine);
    // The embedded engine has no drivers that would open files, so the models are read behind the wall already.
    let is_embedded = setup.library.is_none();
    if is_embedded {
        confine();
    }
    link.push(
        &RecordHeader::new(ENGINE_READY, Tick::ZERO),
        &codec::encode(engine.engine()),
    )?;
    let commands = control.listen(|command| *command == InferenceCommand::Drain)?;
    let loader = Loader {
        engine: &engine,
        artifacts: artifacts.bytes(),
    };
    let Some(mut models) = load_models(link, &loader, &commands)? else {
        return Ok(());
    };
    if !is_embedded && models.all_on("cpu") && !setup.loads_drivers_later {
        confine();
    } else if !is_embedded {
        tracing::warn!(
            "a model runs on a driver that needs files, or may do so later, so the inference host can still open them"
        );
    }
    generator::prepare().map_err(HostError::Requests)?;
    serve(link, &mut models, Some(&loader), &mut || {
        matches!(commands.try_next(), Some(InferenceCommand::Drain))
    })
}

/// Loads models until told to start. `None` when told to end instead.
fn load_models(
    link: &mut HostLink,
    loader: &Loader<'_>,
    commands: &CommandReceiver<InferenceCommand>,
) -> Result<Option<Models>, HostError> {
    let mut models = Models::default();
    loop {
        match commands.next() {
            Some(InferenceCommand::Load(load)) => {
                loader.bring(link, &load, &mut models)?;
            }
            Some(InferenceCommand::Prove(name)) => {
                let result = Provider::named(&name)
                    .ok_or_else(|| "it is unknown".to_owned())
                    .and_then(|provider| loader.engine.proved(provider));
                let proved = ProviderTest {
                    provider: name,
                    result,
                };
                link.push(
                    &RecordHeader::new(PROVIDER_PROVED, Tick::ZERO),
                    &codec::encode(&proved),
                )?;
            }
            Some(InferenceCommand::Start) => return Ok(Some(models)),
            Some(InferenceCommand::Drain) | None => return Ok(None),
            Some(other @ InferenceCommand::Setup(_)) => {
                return Err(out_of_place("a load or a start", &other));
            }
        }
    }
}

fn start_engine(setup: &EngineSetup) -> Result<OnnxRuntime, HostError> {
    if setup.intra_threads == 0 {
        return Err(HostError::NoThreads);
    }
    let library = CheckedLibrary::open(setup.library.as_deref().map(Path::new))?;
    Ok(OnnxRuntime::start(library, setup.intra_threads)?)
}

fn confine() {
    for Layer { name, missing } in confine::after_engine() {
        match missing {
            None => tracing::debug!("confinement: {name} holds"),
            Some(reason) => tracing::warn!("confinement: {name} does not hold: {reason}"),
        }
    }
}

fn out_of_place(expected: &'static str, got: &InferenceCommand) -> HostError {
    let got = match got {
        InferenceCommand::Setup(_) => "a setup",
        InferenceCommand::Load(_) => "a load",
        InferenceCommand::Prove(_) => "a provider to prove",
        InferenceCommand::Start => "a start",
        InferenceCommand::Drain => "a drain",
    };
    HostError::Protocol {
        expected,
        got: got.to_owned(),
    }
}
