//! The engine of this process, and the options of its sessions.
//!
//! Every setting that can change bits is fixed in [`OnnxRuntime::builder`].

use super::self_test::run_self_test;
use crate::error_chain::with_causes;
use crate::library::{CheckedLibrary, LibraryError};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use shm_protocol::inference_to_supervisor::EngineReady;
use shm_protocol::provider::Provider;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The engine. There can be one in a process.
#[derive(Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    pub(super) engine: EngineReady,
    intra_op_threads: usize,
    /// The results of self-tests so far.
    self_tests: Mutex<BTreeMap<Provider, Result<(), String>>>,
}

impl OnnxRuntime {
    /// Starts the engine of a checked library.
    ///
    /// # Errors
    /// [`LibraryError::Start`] with the messages of the engine.
    pub fn start(
        library: CheckedLibrary,
        intra_op_threads: u32,
    ) -> Result<OnnxRuntime, LibraryError> {
        let failed = |reason: String| LibraryError::Start {
            path: library.path.clone(),
            reason,
        };
        let builder = ort::init_from(&library.path).map_err(|error| failed(with_causes(&error)))?;
        let environment = builder
            .with_name("lockstep")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(with_causes(&error)))?;
        // Every error comes back as a value; the engine's own log would repeat it.
        environment.set_log_level(LogLevel::Fatal);
        let engine = EngineReady {
            engine: format!("onnxruntime {}", library.version),
            library_digest: library.digest,
        };
        Ok(OnnxRuntime {
            environment,
            engine,
            intra_op_threads: intra_op_threads.max(1) as usize,
            self_tests: Mutex::default(),
        })
    }

    /// The result of a provider's self-test, which runs once.
    ///
    /// # Errors
    /// The reason why the provider cannot be used.
    pub fn check_provider(&self, provider: Provider) -> Result<(), String> {
        // A panic in between leaves complete results behind.
        let mut self_tests = self
            .self_tests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self_tests
            .entry(provider)
            .or_insert_with(|| run_self_test(self.builder(), provider))
            .clone()
    }

    /// The reason why one of these providers, as in `cuda+cpu`, has stopped working: each that passed its self-test
    /// runs it again. `None` if all still work; the CPU always does.
    #[must_use]
    pub fn provider_failure(&self, providers: &str) -> Option<String> {
        let named = providers.split('+').filter_map(Provider::named);
        named
            .filter(|provider| *provider != Provider::Cpu && self.check_provider(*provider).is_ok())
            .find_map(|provider| run_self_test(self.builder(), provider).err())
    }

    /// The options of a session, with everything fixed that can change bits.
    pub(super) fn builder(&self) -> ort::Result<SessionBuilder> {
        let builder = SessionBuilder::new(&self.environment)?
            .with_log_level(LogLevel::Fatal)?
            // Only requested providers are used.
            .with_auto_device(AutoDevicePolicy::PreferCPU)?
            .with_intra_threads(self.intra_op_threads)?
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
