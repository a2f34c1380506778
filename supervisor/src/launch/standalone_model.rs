//! One model in an inference host of its own, asked directly: no fleet, no
//! ticks, no journal. The way there and back is that of every run: the host is
//! confined, tensors pass through the rings.

use super::startup::{Engines, bundle};
use crate::error::RunError;
use crate::faults::Faults;
use crate::host::{HostSet, HostSetError, SpawnConfig, StopSignals, batch_messages};
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::generation::{Generator, wire_signature};
use shm_protocol::id::{BatchId, HostId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{
    BATCH_FAILED, BatchFailed, ENGINE_READY, EngineReady, LoadRefused, MODEL_LOADED, ModelInfo,
    ModelLoaded, OUTPUT,
};
use shm_protocol::link::LinkSizes;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{EngineSetup, InferenceCommand, LoadModel};
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::Tensor;
use std::sync::Arc;
use std::time::Duration;

/// A record may be a quarter of its ring.
const RECORDS_OF_A_RING: usize = 4;

/// What is to be loaded, and how.
#[derive(Clone, Debug)]
pub struct StandaloneModelRequest<'a> {
    /// Name of the model, for messages.
    pub name: &'a str,
    /// The ONNX file, or a pack.
    pub file: &'a [u8],
    /// How to run it, if it is a language model.
    pub generator: Option<Generator>,
    /// Whether its requests may be joined, which is then tried.
    pub may_batch: bool,
    /// Most bytes of memory that it may take; zero for no limit.
    pub memory_bytes: u64,
    /// Providers to try, in order.
    pub providers: Vec<String>,
    /// Whether anything but the first provider is a refusal.
    pub strict_providers: bool,
    /// Threads inside one operator.
    pub intra_threads: u32,
    /// Most bytes of one input or output.
    pub tensor_bytes: usize,
    /// How long it may take to load, and how long to run.
    pub patience: Duration,
}

/// A model that is loaded and can be asked.
pub struct StandaloneModel {
    crew: HostSet,
    host: HostId,
    name: String,
    patience: Duration,
    batches: u64,
    /// Records that make an answer.
    outputs: usize,
    /// The engine.
    pub engine: EngineReady,
    /// What was found out about the model.
    pub facts: ModelInfo,
}

impl StandaloneModel {
    /// Starts an inference host and loads the model.
    ///
    /// # Errors
    /// [`RunError`]; the host is ended.
    pub fn load(
        engines: &Engines,
        request: &StandaloneModelRequest<'_>,
        stop: StopSignals,
    ) -> Result<StandaloneModel, RunError> {
        let system = |source| RunError::System {
            what: "memory for the model",
            source,
        };
        let digest = blake3::hash(request.file).into();
        let (extents, models) = bundle("lockstep-models", [(digest, request.file)].into_iter())?;
        let ring = request
            .tensor_bytes
            .saturating_mul(RECORDS_OF_A_RING)
            .next_power_of_two();
        let sizes = |bytes| LinkSizes {
            down_bytes: bytes,
            up_bytes: bytes,
        };
        let muster = SpawnConfig {
            program: Arc::clone(&engines.program),
            agent_hosts: 0,
            agent_sizes: sizes(0),
            components: sealed_memory("lockstep-nothing", &[&[0]]).map_err(system)?,
            inference: Some((models, sizes(ring))),
            agents: Vec::new(),
            faults: Faults::none(),
            spare: None,
        };
        let mut crew = HostSet::start(muster, request.patience, stop)?;
        crew.command_inference(InferenceCommand::Setup(EngineSetup {
            library: engines.library.clone(),
            intra_threads: request.intra_threads,
            loads_drivers_later: false,
        }))?;
        let (host, header) = crew.record(request.patience)?;
        let engine = crew.expect(host, &header, ENGINE_READY)?;
        crew.command_inference(InferenceCommand::Load(LoadModel {
            version: VersionId(0),
            model: ModelId(0),
            keep: true,
            name: request.name.to_owned(),
            artifact: extents[&digest],
            providers: request.providers.clone(),
            strict_providers: request.strict_providers,
            memory_bytes: request.memory_bytes,
            may_batch: request.may_batch,
            generator: request.generator,
        }))?;
        let (host, header) = crew
            .record(request.patience)
            .map_err(|error| of_model(request.name, "was loaded", error))?;
        let loaded: ModelLoaded = crew.expect(host, &header, MODEL_LOADED)?;
        let facts = loaded
            .result
            .map_err(|LoadRefused { blame, message }| RunError::ModelRefused { blame, message })?;
        crew.command_inference(InferenceCommand::Start)?;
        crew.started(host)?;
        // What agents see of a language model is not what passes through the ring.
        let outputs = match request.generator {
            Some(_) => wire_signature().outputs.len(),
            None => facts.signature.outputs.len(),
        };
        Ok(StandaloneModel {
            crew,
            host,
            name: request.name.to_owned(),
            patience: request.patience,
            batches: 0,
            outputs,
            engine,
            facts,
        })
    }

