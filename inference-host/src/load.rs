//! From an order to load a version of a model to a model that is ready to run.

use crate::allowance::Allowance;
use crate::backend::{InferenceBackend, Model, Wanted};
use crate::error::HostError;
use crate::generator::{self, Loaded, May};
use crate::models::{Models, Named};
use crate::onnx::OnnxRuntime;
use crate::probe;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::bundle::{self, ModelBundle};
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultKind, FaultPoint};
use shm_protocol::generation::{Generator, signature};
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::{
    Batching, LoadRefused, MODEL_LOADED, ModelInfo, ModelLoaded,
};
use shm_protocol::limit;
use shm_protocol::link::HostLink;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::LoadModel;

/// Most bytes that the rows of a probe may take in sum. A model whose batches take more gains nothing from them.
const PROBE_BYTES: u64 = 2 << 30;

/// What models are loaded with.
pub struct Loader<'a> {
    /// The engine.
    pub engine: &'a OnnxRuntime,
    /// The memory with the files.
    pub artifacts: &'a [u8],
}

impl Loader<'_> {
    /// Loads a version, keeps it if it is to be kept, and says what was found.
    ///
    /// # Errors
    /// When that cannot be said. A model that cannot be loaded is no such case.
    pub fn bring(
        &self,
        link: &mut HostLink,
        load: &LoadModel,
        models: &mut Models,
    ) -> Result<(), HostError> {
        // What it takes the place of is gone before, so that both need not fit at once.
        models.remove(load.version);
        let mut allowance = Allowance::of(load.memory_bytes);
        let work = || load_model(self.engine, self.artifacts, load);
        let loaded = match &mut allowance {
            None => work(),
            Some(allowance) => allowance.within(work).map_err(|refused| LoadRefused {
                message: allowance.explained(&load.name, refused.message),
                ..refused
            }),
        };
        // A device that is lost while a model is tried on it is no fault of the model's.
        let (who, said) = match &loaded {
            Ok((_, facts)) => (
                facts.provider.clone(),
                facts.batching.reason().map(str::to_owned),
            ),
            Err(refused) => (load.providers.join("+"), Some(refused.message.clone())),
        };
        if let Some(message) = said
            && let Some(reason) = self.lost(&who)
        {
            return Err(HostError::ProviderLost {
                model: load.name.clone(),
                provider: who,
                message,
                reason,
            });
        }
        fault::at(FaultPoint::AfterModel, Tick::ZERO, load.model.0);
        let result = loaded.map(|(model, facts)| {
            if load.keep {
                let named = Named {
                    name: load.name.clone(),
                    provider: facts.provider.clone(),
                    model,
                    allowance,
                };
                models.keep(load.version, named);
            }
            facts
        });
        let loaded = ModelLoaded {
            version: load.version,
            result,
        };
        link.push(
            &RecordHeader::new(MODEL_LOADED, Tick::ZERO),
            &codec::encode(&loaded),
        )?;
        Ok(())
    }

    /// Whether a provider that has run a model computes no more, and why.
    #[must_use]
    pub fn lost(&self, provider: &str) -> Option<String> {
        self.engine.lost(provider)
    }
}

/// Loads one model and finds out whether its requests may be joined.
fn load_model(
    engine: &dyn InferenceBackend,
    artifacts: &[u8],
    load: &LoadModel,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    if fault::fails(FaultPoint::BeforeModel, Tick::ZERO, load.model.0) {
        return Err(LoadRefused {
            blame: Blame::Input,
            message: format!(
                "model `{}` is gone, because a fault plan says so ({})",
                load.name,
                FaultKind::ModelGone.name()
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
    match &load.generator {
        Some(generator) => {
            let may = May {
                batch: load.may_batch,
                // Whether a run fits its limit must not follow from what was asked before.
                share: load.memory_bytes == 0,
            };
            load_generator(engine, file, &wanted, generator, may)
        }
        None => load_plain(engine, file, &wanted, load.may_batch),
    }
}

/// Loads a folder with a language model.
fn load_generator(
    engine: &dyn InferenceBackend,
    file: &[u8],
    wanted: &Wanted<'_>,
    generator: &Generator,
    may: May,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    let Loaded {
        prepared,
        batching,
        is_encoder,
    } = generator::load(engine, file, wanted, generator, may)?;
    let facts = ModelInfo {
        // What agents see; what the ring carries is the host's and the supervisor's own affair.
        signature: signature(),
        provider: prepared.provider,
        refused: prepared.refused,
        batching,
        is_encoder,
    };
    Ok((prepared.model, facts))
}

/// Loads an ONNX file, or a pack of one and the files with its weights.
fn load_plain(
    engine: &dyn InferenceBackend,
    file: &[u8],
    wanted: &Wanted<'_>,
    may_batch: bool,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    let mut prepared = if bundle::is_bundle(file) {
        let pack = ModelBundle::open(file).map_err(|error| LoadRefused {
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
    let batching = probed(prepared.model.as_mut(), may_batch);
    let facts = ModelInfo {
        signature: prepared.model.signature().clone(),
        provider: prepared.provider,
        refused: prepared.refused,
        batching,
        is_encoder: false,
    };
    Ok((prepared.model, facts))
}

/// Finds out whether requests may be joined, with no more memory than a batch may sensibly take.
fn probed(model: &mut dyn Model, may_batch: bool) -> Batching {
    Allowance::new(PROBE_BYTES).within(|| probe::batching(model, may_batch))
}
