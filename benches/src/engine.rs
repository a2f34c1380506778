//! A real inference host, spoken to as the supervisor of a run does, with nothing else around it.

use crate::bare_model::WIDTH;
use crate::{Trouble, fleets};
use shm_protocol::boot::Extent;
use shm_protocol::codec;
use shm_protocol::id::{BatchId, HostId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{
    Batching, ENGINE_READY, EngineReady, MODEL_LOADED, ModelLoaded, OUTPUT,
};
use shm_protocol::link::LinkSizes;
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{
    BatchHead, EngineSetup, INPUT, InferenceCommand, LoadModel, RUN,
};
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::path::Path;
use std::sync::Arc;
use supervisor::faults::Faults;
use supervisor::host::{HostEvent, HostProgram, HostSet, LOAD_TIMEOUT, SpawnConfig, StopSignals};

/// Bytes of each ring, as in a run.
const RING_BYTES: usize = 16 << 20;

/// The only model.
const MODEL: ModelId = ModelId(0);
const VERSION: VersionId = VersionId(0);

/// An inference host with the network of the measurements.
pub struct EngineHost {
    crew: HostSet,
    host: HostId,
    next: BatchId,
}

impl EngineHost {
    /// Starts it and loads the network.
    ///
    /// # Errors
    /// When it cannot be started, or does not join rows.
    pub fn start(binary: &Path) -> Result<EngineHost, Trouble> {
        let model = std::fs::read(fleets::model())?;
        let (nothing, models) = (
            sealed_memory("nothing", &[])?,
            sealed_memory("models", &[&model])?,
        );
        let sizes = LinkSizes {
            down_bytes: RING_BYTES,
            up_bytes: RING_BYTES,
        };
        let muster = SpawnConfig {
            agent_hosts: 0,
            agent_sizes: sizes,
            components: nothing,
            inference: Some((models, sizes)),
            agents: Vec::new(),
            faults: Faults::none(),
            standby_setup: None,
            program: Arc::new(HostProgram::open(binary.to_path_buf())?),
        };
        let mut crew = HostSet::start(muster, LOAD_TIMEOUT, StopSignals::none()?)?;
        crew.command_inference(InferenceCommand::Setup(EngineSetup {
            library: None,
            intra_op_threads: 1,
            loads_drivers_later: false,
        }))?;
        crew.command_inference(InferenceCommand::Load(LoadModel {
            version: VERSION,
            model: MODEL,
            keep: true,
            name: "mlp".to_owned(),
            artifact: Extent {
                offset: 0,
                bytes: model.len() as u64,
            },
            providers: vec!["cpu".to_owned()],
            strict_providers: false,
            memory_bytes: 0,
            generator: None,
            may_batch: true,
        }))?;
        let (host, header) = crew.record(LOAD_TIMEOUT)?;
        crew.expect::<EngineReady>(host, &header, ENGINE_READY)?;
        let (host, header) = crew.record(LOAD_TIMEOUT)?;
        let loaded: ModelLoaded = crew.expect(host, &header, MODEL_LOADED)?;
        let facts = loaded.result.map_err(|refused| refused.message)?;
        if facts.batching != Batching::Joined {
            return Err(format!(
                "the rows of the network are not joined: {:?}",
                facts.batching
            )
            .into());
        }
        crew.command_inference(InferenceCommand::Start)?;
        crew.started(host)?;
        Ok(EngineHost {
            crew,
            host,
            next: BatchId(0),
        })
    }

    /// One batch, from rows that lie where agents' requests lie to an output that belongs to this process.
    ///
    /// # Errors
    /// When the host does not answer with the output.
    pub fn batch(&mut self, rows: &[Vec<u8>]) -> Result<Tensor, Trouble> {
        let (batch, tick) = (self.next, Tick(self.next.0));
        self.next = BatchId(batch.0 + 1);
        let process = self
            .crew
            .pool
            .host_mut(self.host)
            .ok_or("the host is gone")?;
        let down = &mut process.link.down;
        let mut header = RecordHeader::new(RUN, tick);
        header.correlation = batch.0;
        let full = || Trouble::from("a ring with one batch in it is full");
        let run = codec::encode(&BatchHead {
            batch,
            version: VERSION,
            model: MODEL,
            inputs: 1,
        });
        if !down.try_push(&header, &run)? {
            return Err(full());
        }
        header.kind = INPUT;
        header.tensor = Some((DType::F32, Shape::new(&[rows.len() as u64, WIDTH as u64])?));
        let mut reservation = down
            .try_reserve(&header, rows.len() * WIDTH * 4)?
            .ok_or_else(full)?;
        let mut offset = 0;
        for row in rows {
            reservation.write(offset, row);
            offset += row.len();
        }
        reservation.publish();
        down.notify();
        match self.crew.pool.next(LOAD_TIMEOUT)? {
            HostEvent::Record {
                header:
                    RecordHeader {
                        kind: OUTPUT,
                        correlation,
                        tensor: Some((dtype, shape)),
                        ..
                    },
                ..
            } if correlation == batch.0 => Ok(Tensor {
                dtype,
                shape,
                data: self.crew.pool.take_payload(),
            }),
            other => Err(format!("instead of an output came {other:?}").into()),
        }
    }

    /// Ends the host.
    ///
    /// # Errors
    /// When waiting for it fails.
    pub fn end(self) -> Result<(), Trouble> {
        Ok(self.crew.drain()?)
    }
}
