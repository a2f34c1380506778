//! Messages between processes. The first byte chooses the type.

use crate::check_round_trip;
use bincode::{Decode, Encode};
use shm_protocol::agent_state::{Page, SavedInstance, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{
    AgentLoaded, AwaitRequest, AwaitRequests, Blame, Effect, Failure, Layer, LogLevel, LogLine,
    Outcome, Outcomes, Ready, Status,
};
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Generator, Sequence};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, VersionId};
use shm_protocol::inference_to_supervisor::{
    BatchFailed, Batching, EngineReady, LoadRefused, ModelInfo, ModelLoaded, ProviderTest,
    RefusalReason, RefusedProvider,
};
use shm_protocol::supervisor_to_agent::{AgentEvent, AwaitResult, AwaitResults, Step, Steps};
use shm_protocol::supervisor_to_inference::BatchHead;
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use shm_protocol::{codec, limit};
use std::sync::Arc;

/// Decodes a message of one type.
type Reader = fn(&[u8]) -> bool;

/// The types, each under the number that chooses it.
const READERS: [(&str, Reader); 18] = [
    ("ready", read::<Ready>),
    ("agent-loaded", read::<AgentLoaded>),
    ("outcomes", read::<Outcomes>),
    ("await-requests", read::<AwaitRequests>),
    ("failure", read::<Failure>),
    ("snapshot", read::<Snapshot>),
    ("state-record", read::<StateRecord>),
    ("generator", read::<Generator>),
    ("decode-request", read::<DecodeRequest>),
    ("deltas", read::<Deltas>),
    ("engine-ready", read::<EngineReady>),
    ("provider-test", read::<ProviderTest>),
    ("model-loaded", read::<ModelLoaded>),
    ("batch-failed", read::<BatchFailed>),
    ("steps", read::<Steps>),
    ("await-results", read::<AwaitResults>),
    ("batch-head", read::<BatchHead>),
    ("signature", read::<Signature>),
];

/// Decodes a message of any type, as a record of a ring.
pub fn message(bytes: &[u8]) -> bool {
    let Some((number, message)) = bytes.split_first() else {
        return false;
    };
    let (_, read) = READERS[usize::from(*number) % READERS.len()];
    read(message)
}

fn read<T: Encode + Decode<()>>(bytes: &[u8]) -> bool {
    match codec::decode_record::<T>(bytes) {
        Ok(message) => {
            check_round_trip::<T, { limit::LARGE_RECORD_BYTES }>(bytes, &message);
            true
        }
        Err(_) => false,
    }
}

