//! A simulated inference host. What it answers depends on every byte of a batch
//! and on its composition, so that a batch which is formed in another way when it
//! is submitted again shows in the journal.

use super::fleet::{Fleet, ROW_BYTES};
use super::random::{mix, mix_bytes};
use super::reply::{Done, Reply};
use shm_protocol::generation::{Finish, Order, Piece, Pieces, Sequence};
use shm_protocol::id::{BatchId, Tick};
use shm_protocol::inference_to_supervisor::{
    BATCH_FAILED, BatchFailed, ENGINE_READY, EngineReady, MODEL_LOADED, ModelFacts, ModelLoaded,
    OUTPUT,
};
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_inference::{Command, INPUT, Load, RUN, Run};
use shm_protocol::tensor::{DType, Shape};
use shm_protocol::{codec, limit};

/// One of so many batches fails, by what is in it.
const FAILS_ONE_IN: u64 = 40;

/// One incarnation of the inference host.
#[derive(Debug, Default)]
pub(super) struct EngineHost {
    is_set_up: bool,
    models: usize,
    is_started: bool,
    /// The batch whose input comes next.
    run: Option<Run>,
    last: Option<BatchId>,
}

impl EngineHost {
    /// One that has its models and has been told to start.
    pub(super) fn loaded(fleet: &Fleet) -> EngineHost {
        EngineHost {
            is_set_up: true,
            models: fleet.header.models.len(),
            is_started: true,
            ..EngineHost::default()
        }
    }

    pub(super) fn obey(&mut self, fleet: &Fleet, command: &Command) -> Done {
        match command {
            Command::Setup(setup) => {
                assert!(!self.is_set_up, "the engine is set up once");
                assert_eq!(*setup, fleet.orders.engine);
                self.is_set_up = true;
                Done::of(vec![self.engine_ready(fleet)])
            }
            Command::Load(load) => Done::of(vec![self.load(fleet, load)]),
            Command::Start => {
                assert_eq!(
                    self.models,
                    fleet.header.models.len(),
                    "it is started with its models"
                );
                assert!(!self.is_started, "the engine is started once");
                self.is_started = true;
                Done::silent()
            }
            Command::Prove(_) => panic!("nobody tries providers while a run goes on"),
            Command::Drain => panic!("nobody drains a host while a run goes on"),
        }
    }

    fn engine_ready(&self, fleet: &Fleet) -> Reply {
        let pin = fleet
            .header
            .engine
            .as_ref()
            .expect("a fleet with models has an engine");
        Reply::encoded(
            Header::new(ENGINE_READY, Tick::ZERO),
            &EngineReady {
                engine: pin.name.clone(),
                library_digest: pin.library,
            },
        )
    }

    fn load(&mut self, fleet: &Fleet, load: &Load) -> Reply {
        assert!(
            self.is_set_up && !self.is_started,
            "models are loaded between setup and start"
        );
        assert_eq!(
            *load, fleet.orders.models[self.models],
            "models are loaded in their order"
        );
        let pin = &fleet.header.models[self.models];
        self.models += 1;
        let facts = ModelFacts {
            signature: pin.signature.clone(),
            provider: pin.provider.clone(),
            refused: pin.refused.clone(),
            batching: pin.batching.clone(),
        };
        Reply::encoded(
            Header::new(MODEL_LOADED, Tick::ZERO),
            &ModelLoaded {
                model: load.model,
                result: Ok(facts),
            },
        )
    }

    pub(super) fn take(&mut self, fleet: &Fleet, header: &Header, payload: &[u8]) -> Done {
        assert!(
            self.is_started,
            "a record of kind {} before the start",
            header.kind
        );
        match header.kind {
            RUN => {
                assert!(self.run.is_none(), "a batch begins within another");
                let run: Run = codec::decode::<Run, { limit::RECORD_BYTES }>(payload)
                    .expect("the supervisor speaks the protocol");
                assert!(
                    self.last < Some(run.batch),
                    "batches come in the order of their numbers"
                );
                assert_eq!(run.inputs, 1, "a simulated model has one input");
                self.last = Some(run.batch);
                self.run = Some(run);
                Done::silent()
            }
            INPUT => {
                let run = self.run.take().expect("an input belongs to a batch");
                assert_eq!((header.correlation, header.subject), (run.batch.0, 0));
                if fleet.deadly == Some(header.tick) {
                    return Done {
                        replies: Vec::new(),
                        dies: true,
                    };
                }
                Done::of(match fleet.header.models[run.model.index()].generator {
                    None => answer(fleet, header, &run, payload),
                    Some(_) => vec![write(fleet, header, &run, payload)],
                })
            }
            kind => panic!("a record of kind {kind} goes down to the inference host"),
        }
    }
}

/// Writes what an order asks for. A text depends on its request, its agent and the tokens before, and on no neighbour.
fn write(fleet: &Fleet, header: &Header, run: &Run, payload: &[u8]) -> Reply {
    let order: Order = codec::decode::<_, { limit::RECORD_BYTES }>(payload)
        .expect("the supervisor speaks the protocol");
    let sequences = order.sequences.iter();
    let pieces = Pieces(
        sequences
            .map(|sequence| piece(sequence, order.steps))
            .collect(),
    );
    let payload = codec::encode(&pieces);
    let mut header = Header::new(OUTPUT, header.tick);
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

fn piece(sequence: &Sequence, steps: u32) -> Result<Piece, String> {
    let mut mixed = mix_bytes(mix(sequence.seed, sequence.agent.0.into()), &sequence.asked);
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
    Ok(Piece {
        text: format!("{tokens:?}"),
        tokens,
        embedding: Vec::new(),
        finish,
        prompt_tokens: 1,
    })
}

fn answer(fleet: &Fleet, header: &Header, run: &Run, payload: &[u8]) -> Vec<Reply> {
    let (dtype, shape) = header.tensor.expect("an input is a tensor");
    assert_eq!(shape.bytes(dtype).expect("a small shape"), payload.len());
    let batch = mix_bytes(mix(fleet.seed, run.model.0.into()), payload);
    if batch.is_multiple_of(FAILS_ONE_IN) {
        let failed = BatchFailed {
            batch: run.batch,
            message: format!("the simulated engine cannot run {batch:x}"),
        };
        let mut header = Header::new(BATCH_FAILED, header.tick);
        header.correlation = run.batch.0;
        return vec![Reply::encoded(header, &failed)];
    }
    let rows = payload.len() / ROW_BYTES;
    let outputs = &fleet.header.models[run.model.index()].signature.outputs;
    let output = |position: u32| {
        let row = |row: usize| mix(mix(batch, row as u64), position.into()).to_le_bytes();
        let mut header = Header::new(OUTPUT, header.tick);
        header.correlation = run.batch.0;
        header.subject = position;
        let shape = Shape::new(&[rows as u64, ROW_BYTES as u64]).expect("two dimensions");
        header.tensor = Some((DType::U8, shape));
        Reply {
            header,
            payload: (0..rows).flat_map(row).collect(),
        }
    };
    (0..).take(outputs.len()).map(output).collect()
}
