//! Tokens a second through the inference host and the rings, beside the bare loop
//! in one process, and of several texts at once beside one.
//!
//! Texts are of the most likely tokens, all of the same length. The bare loop is
//! fed as many tokens as the prompt has. Repeats of all are interleaved.
//!
//! `cargo bench -p lockstep-benches --bench texts`

use lockstep_benches::bare_decoder::BareDecoder;
use lockstep_benches::bare_model::BareEngine;
use lockstep_benches::clock::timed;
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary, fleets};
use shm_protocol::codec;
use shm_protocol::generation::{DecodeRequest, Delta, Deltas, Generator, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::tensor::{DType, Shape, Tensor};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use supervisor::host::{HostProgram, StopSignals};
use supervisor::launch::{Engines, StandaloneModel, StandaloneModelRequest};
use supervisor::models::read_folder;
use supervisor::record::{ModelDefinition, ModelSettings};

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Texts at once.
const TEXTS: [usize; 3] = [1, 8, 16];

/// Tokens of each text, and of it in one order.
const TOKENS: usize = 200;
const STEPS: u32 = 8;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 11;

/// What is gone on with.
const PROMPT: &str = "There was once a quiet weaver in";

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let mut report = Report::new("texts");
    report.say(&format!("measured: {}", binary.display()));
    let folder = fleets::talk();
    let engine = BareEngine::new()?;
    let mut bare = BareDecoder::load(&engine, &folder.join("model.onnx"))?;
    let mut host = host(&binary, &folder)?;
    let mut next = 0;
    // What the host has written tells what the prompt was, and warms both up.
    let written = write(&mut host, 1, &mut next)?;
    let prompt = vec![1; written.prompt_tokens];
    bare.write(&prompt, TOKENS)?;
    let mut of_bare = Samples::default();
    let mut of_texts: Vec<Samples> = TEXTS.iter().map(|_| Samples::default()).collect();
    for _ in 0..REPEATS {
        let (seconds, wrote) = timed(|| bare.write(&prompt, written.tokens));
        wrote?;
        of_bare.add(written.tokens as f64 / seconds);
        for (samples, count) in of_texts.iter_mut().zip(TEXTS) {
            let (seconds, wrote) = timed(|| write(&mut host, count, &mut next));
            samples.add((wrote?.tokens * count) as f64 / seconds);
        }
    }
    report.keep("bare/tokens_per_s", &of_bare);
    let mut table = vec![vec![
        "bare loop".to_owned(),
        of_bare.show(1.0, 0),
        String::new(),
        String::new(),
    ]];
    for (samples, count) in of_texts.iter().zip(TEXTS) {
        report.keep(&format!("{count} texts/tokens_per_s"), samples);
        table.push(vec![
            count.to_string(),
            samples.show(1.0, 0),
            format!("{:.2}", samples.median() / of_bare.median()),
            format!("{:.2}", samples.median() / of_texts[0].median()),
        ]);
    }
    report.table(
        "tokens a second in all texts (aims: 0.9 of the bare loop with one, 3 times one with eight)",
        &["texts", "tokens/s", "of bare", "of one"],
        &table,
    );
    measure_prompts(&mut host, &mut next, &mut report)?;
    report.finish()
}

/// Long prompts of several texts, to their first tokens: all different, and the same but for their ends.
fn measure_prompts(
    host: &mut StandaloneModel,
    next: &mut u64,
    report: &mut Report,
) -> Result<(), Trouble> {
    let (mut apart, mut alike, mut ratio) =
        (Samples::default(), Samples::default(), Samples::default());
    let mut tokens = 0;
    for _ in 0..REPEATS {
        let (seconds_apart, begun) = timed(|| begin(host, false, next));
        tokens = begun?;
        let (seconds_alike, begun) = timed(|| begin(host, true, next));
        begun?;
        apart.add(seconds_apart);
        alike.add(seconds_alike);
        ratio.add(seconds_apart / seconds_alike);
    }
    report.keep("prompts apart/s", &apart);
    report.keep("prompts alike/s", &alike);
    report.keep("prompts apart / alike", &ratio);
    let row = vec![
        tokens.to_string(),
        apart.show(1e3, 0),
        alike.show(1e3, 0),
        ratio.show(1.0, 2),
    ];
    report.table(
        "8 prompts at once, to their first tokens",
        &[
            "tokens of each",
            "all different ms",
            "with one beginning ms",
            "different / one beginning",
        ],
        &[row],
    );
    Ok(())
}

