//! Every message that one process decodes and another encodes. The promises:
//! what is encoded is decoded as it was; random and changed bytes are an error
//! or some value, never a panic and never more memory than the limit allows; and a message that is cut or has bytes left over is refused.

use bincode::{Decode, Encode};
use proptest::collection::vec;
use proptest::prelude::*;
use shm_protocol::agent_state::{Page, SavedInstance, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{
    AgentLoaded, AwaitRequest, AwaitRequests, Blame, Effect, Failure, Layer, LogLevel, LogLine,
    Outcome, Outcomes, Ready, Status,
};
use shm_protocol::codec::{decode, encode};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, VersionId};
use shm_protocol::inference_to_supervisor::{
    BatchFailed, Batching, EngineReady, LoadRefused, ModelInfo, ModelLoaded, RefusalReason,
    RefusedProvider,
};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentEvent, AwaitResult, AwaitResults, Step, Steps};
use shm_protocol::supervisor_to_inference::BatchHead;
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use std::fmt::Debug;

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn dtype() -> impl Strategy<Value = DType> {
    prop::sample::select(DType::ALL.to_vec())
}

fn tensor() -> impl Strategy<Value = Tensor> {
    let shape = vec(any::<u64>(), 0..=limit::RANK)
        .prop_map(|dims| Shape::new(&dims).expect("few dimensions"));
    (dtype(), shape, bytes()).prop_map(|(dtype, shape, data)| Tensor { dtype, shape, data })
}

fn log_line() -> impl Strategy<Value = LogLine> {
    let levels = vec![
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
    ];
    (prop::sample::select(levels), text()).prop_map(|(level, text)| LogLine { level, text })
}

fn blame() -> impl Strategy<Value = Blame> {
    prop::sample::select(vec![Blame::Input, Blame::Demand, Blame::Us])
}

fn result<T: Debug + Clone, E: Debug + Clone>(
    ok: impl Strategy<Value = T> + 'static,
    error: impl Strategy<Value = E> + 'static,
) -> impl Strategy<Value = Result<T, E>> {
    prop_oneof![ok.prop_map(Ok), error.prop_map(Err)]
}

fn ready() -> impl Strategy<Value = Ready> {
    let layer =
        (text(), prop::option::of(text())).prop_map(|(name, missing)| Layer { name, missing });
    (any::<u16>(), vec(layer, 0..4)).prop_map(|(protocol, confinement)| Ready {
        protocol,
        confinement,
    })
}

fn loaded() -> impl Strategy<Value = AgentLoaded> {
    (
        any::<u32>(),
        vec(log_line(), 0..4),
        result(Just(()), text()),
        prop::option::of(text()),
    )
        .prop_map(|(agent, logs, result, opaque)| AgentLoaded {
            agent: AgentId(agent),
            logs,
            result,
            opaque,
        })
}

fn state_record() -> impl Strategy<Value = StateRecord> {
    let life = prop_oneof![
        (any::<u64>(), vec(any::<u64>(), 0..3)).prop_map(|(memory_bytes, globals)| {
            SavedInstance::Running {
                memory_bytes,
                globals,
            }
        }),
        Just(SavedInstance::Failed),
        Just(SavedInstance::Halted),
    ];
    let page = (any::<u32>(), bytes()).prop_map(|(index, bytes)| Page { index, bytes });
    (
        any::<u32>(),
        any::<u64>(),
        life,
        vec(page, 0..3),
        any::<bool>(),
    )
        .prop_map(|(agent, next_request, life, pages, is_last)| StateRecord {
            agent: AgentId(agent),
            next_request: RequestId(next_request),
            life,
            pages,
            is_last,
        })
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(to, payload)| Effect::Send {
            to: AgentId(to),
            payload
        }),
        (any::<u64>(), any::<u32>(), vec(tensor(), 0..3)).prop_map(|(request, model, inputs)| {
            Effect::Submit {
                request: RequestId(request),
                model: ModelId(model),
                inputs,
            }
        }),
        (text(), bytes()).prop_map(|(topic, payload)| Effect::Emit { topic, payload }),
        log_line().prop_map(Effect::Log),
        (any::<u32>(), vec(tensor(), 0..3)).prop_map(|(model, inputs)| Effect::Infer {
            model: ModelId(model),
            inputs: inputs.into(),
        }),
        text().prop_map(|reason| Effect::Finish { reason }),
    ]
}

