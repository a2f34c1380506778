//! Obeys the supervisor's commands, up to the end.

use crate::backend::{InferenceBackend, Model, Wanted};
use crate::confine;
use crate::error::HostError;
use crate::generator::{self, Loaded};
use crate::library::CheckedLibrary;
use crate::onnx::OnnxRuntime;
use crate::probe;
use crate::serve::{Models, serve};
use shm_protocol::agent_to_supervisor::{Blame, Layer};
use shm_protocol::codec;
use shm_protocol::fault::{self, Kind, Phase};
use shm_protocol::generation::{Generator, signature};
use shm_protocol::host_process::{Commands, Control};
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::{
    ENGINE_READY, LoadRefused, MODEL_LOADED, ModelFacts, ModelLoaded, PROVIDER_PROVED,
    ProviderProved,
};
use shm_protocol::limit;
use shm_protocol::link::HostLink;
use shm_protocol::pack::{self, Pack};
use shm_protocol::provider::Provider;
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_inference::{Command, Load, Setup};
use shm_protocol::sys::SealedMap;
use std::path::Path;

/// Loads the engine and the models, then serves batches until told to end.
///
/// # Errors
/// When this host cannot go on. A model that cannot be loaded is no such case: the supervisor is told, and decides.
pub fn obey(
    link: &mut HostLink,
    artifacts: &SealedMap,
    mut control: Control<Command>,
) -> Result<(), HostError> {
    let setup = match control.receive()? {
        Command::Setup(setup) => setup,
        Command::Drain => return Ok(()),
        other => return Err(out_of_place("a setup", &other)),
    };
    fault::point(Phase::BeforeEngine);
    let engine = start_engine(&setup)?;
    fault::point(Phase::AfterEngine);
    // The embedded engine has no drivers that would open files, so the models are read behind the wall already.
    let is_embedded = setup.library.is_none();
    if is_embedded {
        confine();
    }
    link.push(
        &Header::new(ENGINE_READY, Tick::ZERO),
        &codec::encode(engine.engine()),
    )?;
    let commands = control.listen(|command| *command == Command::Drain)?;
    let Some(mut models) = load_models(link, artifacts, &engine, &commands)? else {
        return Ok(());
    };
    if !is_embedded && models.all_on("cpu") {
        confine();
    } else if !is_embedded {
        tracing::warn!(
            "a model runs on a driver that needs files, so the inference host can still open them"
        );
    }
    serve(link, &mut models, &mut || {
        matches!(commands.try_next(), Some(Command::Drain))
    })
}

/// Loads models until told to start. `None` when told to end instead.
fn load_models(
    link: &mut HostLink,
    artifacts: &SealedMap,
    engine: &OnnxRuntime,
    commands: &Commands<Command>,
) -> Result<Option<Models>, HostError> {
    let mut models = Models::default();
    loop {
        match commands.next() {
            Some(Command::Load(load)) => {
                let result = load_model(engine, artifacts.bytes(), &load, &mut models);
                fault::at(Phase::AfterModel, Tick::ZERO, load.model.0);
                let loaded = ModelLoaded {
                    model: load.model,
                    result,
                };
                link.push(
                    &Header::new(MODEL_LOADED, Tick::ZERO),
                    &codec::encode(&loaded),
                )?;
            }
            Some(Command::Prove(name)) => {
                let result = Provider::named(&name)
                    .ok_or_else(|| "it is unknown".to_owned())
                    .and_then(|provider| engine.proved(provider));
                let proved = ProviderProved {
                    provider: name,
                    result,
                };
                link.push(
                    &Header::new(PROVIDER_PROVED, Tick::ZERO),
                    &codec::encode(&proved),
                )?;
            }
            Some(Command::Start) => return Ok(Some(models)),
            Some(Command::Drain) | None => return Ok(None),
            Some(other @ Command::Setup(_)) => {
                return Err(out_of_place("a load or a start", &other));
            }
        }
    }
}

