//! From a load command to a model in the registry.

use crate::backend::{InferenceBackend, LoadOptions, Model};
use crate::batch_invariance;
use crate::error::InferenceHostError;
use crate::language_model::{self, LoadedLanguageModel, SharingPolicy};
use crate::memory_budget::MemoryBudget;
use crate::model_registry::{ModelRegistry, RegisteredModel};
use crate::onnx::OnnxRuntime;
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

/// Memory budget of a batch probe. A model with larger batches gains nothing from them.
const PROBE_BYTES: u64 = 2 << 30;

/// Loads models for the supervisor.
pub struct ModelLoader<'a> {
    /// The engine.
    pub engine: &'a OnnxRuntime,
    /// The shared memory with the files.
    pub artifacts: &'a [u8],
}

impl ModelLoader<'_> {
    /// Loads a version, registers it unless it is only checked, and reports the result.
    ///
    /// # Errors
    /// When the report cannot be sent, or the provider of the model is lost. A model that cannot be loaded is reported.
    pub fn load_version(
        &self,
        link: &mut HostLink,
        load: &LoadModel,
        models: &mut ModelRegistry,
    ) -> Result<(), InferenceHostError> {
        // The version that it replaces is freed before, so that both need not fit at once.
        models.remove(load.version);
        let mut budget = MemoryBudget::limited(load.memory_bytes);
        let work = || load_model(self.engine, self.artifacts, load);
        let loaded = match &mut budget {
            None => work(),
            Some(budget) => budget.enforce(work).map_err(|refusal| LoadRefused {
                message: budget.explain(&load.name, refusal.message),
                ..refusal
            }),
        };
        // A device that is lost while a model is loaded on it is not the model's fault.
        let (provider, message) = match &loaded {
            Ok((_, info)) => (
                info.provider.clone(),
                info.batching.reason().map(str::to_owned),
            ),
            Err(refusal) => (load.providers.join("+"), Some(refusal.message.clone())),
        };
        if let Some(message) = message
            && let Some(reason) = self.provider_failure(&provider)
        {
            return Err(InferenceHostError::ProviderLost {
                model: load.name.clone(),
                provider,
                message,
                reason,
            });
        }
        fault::at(FaultPoint::AfterModel, Tick::ZERO, load.model.0);
        let result = loaded.map(|(model, info)| {
            if load.keep {
                let entry = RegisteredModel {
                    name: load.name.clone(),
                    provider: info.provider.clone(),
                    model,
                    memory_budget: budget,
                };
                models.register(load.version, entry);
            }
            info
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

    /// The reason why a provider that has run a model has stopped working, if it has.
    #[must_use]
    pub fn provider_failure(&self, provider: &str) -> Option<String> {
        self.engine.provider_failure(provider)
    }
}

/// Loads one model, and probes whether its requests may be batched.
fn load_model(
    engine: &dyn InferenceBackend,
    artifacts: &[u8],
    load: &LoadModel,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    if fault::fails(FaultPoint::BeforeModel, Tick::ZERO, load.model.0) {
        return Err(LoadRefused {
            blame: Blame::Input,
            message: format!(
                "model `{}` is gone, because the fault plan injects it ({})",
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
                "model `{}` is outside of the shared memory of the models ({:?}); this is an internal error",
                load.name, load.artifact
            ),
        })?;
    let options = LoadOptions {
        name: &load.name,
        providers: &load.providers,
        strict_providers: load.strict_providers,
        external_data: &[],
        max_ports: limit::TENSORS,
    };
    match &load.generator {
        Some(generator) => {
            let policy = SharingPolicy {
                batch: load.may_batch,
                // With a memory budget, a run must not depend on what earlier requests left in a cache.
                share_prefixes: load.memory_bytes == 0,
            };
            load_generator(engine, file, &options, generator, policy)
        }
        None => load_graph(engine, file, &options, load.may_batch),
    }
}

/// Loads the folder of a language model.
fn load_generator(
    engine: &dyn InferenceBackend,
    file: &[u8],
    options: &LoadOptions<'_>,
    generator: &Generator,
    policy: SharingPolicy,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    let LoadedLanguageModel {
        loaded,
        batching,
        is_encoder,
    } = language_model::load(engine, file, options, generator, policy)?;
    let info = ModelInfo {
        // The signature that agents see, not that of the records in the ring.
        signature: signature(),
        provider: loaded.provider,
        refused: loaded.refused,
        batching,
        is_encoder,
    };
    Ok((loaded.model, info))
}

/// Loads an ONNX file, or a bundle of one and its external data.
fn load_graph(
    engine: &dyn InferenceBackend,
    file: &[u8],
    options: &LoadOptions<'_>,
    may_batch: bool,
) -> Result<(Box<dyn Model>, ModelInfo), LoadRefused> {
    let mut loaded = if bundle::is_bundle(file) {
        let model_bundle = ModelBundle::open(file).map_err(|error| LoadRefused {
            blame: Blame::Input,
            message: format!("model `{}`: {error}", options.name),
        })?;
        let graph = model_bundle.files().next().map_or("", |(name, _)| name);
        let external_data = language_model::external_data_files(&model_bundle, graph);
        engine.load(
            model_bundle.main(),
            &LoadOptions {
                external_data: &external_data,
                ..*options
            },
        )?
    } else {
        engine.load(file, options)?
    };
    let batching = probe_batching(loaded.model.as_mut(), may_batch);
    let info = ModelInfo {
        signature: loaded.model.signature().clone(),
        provider: loaded.provider,
        refused: loaded.refused,
        batching,
        is_encoder: false,
    };
    Ok((loaded.model, info))
}

/// Probes whether requests may be batched, within a memory budget.
fn probe_batching(model: &mut dyn Model, may_batch: bool) -> Batching {
    MemoryBudget::new(PROBE_BYTES).enforce(|| batch_invariance::batching(model, may_batch))
}
