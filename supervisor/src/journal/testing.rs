//! A small run, for the tests of this folder.

use super::segment::SEGMENT_BYTES;
use super::writer::JournalWriter;
use crate::fleet::Durability;
use crate::journal::create_run_dir_on;
use crate::record::{
    AgentPin, Digest, DroppedMessages, EnginePin, ModelPin, ModelSettings, ResultRecord, RunHeader,
    SealReason, TickRecord,
};
use crate::rundir::{Outbox, RunDir};
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine, Outcome, Status};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::supervisor_to_agent::OnFailure;
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use std::path::Path;
use std::sync::Arc;

pub(crate) const COMPONENT: &[u8] = b"not really a component";
pub(crate) const MODEL: &[u8] = b"not really a model";

pub(crate) fn header(seed: u64) -> RunHeader {
    let digest = |bytes| *blake3::hash(bytes).as_bytes();
    let port = |name: &str, columns| Port {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: vec![None, Some(columns)],
    };
    RunHeader {
        lockstep: "0.1.0".to_owned(),
        wasmtime: "48.0.8".to_owned(),
        fleet: "small".to_owned(),
        seed,
        canonical_nan: true,
        max_step_bytes: shm_protocol::limit::STEP_BYTES as u64,
        agents: ["pole", "referee"]
            .map(|name| agent(name, digest(COMPONENT)))
            .to_vec(),
        models: vec![ModelPin {
            version: "1".to_owned(),
            name: "policy".to_owned(),
            file: digest(MODEL),
            providers: vec!["cuda".to_owned(), "cpu".to_owned()],
            provider: "cpu".to_owned(),
            refused: vec![(
                "cuda".to_owned(),
                shm_protocol::inference_to_supervisor::RefusalReason::Unavailable,
            )],
            signature: Signature {
                inputs: vec![port("state", 2)],
                outputs: vec![port("action", 1)],
            },
            batching: Batching::Joined,
            settings: ModelSettings::default(),
        }],
        changes: Vec::new(),
        engine: Some(EnginePin {
            name: "onnxruntime 1.31.1".to_owned(),
            library: [7; 32],
            intra_op_threads: 1,
        }),
    }
}

fn agent(name: &str, component: Digest) -> AgentPin {
    AgentPin {
        name: name.to_owned(),
        component,
        settings: vec![("gravity".to_owned(), "9.8".to_owned())],
        fuel: 1_000_000,
        memory_bytes: 1 << 20,
        priority: 0,
        every: 1,
        on_failure: OnFailure::Halt,
        may_finish: false,
    }
}

pub(crate) fn tensor(values: &[f32]) -> Tensor {
    let data = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    Tensor {
        dtype: DType::F32,
        shape: Shape::new(&[1, values.len() as u64]).unwrap(),
        data,
    }
}

/// A tick with something of everything; odd ticks emit.
pub(crate) fn record(tick: u64) -> TickRecord {
    let effects = vec![
        Effect::Send {
            to: AgentId(1),
            payload: format!("up at {tick}").into_bytes(),
        },
        Effect::Submit {
            request: RequestId(tick),
            model: ModelId(0),
            inputs: vec![tensor(&[tick as f32, -0.5])],
        },
        Effect::Log(LogLine {
            level: LogLevel::Info,
            text: "steady".to_owned(),
        }),
    ];
    let emitted = [Effect::Emit {
        topic: "score".to_owned(),
        payload: tick.to_string().into_bytes(),
    }];
    let raw = [Effect::Emit {
        topic: "raw".to_owned(),
        payload: vec![0xff, 0x00],
    }];
    let odd = tick % 2 == 1;
    let result = ResultRecord {
        agent: AgentId(0),
        request: RequestId(tick.saturating_sub(1)),
        model: ModelId(0),
        outcome: Ok(vec![tensor(&[0.25])]).into(),
    };
    TickRecord {
        results: if tick > 1 { vec![result] } else { Vec::new() },
        outcomes: vec![
            Outcome {
                agent: AgentId(1),
                status: Status::Completed,
                fuel_used: 90 + tick,
                effects: emitted.into_iter().chain(raw).filter(|_| odd).collect(),
            },
            Outcome {
                agent: AgentId(0),
                status: Status::Completed,
                fuel_used: 1200,
                effects,
            },
        ],
        dropped: if tick == 2 {
            vec![DroppedMessages {
                receiver: AgentId(1),
                messages: 3,
            }]
        } else {
            Vec::new()
        },
        verdicts: Vec::new(),
        awaited: Vec::new(),
    }
}

/// Parameters of a small run in tests.
#[derive(Clone, Copy)]
pub(crate) struct Small {
    pub(crate) seed: u64,
    pub(crate) ticks: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) seal: bool,
}

impl Default for Small {
    fn default() -> Small {
        Small {
            seed: 1,
            ticks: 4,
            segment_bytes: SEGMENT_BYTES,
            durability: Durability::Process,
            seal: true,
        }
    }
}

impl Small {
    /// Writes the run on a new disk and gives it back for reading.
    pub(crate) fn write(self) -> (MemoryDisk, RunDir) {
        let disk = MemoryDisk::new();
        let path = Path::new("/run");
        let mut kept = Kept::default();
        self.write_on(&disk, path, &mut kept).unwrap();
        let run = RunDir::read_on(Arc::new(disk.clone()), path).unwrap();
        (disk, run)
    }

    /// Writes the run, and keeps up `kept` with what was promised.
    pub(crate) fn write_on(
        self,
        disk: &MemoryDisk,
        path: &Path,
        kept: &mut Kept,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let header = header(self.seed);
        let run = create_run_dir_on(Arc::new(disk.clone()), path)?;
        run.put_object(COMPONENT)?;
        run.put_object(MODEL)?;
        let mut writer =
            JournalWriter::create_with(&run, &header, self.durability, self.segment_bytes)?;
        let names = header
            .agents
            .iter()
            .map(|agent| agent.name.clone())
            .collect();
        let mut outbox = Outbox::open(&run, writer.run_id(), names)?;
        for tick in 1..=self.ticks {
            let record = record(tick);
            let digest = writer.append(Tick(tick), &record)?;
            assert_eq!(digest, writer.chain());
            *kept = Kept {
                committed: writer.committed().0,
                durable: writer.durable().0,
            };
            outbox.push(Tick(tick), &record.outcomes);
            outbox.release(writer.durable())?;
        }
        writer.wait_durable()?;
        kept.durable = writer.durable().0;
        outbox.release(writer.durable())?;
        outbox.sync()?;
        if self.seal {
            writer.seal(SealReason::Finished)?;
        }
        Ok(())
    }
}

/// The promises of a writer so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) committed: u64,
    pub(crate) durable: u64,
}