fn start_engine(setup: &Setup) -> Result<OnnxRuntime, HostError> {
    if setup.intra_threads == 0 {
        return Err(HostError::NoThreads);
    }
    let library = CheckedLibrary::open(setup.library.as_deref().map(Path::new))?;
    Ok(OnnxRuntime::start(library, setup.intra_threads)?)
}

/// Loads one model, finds out whether its requests may be joined, and keeps it.
fn load_model(
    engine: &dyn InferenceBackend,
    artifacts: &[u8],
    load: &Load,
    models: &mut Models,
) -> Result<ModelFacts, LoadRefused> {
    if fault::fails(Phase::BeforeModel, Tick::ZERO, load.model.0) {
        return Err(LoadRefused {
            blame: Blame::Input,
            message: format!(
                "model `{}` is gone, because a fault plan says so ({})",
                load.name,
                Kind::ModelGone.name()
            ),
        });
    }
    let file = load
        .artifact
        .within(artifacts.len())
        .map(|range| &artifacts[range])
        .ok_or_else(|| LoadRefused {
            blame: Blame::Us,
            message: format!(
                "model `{}` lies outside the memory that was passed ({:?})",
                load.name, load.artifact
            ),
        })?;
    let wanted = Wanted {
        name: &load.name,
        providers: &load.providers,
        strict_providers: load.strict_providers,
        beside: &[],
        ports: limit::TENSORS,
    };
    let (prepared, facts) = match &load.generator {
        Some(generator) => load_generator(engine, file, &wanted, generator, load.may_batch)?,
        None => load_plain(engine, file, &wanted, load.may_batch)?,
    };
    models.insert(load.model, &load.name, &facts.provider, prepared);
    Ok(facts)
}

/// Loads a folder with a language model.
fn load_generator(
    engine: &dyn InferenceBackend,
    file: &[u8],
    wanted: &Wanted<'_>,
    generator: &Generator,
    may_batch: bool,
) -> Result<(Box<dyn Model>, ModelFacts), LoadRefused> {
    let Loaded { prepared, batching } =
        generator::load(engine, file, wanted, generator, may_batch)?;
    let facts = ModelFacts {
        // What agents see; what the ring carries is the host's and the supervisor's own affair.
        signature: signature(),
        provider: prepared.provider,
        refused: prepared.refused,
        batching,
    };
    Ok((prepared.model, facts))
}

/// Loads an ONNX file, or a pack of one and the files with its weights.
fn load_plain(
    engine: &dyn InferenceBackend,
    file: &[u8],
    wanted: &Wanted<'_>,
    may_batch: bool,
) -> Result<(Box<dyn Model>, ModelFacts), LoadRefused> {
    let mut prepared = if pack::is_pack(file) {
        let pack = Pack::open(file).map_err(|error| LoadRefused {
            blame: Blame::Input,
            message: format!("model `{}`: {error}", wanted.name),
        })?;
        let graph = pack.files().next().map_or("", |(name, _)| name);
        let beside = generator::beside(&pack, graph);
        engine.load(
            pack.main(),
            &Wanted {
                beside: &beside,
                ..*wanted
            },
        )?
    } else {
        engine.load(file, wanted)?
    };
    let batching = probe::batching(prepared.model.as_mut(), may_batch);
    let facts = ModelFacts {
        signature: prepared.model.signature().clone(),
        provider: prepared.provider,
        refused: prepared.refused,
        batching,
    };
    Ok((prepared.model, facts))
}

fn confine() {
    for Layer { name, missing } in confine::after_engine() {
        match missing {
            None => tracing::debug!("confinement: {name} holds"),
            Some(reason) => tracing::warn!("confinement: {name} does not hold: {reason}"),
        }
    }
}

fn out_of_place(expected: &'static str, got: &Command) -> HostError {
    let got = match got {
        Command::Setup(_) => "a setup",
        Command::Load(_) => "a load",
        Command::Prove(_) => "a provider to prove",
        Command::Start => "a start",
        Command::Drain => "a drain",
    };
    HostError::Protocol {
        expected,
        got: got.to_owned(),
    }
}
