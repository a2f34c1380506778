//! ONNX Runtime, the one real [`InferenceBackend`].
//!
//! Every setting that can change bits is fixed here: threads inside an operator,
//! one operator at a time, the level of graph optimisation, deterministic
//! kernels, pre-packed weights (left on, because without it a row alone and a
//! row in a batch differ).

mod model;
mod proof;
mod provider;
mod signature;

use crate::backend::{InferenceBackend, Prepared, Wanted};
use crate::library::{CheckedLibrary, LibraryError};
use crate::sys::library::with_causes;
use model::OnnxModel;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::inference_to_supervisor::{EngineReady, LoadRefused};
use shm_protocol::provider::Provider;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The engine, loaded. There can be one in a process.
#[derive(Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    engine: EngineReady,
    intra_threads: usize,
    /// What was found out about providers so far.
    proved: Mutex<BTreeMap<Provider, Result<(), String>>>,
}

impl OnnxRuntime {
    /// Loads the engine from a library that was checked.
    ///
    /// # Errors
    /// [`LibraryError::Start`] with everything that the engine said.
    pub fn start(library: CheckedLibrary, intra_threads: u32) -> Result<OnnxRuntime, LibraryError> {
        let refused = |reason: String| LibraryError::Start {
            path: library.path.clone(),
            reason,
        };
        let builder =
            ort::init_from(&library.path).map_err(|error| refused(with_causes(&error)))?;
        let environment = builder
            .with_name("lockstep")
            .with_telemetry(false)
            .build()
            .map_err(|error| refused(with_causes(&error)))?;
        // Every error comes back as a value; what the engine prints beside it would say it twice.
        environment.set_log_level(LogLevel::Fatal);
        let engine = EngineReady {
            engine: format!("onnxruntime {}", library.version),
            library_digest: library.digest,
        };
        Ok(OnnxRuntime {
            environment,
            engine,
            intra_threads: intra_threads.max(1) as usize,
            proved: Mutex::default(),
        })
    }

    /// Whether a provider really computes; it is tried once.
    ///
    /// # Errors
    /// Why it is no good.
    pub fn proved(&self, provider: Provider) -> Result<(), String> {
        // What is known of the others stays true whatever happens in between.
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved
            .entry(provider)
            .or_insert_with(|| proof::prove(self, provider))
            .clone()
    }

    /// Whether one of these providers, as in `cuda+cpu`, has computed and does so no more: each that has is tried again.
    /// The processor is never lost.
    #[must_use]
    pub fn lost(&self, providers: &str) -> Option<String> {
        let named = providers.split('+').filter_map(Provider::named);
        named
            .filter(|provider| *provider != Provider::Cpu && self.proved(*provider).is_ok())
            .find_map(|provider| proof::prove(self, provider).err())
    }

    /// A session in the making, with everything fixed that can change bits.
    fn builder(&self) -> ort::Result<SessionBuilder> {
        let builder = SessionBuilder::new(&self.environment)?
            .with_log_level(LogLevel::Fatal)?
            // No provider comes in but those that are asked for.
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_intra_threads(self.intra_threads)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_deterministic_compute(true)?
            .with_prepacking(true)?
            // Threads that spin between batches take the cores that the agents need.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_config_entry("session.record_ep_graph_assignment_info", "1")?;
        Ok(builder)
    }
}

impl InferenceBackend for OnnxRuntime {
    fn engine(&self) -> &EngineReady {
        &self.engine
    }

    fn load(&self, file: &[u8], wanted: &Wanted<'_>) -> Result<Prepared, LoadRefused> {
        let placed = provider::place(self, file, wanted)?;
        let model =
            OnnxModel::new(placed.session, wanted.ports).map_err(|message| LoadRefused {
                blame: Blame::Input,
                message: format!("model `{}`: {message}", wanted.name),
            })?;
        Ok(Prepared {
            model: Box::new(model),
            provider: placed.provider,
            refused: placed.refused,
        })
    }
}