/// The corpus: a message of each type.
pub fn message_samples() -> Vec<(String, Vec<u8>)> {
    let tensor = || Tensor {
        dtype: DType::F32,
        shape: Shape::new(&[1, 2]).expect("few dimensions"),
        data: vec![0, 0, 128, 63, 0, 0, 0, 64],
    };
    let log = |level| LogLine {
        level,
        text: "a line".to_owned(),
    };
    let words = || "words".to_owned();
    let mut samples = Vec::new();
    let mut add = |message: Vec<u8>| {
        let number = samples.len();
        let (name, _) = READERS[number];
        let number = u8::try_from(number).expect("few types");
        samples.push((name.to_owned(), [vec![number], message].concat()));
    };
    add(codec::encode(&Ready {
        protocol: codec::VERSION,
        confinement: vec![
            Layer {
                name: "landlock".to_owned(),
                missing: None,
            },
            Layer {
                name: "seccomp".to_owned(),
                missing: Some(words()),
            },
        ],
    }));
    add(codec::encode(&AgentLoaded {
        agent: AgentId(1),
        logs: vec![log(LogLevel::Info)],
        result: Err(words()),
        opaque: Some(words()),
    }));
    let effects = vec![
        Effect::Send {
            to: AgentId(300),
            payload: vec![1, 2, 3],
        },
        Effect::Submit {
            request: RequestId(1 << 40),
            model: ModelId(0),
            inputs: vec![tensor()],
        },
        Effect::Emit {
            topic: words(),
            payload: Vec::new(),
        },
        Effect::Log(log(LogLevel::Error)),
        Effect::Infer {
            model: ModelId(1),
            inputs: Arc::new(vec![tensor(), tensor()]),
        },
        Effect::Finish { reason: words() },
    ];
    let outcome = |status, effects| Outcome {
        agent: AgentId(2),
        status,
        fuel_used: 1 << 33,
        effects,
    };
    add(codec::encode(&Outcomes {
        outcomes: vec![
            outcome(Status::Completed, effects),
            outcome(Status::Trapped(words()), Vec::new()),
            outcome(Status::OutOfFuel, Vec::new()),
            outcome(Status::Mismatch(words()), Vec::new()),
            outcome(Status::Halted(words()), Vec::new()),
        ],
    }));
    add(codec::encode(&AwaitRequests {
        requests: vec![AwaitRequest {
            agent: AgentId(0),
            number: 3,
            model: ModelId(2),
            inputs: Arc::new(vec![tensor()]),
        }],
    }));
    add(codec::encode(&Failure {
        blame: Blame::Machine,
        message: words(),
    }));
    add(codec::encode(&Snapshot { full: true }));
    add(codec::encode(&StateRecord {
        agent: AgentId(0),
        next_request: RequestId(7),
        life: SavedInstance::Running {
            memory_bytes: 1 << 20,
            globals: vec![1, u64::MAX],
        },
        pages: vec![Page {
            index: 3,
            bytes: vec![5; 64],
        }],
        is_last: true,
    }));
    add(codec::encode(&Generator {
        max_concurrent_generations: 4,
        tokens_per_tick: 8,
        context_length: Some(1024),
        cache_bytes: 1 << 28,
    }));
    add(codec::encode(&DecodeRequest {
        steps: 4,
        sequences: vec![Sequence {
            seed: u64::MAX,
            agent: AgentId(0),
            request: RequestId(1),
            asked: br#"{"prompt": "a"}"#.to_vec(),
            tokens: vec![1, 70_000],
        }],
    }));
    add(codec::encode(&Deltas(vec![
        Ok(Delta {
            tokens: vec![5, 6],
            text: words(),
            embedding: vec![0.5],
            finish: Some(Finish::Length),
            prompt_tokens: 3,
        }),
        Err(words()),
    ])));
    add(codec::encode(&EngineReady {
        engine: words(),
        library_digest: [7; 32],
    }));
    add(codec::encode(&ProviderTest {
        provider: "cuda".to_owned(),
        result: Err(words()),
    }));
    let port = |name: &str| Port {
        name: name.to_owned(),
        dtype: DType::I64,
        dims: vec![None, Some(3)],
    };
    let signature = Signature {
        inputs: vec![port("x")],
        outputs: vec![port("y"), port("z")],
    };
    add(codec::encode(&ModelLoaded {
        version: VersionId(1),
        result: Ok(ModelInfo {
            signature: signature.clone(),
            provider: "cpu".to_owned(),
            refused: vec![RefusedProvider {
                provider: "cuda".to_owned(),
                reason: RefusalReason::SelfTestFailed,
                detail: words(),
            }],
            batching: Batching::Alone(words()),
            is_encoder: false,
        }),
    }));
    add(codec::encode(&BatchFailed {
        batch: BatchId(9),
        message: words(),
    }));
    let answer = || Arc::new(Ok(vec![tensor()]));
    add(codec::encode(&Steps {
        steps: vec![Step {
            agent: AgentId(0),
            events: vec![
                AgentEvent::Message {
                    sender: AgentId(1),
                    payload: vec![0; 9],
                },
                AgentEvent::Inference {
                    request: RequestId(2),
                    model: ModelId(0),
                    outcome: answer(),
                },
                AgentEvent::Inference {
                    request: RequestId(3),
                    model: ModelId(0),
                    outcome: Arc::new(Err(words())),
                },
            ],
        }],
    }));
    add(codec::encode(&AwaitResults {
        answers: vec![AwaitResult {
            agent: AgentId(4),
            number: 0,
            outcome: answer(),
        }],
    }));
    add(codec::encode(&BatchHead {
        batch: BatchId(1),
        version: VersionId(0),
        model: ModelId(0),
        inputs: 2,
    }));
    add(codec::encode(&signature));
    // A refusal of a load, which the sample of a loaded model has no room for.
    let refused = ModelLoaded {
        version: VersionId(2),
        result: Err(LoadRefused {
            blame: Blame::Input,
            message: words(),
        }),
    };
    let number = READERS.iter().position(|(name, _)| *name == "model-loaded");
    let number = u8::try_from(number.expect("it is there")).expect("few types");
    let refused = [vec![number], codec::encode(&refused)].concat();
    samples.push(("model-refused".to_owned(), refused));
    samples
}