fn parked() -> impl Strategy<Value = AwaitRequests> {
    let wait = (
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        vec(tensor(), 0..3),
    )
        .prop_map(|(agent, number, model, inputs)| AwaitRequest {
            agent: AgentId(agent),
            number,
            model: ModelId(model),
            inputs: inputs.into(),
        });
    vec(wait, 0..4).prop_map(|waits| AwaitRequests { requests: waits })
}

fn answers() -> impl Strategy<Value = AwaitResults> {
    let awaited = (
        any::<u32>(),
        any::<u32>(),
        result(vec(tensor(), 0..3), text()),
    )
        .prop_map(|(agent, number, outcome)| AwaitResult {
            agent: AgentId(agent),
            number,
            outcome: outcome.into(),
        });
    vec(awaited, 0..4).prop_map(|answers| AwaitResults { answers })
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    let status = prop_oneof![
        Just(Status::Completed),
        text().prop_map(Status::Trapped),
        Just(Status::OutOfFuel),
        text().prop_map(Status::Mismatch),
        text().prop_map(Status::Halted)
    ];
    let outcome = (any::<u32>(), status, any::<u64>(), vec(effect(), 0..5)).prop_map(
        |(agent, status, fuel_used, effects)| Outcome {
            agent: AgentId(agent),
            status,
            fuel_used,
            effects,
        },
    );
    vec(outcome, 0..4).prop_map(|outcomes| Outcomes { outcomes })
}

fn steps() -> impl Strategy<Value = Steps> {
    let event = prop_oneof![
        (any::<u32>(), bytes()).prop_map(|(sender, payload)| AgentEvent::Message {
            sender: AgentId(sender),
            payload
        }),
        (
            any::<u64>(),
            any::<u32>(),
            result(vec(tensor(), 0..3), text())
        )
            .prop_map(|(request, model, outcome)| {
                AgentEvent::Inference {
                    request: RequestId(request),
                    model: ModelId(model),
                    outcome: outcome.into(),
                }
            }),
    ];
    let step = (any::<u32>(), vec(event, 0..4)).prop_map(|(agent, events)| Step {
        agent: AgentId(agent),
        events,
    });
    vec(step, 0..4).prop_map(|steps| Steps { steps })
}

fn port() -> impl Strategy<Value = Port> {
    (text(), dtype(), vec(prop::option::of(any::<u64>()), 0..9))
        .prop_map(|(name, dtype, dims)| Port { name, dtype, dims })
}

fn model_loaded() -> impl Strategy<Value = ModelLoaded> {
    let signature = (vec(port(), 0..3), vec(port(), 0..3))
        .prop_map(|(inputs, outputs)| Signature { inputs, outputs });
    let batching = prop_oneof![
        Just(Batching::Joined),
        Just(Batching::Unwanted),
        text().prop_map(Batching::Untried),
        text().prop_map(Batching::Alone)
    ];
    let reason = prop_oneof![
        Just(RefusalReason::Unavailable),
        Just(RefusalReason::SelfTestFailed),
        Just(RefusalReason::ModelNotTaken)
    ];
    let refused = (text(), reason, text()).prop_map(|(provider, reason, detail)| RefusedProvider {
        provider,
        reason,
        detail,
    });
    let facts = (signature, text(), vec(refused, 0..3), batching).prop_map(
        |(signature, provider, refused, batching)| ModelInfo {
            signature,
            provider,
            refused,
            batching,
            is_encoder: false,
        },
    );
    let refusal = (blame(), text()).prop_map(|(blame, message)| LoadRefused { blame, message });
    (any::<u32>(), result(facts, refusal)).prop_map(|(model, result)| ModelLoaded {
        version: VersionId(model),
        result,
    })
}

