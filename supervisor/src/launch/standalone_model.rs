//! One model in its own inference host: no fleet, no ticks, no journal. Requests take the same path as in a run: the
//! host is confined, tensors pass through the rings.

use super::engines::Engines;
use super::host_config::{HostConfig, load_command};
use super::load;
use super::startup::bundle;
use crate::error::RunError;
use crate::faults::Faults;
use crate::host::{HostSet, HostSetError, SpawnConfig, StopSignals, batch_messages};
use crate::observer::NoopObserver;
use crate::record::ModelDefinition;
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::generation::wire_signature;
use shm_protocol::id::{BatchId, HostId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{
    BATCH_FAILED, BatchFailed, EngineReady, ModelInfo, OUTPUT,
};
use shm_protocol::link::LinkSizes;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::EngineSetup;
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::Tensor;
use std::sync::Arc;
use std::time::Duration;

/// A record may be a quarter of its ring.
const RECORDS_OF_A_RING: usize = 4;

/// A request to load a standalone model.
#[derive(Clone, Debug)]
pub struct StandaloneModelRequest<'a> {
    /// The model, with the bytes of its ONNX file or of its bundle.
    pub model: ModelDefinition<&'a [u8]>,
    /// True if only the first provider is accepted.
    pub strict_providers: bool,
    /// Threads inside one operator.
    pub intra_op_threads: u32,
    /// Limit of one input or output, in bytes.
    pub tensor_bytes: usize,
    /// Time limit of loading, and of each run.
    pub timeout: Duration,
}

/// A loaded model that answers requests.
pub struct StandaloneModel {
    hosts: HostSet,
    host: HostId,
    name: String,
    timeout: Duration,
    batches: u64,
    /// Records of one answer.
    outputs: usize,
    /// The engine.
    pub engine: EngineReady,
    /// The properties of the model, from its load.
    pub info: ModelInfo,
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
        let digest = blake3::hash(request.model.file).into();
        let (extents, models) = bundle(
            "lockstep-models",
            [(digest, request.model.file)].into_iter(),
        )?;
        let ring = request
            .tensor_bytes
            .saturating_mul(RECORDS_OF_A_RING)
            .next_power_of_two();
        let sizes = |bytes| LinkSizes {
            down_bytes: bytes,
            up_bytes: bytes,
        };
        let spawn_config = SpawnConfig {
            program: Arc::clone(&engines.program),
            agent_hosts: 0,
            agent_sizes: sizes(0),
            components: sealed_memory("lockstep-nothing", &[&[0]]).map_err(system)?,
            inference: Some((models, sizes(ring))),
            agents: Vec::new(),
            faults: Faults::none(),
            standby_setup: None,
        };
        let mut hosts = HostSet::start(spawn_config, request.timeout, stop)?;
        let config = HostConfig::of_model(
            EngineSetup {
                library: engines.library.clone(),
                intra_op_threads: request.intra_op_threads,
                loads_drivers_later: false,
            },
            load_command(
                &request.model,
                (VersionId(0), ModelId(0)),
                extents[&digest],
                request.strict_providers,
            ),
        );
        let loaded = load::load(
            &mut hosts,
            &config,
            false,
            request.timeout,
            &mut NoopObserver,
        );
        let mut report = loaded.map_err(|error| match error {
            RunError::Crew(error) => lost_with_model(&request.model.name, "was loaded", error),
            error => error,
        })?;
        load::start(&mut hosts, &config, false)?;
        let engine = report.engine.take().expect("the engine is loaded");
        let info = report.models.swap_remove(0);
        let host = hosts.inference_host().expect("the host is started");
        // The signature that agents see of a language model is not that of the ring.
        let outputs = match request.model.is_generator() {
            true => wire_signature().outputs.len(),
            false => info.signature.outputs.len(),
        };
        Ok(StandaloneModel {
            hosts,
            host,
            name: request.model.name.clone(),
            timeout: request.timeout,
            batches: 0,
            outputs,
            engine,
            info,
        })
    }

    /// Runs the model once. Gives its outputs in its own order, and the time that passed, transfer included.
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

    /// Ends the host.
    ///
    /// # Errors
    /// [`RunError::Crew`].
    pub fn end(self) -> Result<(), RunError> {
        Ok(self.hosts.drain()?)
    }

    fn output(&mut self, batch: BatchId, number: usize) -> Result<Tensor, RunError> {
        let (host, header) = self
            .hosts
            .record(self.timeout)
            .map_err(|error| lost_with_model(&self.name, "ran", error))?;
        match (header.kind, header.tensor) {
            (OUTPUT, Some((dtype, shape)))
                if header.correlation == batch.0 && header.subject as usize == number =>
            {
                Ok(Tensor {
                    dtype,
                    shape,
                    data: self.hosts.pool.take_payload(),
                })
            }
            (OUTPUT, _) => Err(HostSetError::UnexpectedRecord {
                kind: self.hosts.kind(host),
                host,
                record: header.kind,
            }
            .into()),
            _ => Err(self.failed(host, &header)),
        }
    }

    /// The error when there is no answer, by the last record.
    fn failed(&self, host: HostId, header: &RecordHeader) -> RunError {
        match self.hosts.expect::<BatchFailed>(host, header, BATCH_FAILED) {
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
            let exited = HostSetError::Gone { host: self.host };
            let link = &mut self.hosts.pool.host_mut(self.host).ok_or(exited)?.link;
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
            // The host empties the ring; it sends nothing meanwhile but its exit.
            if began.elapsed() > self.timeout {
                let seconds = self.timeout.as_secs_f64();
                return Err(lost_with_model(
                    &self.name,
                    "ran",
                    HostSetError::TimedOut { seconds },
                ));
            }
            match self.hosts.record(Duration::from_millis(1)) {
                Err(HostSetError::TimedOut { .. }) => {}
                Err(error) => return Err(lost_with_model(&self.name, "ran", error)),
                Ok((host, header)) => return Err(self.failed(host, &header)),
            }
        }
    }
}

/// A host that is lost with one model in it is lost through that model.
fn lost_with_model(name: &str, what: &'static str, error: HostSetError) -> RunError {
    match error {
        error @ (HostSetError::Died { .. } | HostSetError::TimedOut { .. }) => {
            RunError::LostWithModel {
                model: name.to_owned(),
                what,
                source: error,
            }
        }
        error => error.into(),
    }
}