/// Begins eight texts with long prompts, which nobody has had before. Gives the tokens of one.
fn begin(host: &mut StandaloneModel, is_alike: bool, next: &mut u64) -> Result<usize, Trouble> {
    let long = "The keeper looks at the sea and the ship comes in. ".repeat(40);
    let sequence = |number: usize| {
        let first = if is_alike { 0 } else { number };
        let prompt = format!("{first} {next} {long} {number}");
        Sequence {
            seed: 1,
            agent: AgentId::from_index(number),
            request: RequestId(*next),
            asked: format!("{{\"prompt\": \"{prompt}\", \"max_tokens\": 1}}").into_bytes(),
            tokens: Vec::new(),
        }
    };
    let sequences = (0..8).map(sequence).collect();
    *next += 1;
    let (pieces, _) = answer(
        host,
        DecodeRequest {
            steps: 1,
            sequences,
        },
    )?;
    let piece = pieces.into_iter().next().ok_or("no piece")??;
    Ok(piece.prompt_tokens as usize)
}

/// The pieces that come of an order, and the sequences of that.
type Answered = (Vec<Result<Delta, String>>, Vec<Sequence>);

/// Has an order carried out.
fn answer(host: &mut StandaloneModel, order: DecodeRequest) -> Result<Answered, Trouble> {
    let data = codec::encode(&order);
    let tensor = Tensor {
        dtype: DType::U8,
        shape: Shape::new(&[data.len() as u64])?,
        data,
    };
    let (outputs, _) = host.run(&[tensor])?;
    let Deltas(pieces) = codec::decode_record(&outputs[0].data)?;
    Ok((pieces, order.sequences))
}

fn host(binary: &Path, folder: &Path) -> Result<StandaloneModel, Trouble> {
    let engines = Engines {
        program: Arc::new(HostProgram::open(binary.to_path_buf())?),
        lockstep: String::new(),
        wasmtime: String::new(),
        wasmtime_settings: String::new(),
        cache: None,
        library: None,
    };
    let bundle = read_folder(folder)?;
    let request = StandaloneModelRequest {
        model: ModelDefinition {
            settings: ModelSettings {
                generator: Some(Generator {
                    max_concurrent_generations: 16,
                    tokens_per_tick: STEPS,
                    context_length: None,
                    cache_bytes: 1 << 30,
                }),
                ..ModelSettings::default()
            },
            ..ModelDefinition::new("talk", bundle.as_slice())
        },
        strict_providers: false,
        intra_op_threads: 1,
        tensor_bytes: 4 << 20,
        timeout: Duration::from_secs(60),
    };
    Ok(StandaloneModel::load(
        &engines,
        &request,
        StopSignals::none()?,
    )?)
}

/// What came of the first text.
struct Written {
    tokens: usize,
    prompt_tokens: usize,
}

/// Writes so many texts at once, order by order.
fn write(host: &mut StandaloneModel, count: usize, next: &mut u64) -> Result<Written, Trouble> {
    let asked =
        format!("{{\"prompt\": \"{PROMPT}\", \"temperature\": 0, \"max_tokens\": {TOKENS}}}");
    let sequence = |number: usize| Sequence {
        seed: 1,
        agent: AgentId::from_index(number),
        request: RequestId(*next),
        asked: asked.clone().into_bytes(),
        tokens: Vec::new(),
    };
    let mut sequences: Vec<Sequence> = (0..count).map(sequence).collect();
    *next += 1;
    loop {
        let steps = STEPS;
        let (pieces, asked) = answer(host, DecodeRequest { steps, sequences })?;
        sequences = asked;
        let (mut is_over, mut prompt_tokens) = (false, 0);
        for (sequence, piece) in sequences.iter_mut().zip(pieces) {
            let piece = piece?;
            sequence.tokens.extend(piece.tokens);
            is_over |= piece.finish.is_some();
            prompt_tokens = piece.prompt_tokens as usize;
        }
        if is_over {
            let tokens = sequences[0].tokens.len();
            return Ok(Written {
                tokens,
                prompt_tokens,
            });
        }
    }
}