    /// Runs the model once. Gives its outputs in its own order, and how long it took with the way there and back.
    ///
    /// # Errors
    /// [`RunError::ModelRefused`] with the engine's words; [`RunError::Crew`] when the host is lost.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Duration), RunError> {
        let began = now();
        let batch = BatchId(self.batches);
        self.batches += 1;
        let count = u32::try_from(inputs.len()).expect("a model has few inputs");
        let (header, run) =
            batch_messages::head(batch, Tick::ZERO, (VersionId(0), ModelId(0)), count);
        self.push(&header, &run)?;
        for (position, input) in inputs.iter().enumerate() {
            let (dtype, shape) = (input.dtype, input.shape);
            let header = batch_messages::input(batch, Tick::ZERO, position, dtype, shape);
            self.push(&header, &input.data)?;
        }
        let mut outputs = Vec::with_capacity(self.outputs);
        while outputs.len() < self.outputs {
            outputs.push(self.output(batch, outputs.len())?);
        }
        Ok((outputs, began.elapsed()))
    }

    /// The host ends.
    ///
    /// # Errors
    /// [`RunError::Crew`].
    pub fn end(self) -> Result<(), RunError> {
        Ok(self.crew.drain()?)
    }

    fn output(&mut self, batch: BatchId, number: usize) -> Result<Tensor, RunError> {
        let (host, header) = self
            .crew
            .record(self.patience)
            .map_err(|error| of_model(&self.name, "ran", error))?;
        match (header.kind, header.tensor) {
            (OUTPUT, Some((dtype, shape)))
                if header.correlation == batch.0 && header.subject as usize == number =>
            {
                Ok(Tensor {
                    dtype,
                    shape,
                    data: self.crew.pool.take_payload(),
                })
            }
            (OUTPUT, _) => Err(HostSetError::OutOfPlace {
                kind: self.crew.kind(host),
                host,
                record: header.kind,
            }
            .into()),
            _ => Err(self.failed(host, &header)),
        }
    }

    /// Why there is no answer, by the record that came last.
    fn failed(&self, host: HostId, header: &RecordHeader) -> RunError {
        match self.crew.expect::<BatchFailed>(host, header, BATCH_FAILED) {
            Ok(failed) => RunError::ModelRefused {
                blame: Blame::Input,
                message: format!("model `{}` did not run: {}", self.name, failed.message),
            },
            Err(error) => error.into(),
        }
    }

    /// Puts a record into the ring down, when there is room for it.
    fn push(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<(), RunError> {
        let began = now();
        loop {
            let gone = HostSetError::Gone { host: self.host };
            let link = &mut self.crew.pool.host_mut(self.host).ok_or(gone)?.link;
            let pushed = link.down.try_reserve(header, payload.len());
            let reserved = pushed.map_err(|source| RunError::ModelRefused {
                blame: Blame::Input,
                message: format!(
                    "an input of model `{}` cannot be passed: {source}",
                    self.name
                ),
            })?;
            if let Some(mut reservation) = reserved {
                reservation.write(0, payload);
                reservation.publish();
                link.down.notify();
                return Ok(());
            }
            // The host takes out what is there; it has nothing to say meanwhile but that it is gone.
            if began.elapsed() > self.patience {
                let seconds = self.patience.as_secs_f64();
                return Err(of_model(
                    &self.name,
                    "ran",
                    HostSetError::Silent { seconds },
                ));
            }
            match self.crew.record(Duration::from_millis(1)) {
                Err(HostSetError::Silent { .. }) => {}
                Err(error) => return Err(of_model(&self.name, "ran", error)),
                Ok((host, header)) => return Err(self.failed(host, &header)),
            }
        }
    }
}

/// A host that is lost with one model in it is lost through that model.
fn of_model(name: &str, what: &'static str, error: HostSetError) -> RunError {
    match error {
        error @ (HostSetError::Died { .. } | HostSetError::Silent { .. }) => {
            RunError::LostWithModel {
                model: name.to_owned(),
                what,
                source: error,
            }
        }
        error => error.into(),
    }
}