/// Decodes bytes that were not meant to be a `T`.
fn survives<T: Encode + Decode<()> + PartialEq + Debug>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(value) = decode::<T, { limit::RECORD_BYTES }>(bytes) {
        // Some bytes do spell a value. It must survive its own round trip.
        prop_assert_eq!(
            decode::<T, { limit::RECORD_BYTES }>(&encode(&value)).expect("its own encoding"),
            value
        );
    }
    Ok(())
}

/// Round trip, and every way in which an encoding is damaged.
fn holds<T: Encode + Decode<()> + PartialEq + Debug>(
    value: &T,
    at: usize,
    byte: u8,
) -> Result<(), TestCaseError> {
    let bytes = encode(value);
    prop_assert_eq!(
        &decode::<T, { limit::RECORD_BYTES }>(&bytes).expect("its own encoding"),
        value
    );
    let mut longer = bytes.clone();
    longer.push(byte);
    prop_assert!(
        decode::<T, { limit::RECORD_BYTES }>(&longer).is_err(),
        "bytes left over are refused"
    );
    if !bytes.is_empty() {
        let at = at % bytes.len();
        prop_assert!(
            decode::<T, { limit::RECORD_BYTES }>(&bytes[..at]).is_err(),
            "a cut message is refused"
        );
        let mut changed = bytes;
        changed[at] ^= byte;
        survives::<T>(&changed)?;
    }
    Ok(())
}

macro_rules! messages {
    ($($name:ident: $message:ty = $strategy:expr;)*) => {
        $(
            mod $name {
                use super::*;

                proptest! {
                    #[test]
                    fn round_trips(value in $strategy, at: prop::sample::Index, byte: u8) {
                        holds::<$message>(&value, at.index(1 << 20), byte)?;
                    }

                    #[test]
                    fn survives_random_bytes(bytes in vec(prop_oneof![any::<u8>(), 0..6_u8, 250..=255_u8], 0..200)) {
                        survives::<$message>(&bytes)?;
                    }
                }
            }
        )*
    };
}

messages! {
    ready_messages: Ready = ready();
    loaded_messages: AgentLoaded = loaded();
    outcomes_messages: Outcomes = outcomes();
    waits: AwaitRequests = parked();
    answers_to_waits: AwaitResults = answers();
    failure_messages: Failure = (blame(), text()).prop_map(|(blame, message)| Failure { blame, message });
    engine_ready_messages: EngineReady = (text(), prop::array::uniform32(any::<u8>()))
        .prop_map(|(engine, library_digest)| EngineReady { engine, library_digest });
    model_loaded_messages: ModelLoaded = model_loaded();
    batch_failed_messages: BatchFailed = (any::<u64>(), text())
        .prop_map(|(batch, message)| BatchFailed { batch: BatchId(batch), message });
    steps_messages: Steps = steps();
    state_messages: StateRecord = state_record();
    snapshot_messages: Snapshot = any::<bool>().prop_map(|full| Snapshot { full });
    run_messages: BatchHead = (any::<u64>(), any::<u32>(), any::<u32>())
        .prop_map(|(batch, model, inputs)| BatchHead { batch: BatchId(batch), version: VersionId(model), model: ModelId(model), inputs });
}

#[test]
fn a_hostile_length_allocates_nothing() {
    // A list of 2^60 entries, of which not one is there.
    let mut bytes = vec![253];
    bytes.extend((1_u64 << 60).to_le_bytes());
    assert!(decode::<Outcomes, { limit::RECORD_BYTES }>(&bytes).is_err());
    assert!(decode::<Steps, { limit::RECORD_BYTES }>(&bytes).is_err());
}
