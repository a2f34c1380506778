//! A simulated inference host. What it answers depends on every byte of a row or
//! text, on the model and on its version, and on no neighbour. That a batch which
//! is submitted again is the same is seen to by the hosts around it.

use super::fleet::{FAST, Fleet, ROW_BYTES, SLOW};
use super::reply::{Done, Reply};
use shm_protocol::boot::Extent;
use shm_protocol::codec;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Finish, Sequence};
use shm_protocol::id::{BatchId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{
    BATCH_FAILED, BatchFailed, Batching, ENGINE_READY, EngineReady, MODEL_LOADED, ModelInfo,
    ModelLoaded, OUTPUT, RefusalReason, RefusedProvider,
};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{
    BatchHead, INPUT, InferenceCommand, LOAD, LoadModel, RUN, UNLOAD,
};
use shm_protocol::tensor::{DType, Shape};
use std::collections::BTreeMap;
use test_support::random::{mix, mix_bytes};

/// One of so many batches fails, by what is in it.
const FAILS_ONE_IN: u64 = 40;

/// One incarnation of the inference host.
#[derive(Debug, Default)]
pub(super) struct EngineHost {
    is_set_up: bool,
    /// The versions that it has, and the providers that they were to try.
    loaded: BTreeMap<VersionId, Runs>,
    /// Who runs models fast is gone.
    has_lost: bool,
    /// The number of the memory in which it finds its models.
    memory: u64,
    is_started: bool,
    /// The batch whose input comes next.
    run: Option<BatchHead>,
    last: Option<BatchId>,
}

impl EngineHost {
    /// One that has loaded these versions and has been told to start.
    pub(super) fn loaded(loads: &[LoadModel]) -> EngineHost {
        let kept = loads.iter().filter(|load| load.keep);
        EngineHost {
            is_set_up: true,
            loaded: kept
                .map(|load| (load.version, Runs::fast(load.providers.clone())))
                .collect(),
            is_started: true,
            ..EngineHost::default()
        }
    }

    /// One that begins with its models in this memory, and may have lost who runs models fast.
    pub(super) fn losing(has_lost: bool, memory: u64) -> EngineHost {
        EngineHost {
            has_lost,
            memory,
            ..EngineHost::default()
        }
    }

    pub(super) fn obey(&mut self, fleet: &Fleet, command: &InferenceCommand) -> Done {
        match command {
            InferenceCommand::Setup(setup) => {
                assert!(!self.is_set_up, "the engine is set up once");
                assert_eq!(*setup, fleet.orders.engine);
                self.is_set_up = true;
                Done::of(vec![self.engine_ready(fleet)])
            }
            InferenceCommand::Load(load) => {
                assert!(!self.is_started, "commands to load come before the start");
                Done::of(vec![self.load(fleet, load)])
            }
            InferenceCommand::Start => {
                assert!(!self.is_started, "the engine is started once");
                self.is_started = true;
                Done::silent()
            }
            InferenceCommand::Prove(_) => panic!("nobody tries providers while a run goes on"),
            InferenceCommand::Drain => panic!("nobody drains a host while a run goes on"),
        }
    }

    fn engine_ready(&self, fleet: &Fleet) -> Reply {
        let pin = fleet
            .header
            .engine
            .as_ref()
            .expect("a fleet with models has an engine");
        Reply::encoded(
            RecordHeader::new(ENGINE_READY, Tick::ZERO),
            &EngineReady {
                engine: pin.name.clone(),
                library_digest: pin.library,
            },
        )
    }

    fn load(&mut self, fleet: &Fleet, load: &LoadModel) -> Reply {
        assert!(self.is_set_up, "models are loaded after the setup");
        let (expected, pin) = fleet.version(load);
        let is_asked = LoadModel {
            keep: true,
            providers: load.providers.clone(),
            // The simulated place of a file in a memory is the number of that memory.
            artifact: Extent {
                offset: self.memory,
                bytes: 0,
            },
            ..expected
        };
        assert_eq!(*load, is_asked, "a version is loaded as it is");
        let wants_fast = load.providers.iter().any(|name| name == FAST);
        let (provider, refused) = match (wants_fast, self.has_lost) {
            (true, false) => (FAST, Vec::new()),
            (true, true) => {
                let gone = RefusedProvider {
                    provider: FAST.to_owned(),
                    reason: RefusalReason::SelfTestFailed,
                    detail: "it is gone".to_owned(),
                };
                (SLOW, vec![gone])
            }
            (false, _) => (SLOW, Vec::new()),
        };
        let runs = Runs {
            providers: load.providers.clone(),
            is_fast: provider == FAST,
        };
        let before = self.loaded.insert(load.version, runs);
        assert!(
            before.is_none_or(|before| before.providers != load.providers),
            "version {} is loaded twice",
            load.version
        );
        // Whether rows depend on each other may be another matter elsewhere.
        let batching = match (provider == FAST, mix(fleet.seed, 14).is_multiple_of(2)) {
            (false, true) => Batching::Unwanted,
            _ => pin.batching.clone(),
        };
        let facts = ModelInfo {
            signature: pin.signature.clone(),
            provider: provider.to_owned(),
            refused,
            batching,
            is_encoder: false,
        };
        Reply::encoded(
            RecordHeader::new(MODEL_LOADED, Tick::ZERO),
            &ModelLoaded {
                version: load.version,
                result: Ok(facts),
            },
        )
    }

    pub(super) fn take(&mut self, fleet: &Fleet, header: &RecordHeader, payload: &[u8]) -> Done {
        assert!(
            self.is_started,
            "a record of kind {} before the start",
            header.kind
        );
        match header.kind {
            RUN => {
                assert!(self.run.is_none(), "a batch begins within another");
                let run: BatchHead = codec::decode_record::<BatchHead>(payload)
                    .expect("the supervisor speaks the protocol");
                assert!(
                    self.last < Some(run.batch),
                    "batches come in the order of their numbers"
                );
                assert_eq!(run.inputs, 1, "a simulated model has one input");
                assert!(
                    self.loaded.contains_key(&run.version),
                    "version {} is asked, and is not loaded",
                    run.version
                );
                self.last = Some(run.batch);
                self.run = Some(run);
                Done::silent()
            }
            INPUT => {
                let run = self.run.take().expect("an input belongs to a batch");
                assert_eq!((header.correlation, header.subject), (run.batch.0, 0));
                let is_order = fleet.header.models[run.model.index()]
                    .settings
                    .generator
                    .is_some();
                let requests = requests_of(is_order, payload);
                if let Some(deadly) = &fleet.deadly
                    && requests.iter().any(|bytes| deadly.is(header.tick, bytes))
                {
                    return Done {
                        replies: Vec::new(),
                        ends: deadly.ends,
                    };
                }
                let is_fast = self.loaded[&run.version].is_fast;
                Done::of(
                    match fleet.header.models[run.model.index()].settings.generator {
                        None => answer(fleet, header, &run, is_fast, payload),
                        Some(_) => vec![write(fleet, header, &run, is_fast, payload)],
                    },
                )
            }
            LOAD => {
                let load = codec::decode_record::<LoadModel>(payload)
                    .expect("the supervisor speaks the protocol");
                Done::of(vec![self.load(fleet, &load)])
            }
            UNLOAD => {
                let version = VersionId(header.subject);
                assert!(
                    self.loaded.remove(&version).is_some(),
                    "version {version} is let go, and is not there"
                );
                Done::silent()
            }
            kind => panic!("a record of kind {kind} goes down to the inference host"),
        }
    }
}

/// The requests of a batch as far as they can be told apart: its rows, or the texts of an order.
fn requests_of(is_order: bool, payload: &[u8]) -> Vec<Vec<u8>> {
    if !is_order {
        return payload.chunks(ROW_BYTES).map(<[u8]>::to_vec).collect();
    }
    let order: DecodeRequest =
        codec::decode_record(payload).expect("the supervisor speaks the protocol");
    let texts = order.sequences.into_iter();
    texts.map(|sequence| sequence.asked).collect()
}

/// How a version was loaded, and whether the fast one runs it.
#[derive(Debug)]
struct Runs {
    providers: Vec<String>,
    is_fast: bool,
}

impl Runs {
    fn fast(providers: Vec<String>) -> Runs {
        let is_fast = providers.iter().any(|name| name == FAST);
        Runs { providers, is_fast }
    }
}

/// Writes what an order asks for. A text depends on its request, its agent and the tokens before, and on no neighbour.
fn write(
    fleet: &Fleet,
    header: &RecordHeader,
    run: &BatchHead,
    is_fast: bool,
    payload: &[u8],
) -> Reply {
    let order: DecodeRequest =
        codec::decode_record(payload).expect("the supervisor speaks the protocol");
    let sequences = order.sequences.iter();
    let pieces = Deltas(
        sequences
            .map(|sequence| piece(fleet, run, is_fast, sequence, order.steps))
            .collect(),
    );
    let payload = codec::encode(&pieces);
    let mut header = RecordHeader::new(OUTPUT, header.tick);
    header.correlation = run.batch.0;
    let shape = Shape::new(&[payload.len() as u64]).expect("one dimension");
    header.tensor = Some((DType::U8, shape));
    assert!(
        order
            .sequences
            .iter()
            .all(|sequence| sequence.seed == fleet.seed),
        "texts are of this run"
    );
    Reply { header, payload }
}

fn piece(
    fleet: &Fleet,
    run: &BatchHead,
    is_fast: bool,
    sequence: &Sequence,
    steps: u32,
) -> Result<Delta, String> {
    let mut mixed = mix_bytes(mix(sequence.seed, sequence.agent.0.into()), &sequence.asked);
    mixed = of_version(fleet, run, mixed);
    if !is_fast {
        mixed = mix(mixed, 1);
    }
    mixed = mix(mixed, sequence.request.0);
    for token in &sequence.tokens {
        mixed = mix(mixed, u64::from(*token));
    }
    if mixed.is_multiple_of(FAILS_ONE_IN) {
        return Err(format!("the simulated engine cannot write {mixed:x}"));
    }
    let mut tokens = Vec::new();
    let mut finish = None;
    while finish.is_none() && tokens.len() < steps as usize {
        let token = u32::try_from(mixed % 50_000).expect("below");
        tokens.push(token);
        mixed = mix(mixed, u64::from(token));
        finish = token.is_multiple_of(9).then_some(Finish::EndOfText);
    }
    Ok(Delta {
        text: format!("{tokens:?}"),
        tokens,
        embedding: Vec::new(),
        finish,
        prompt_tokens: 1,
    })
}

/// Answers each row by itself, as a real engine does whose rows are joined: batches are divided in a search for a request
/// that crashes the engine, and for one that the engine refuses.
fn answer(
    fleet: &Fleet,
    header: &RecordHeader,
    run: &BatchHead,
    is_fast: bool,
    payload: &[u8],
) -> Vec<Reply> {
    let mixed = |row: &[u8]| {
        let mixed = mix_bytes(mix(fleet.seed, run.model.0.into()), row);
        let mixed = of_version(fleet, run, mixed);
        if is_fast { mixed } else { mix(mixed, 1) }
    };
    let rows: Vec<u64> = payload.chunks(ROW_BYTES).map(mixed).collect();
    let mut header = RecordHeader::new(OUTPUT, header.tick);
    header.correlation = run.batch.0;
    if rows.iter().any(|row| row.is_multiple_of(FAILS_ONE_IN)) {
        header.kind = BATCH_FAILED;
        let failed = BatchFailed {
            batch: run.batch,
            message: "the simulated engine cannot run this".to_owned(),
        };
        return vec![Reply::encoded(header, &failed)];
    }
    let shape = Shape::new(&[rows.len() as u64, ROW_BYTES as u64]).expect("two dimensions");
    header.tensor = Some((DType::U8, shape));
    let outputs = &fleet.header.models[run.model.index()].signature.outputs;
    let output = |position: u32| Reply {
        header: RecordHeader {
            subject: position,
            ..header
        },
        payload: rows
            .iter()
            .flat_map(|row| mix(*row, position.into()).to_le_bytes())
            .collect(),
    };
    (0..).take(outputs.len()).map(output).collect()
}

/// Another version says something else than the first.
fn of_version(fleet: &Fleet, run: &BatchHead, mixed: u64) -> u64 {
    match run.version.index() < fleet.header.models.len() {
        true => mixed,
        false => mix(mixed, run.version.0.into()),
    }
}
