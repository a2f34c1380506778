//! The promise of this folder, kept by whole models: what comes of a sequence
//! follows from the sequence alone, whoever else is written, however the tokens
//! are spread over orders, and whatever the host remembers.

use super::testing::{packed, talk};
use super::*;
use crate::testing::{engine, model_file};
use serde_json::json;
use shm_protocol::bundle::bundle;
use shm_protocol::generation::{Delta, Finish, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::tensor::Shape;

const GENERATOR: Generator = Generator {
    sequences: 8,
    tokens_per_tick: 4,
    context: None,
    cache_bytes: 1 << 30,
};

const MAY: May = May {
    batch: true,
    share: true,
};

mod ends;
mod folders;
mod poison;
mod prefixes;

fn loaded(bytes: &[u8], generator: &Generator) -> Result<Loaded, String> {
    let wanted = Wanted {
        name: "writer",
        providers: &[],
        strict_providers: false,
        beside: &[],
        ports: limit::TENSORS,
    };
    load(engine(), bytes, &wanted, generator, MAY).map_err(|refused| refused.message)
}

fn writer(graph: &str) -> Box<dyn Model> {
    loaded(&packed(graph, &[]), &GENERATOR)
        .expect("it loads")
        .prepared
        .model
}

fn ask(model: &mut dyn Model, steps: u32, sequences: &[Sequence]) -> Said {
    let order = codec::encode(&DecodeRequest {
        steps,
        sequences: sequences.to_vec(),
    });
    let shape = Shape::new(&[order.len() as u64]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &order).expect("bytes");
    model.run(&[view], &mut []).expect("it runs");
    let mut bytes = Vec::new();
    model.given(0).expect("an output").copy_to(&mut bytes);
    let Deltas(pieces) = codec::decode::<_, { limit::TENSOR_BYTES }>(&bytes).expect("pieces");
    pieces
}

fn sequence(agent: u32, asked: &serde_json::Value) -> Sequence {
    Sequence {
        seed: 5,
        agent: AgentId(agent),
        request: RequestId(3),
        asked: asked.to_string().into_bytes(),
        tokens: Vec::new(),
    }
}

/// What comes of an order.
type Said = Vec<Result<Delta, String>>;

/// What a text has become.
#[derive(Clone, Debug, Default, PartialEq)]
struct Text {
    tokens: Vec<u32>,
    text: String,
    finish: Option<Finish>,
}

/// Writes all sequences to their ends, one order after the other; `answer` does what each order says.
fn write(answer: &mut dyn FnMut(&[Sequence]) -> Said, sequences: &[Sequence]) -> Vec<Text> {
    let mut sequences = sequences.to_vec();
    let mut texts = vec![Text::default(); sequences.len()];
    loop {
        let open: Vec<usize> = (0..texts.len())
            .filter(|text| texts[*text].finish.is_none())
            .collect();
        if open.is_empty() {
            return texts;
        }
        let asked: Vec<Sequence> = open.iter().map(|text| sequences[*text].clone()).collect();
        for (text, piece) in open.into_iter().zip(answer(&asked)) {
            let piece = piece.expect("a piece");
            assert!(
                !piece.tokens.is_empty() || piece.finish.is_some(),
                "an order that moves nothing"
            );
            sequences[text].tokens.extend(&piece.tokens);
            texts[text].tokens.extend(&piece.tokens);
            texts[text].text += &piece.text;
            texts[text].finish = piece.finish;
        }
    }
}

/// With one model, `steps` tokens in each order.
fn write_with(model: &mut dyn Model, steps: u32, sequences: &[Sequence]) -> Vec<Text> {
    write(&mut |asked| ask(model, steps, asked), sequences)
}

/// With a new model for each order.
fn write_lost(graph: &str, steps: u32, sequences: &[Sequence]) -> Vec<Text> {
    write(
        &mut |asked| ask(writer(graph).as_mut(), steps, asked),
        sequences,
    )
}

/// Requests of several lengths and tempers.
fn several() -> Vec<Sequence> {
    let asked = [
        json!({ "prompt": "the keeper", "temperature": 1.0, "max_tokens": 40 }),
        json!({ "prompt": "the ship turns away from the rocks and the gulls", "temperature": 0.8, "top_k": 20, "max_tokens": 50 }),
        json!({ "prompt": "fog", "temperature": 0, "max_tokens": 33 }),
        json!({ "messages": [{ "role": "user", "content": "Hello ☂" }], "temperature": 1.5, "top_p": 0.9, "max_tokens": 45 }),
        json!({ "prompt": "the keeper", "temperature": 1.0, "max_tokens": 40, "repetition_penalty": 1.3 }),
    ];
    (0..)
        .zip(&asked)
        .map(|(agent, asked)| sequence(agent, asked))
        .collect()
}

fn greedy(prompt: &str, count: usize) -> Sequence {
    sequence(
        0,
        &json!({ "prompt": prompt, "temperature": 0, "max_tokens": count }),
    )
}

#[test]
fn the_most_likely_tokens_are_those_of_a_plain_loop_in_python() {
    let expected: serde_json::Value =
        serde_json::from_slice(&model_file("testdata/writer/expected.json")).expect("JSON");
    let genai = model_file("testdata/writer/genai_config.json");
    let weights = model_file("testdata/writer/weights.bin");
    for (graph, changes) in [
        ("model.onnx", vec![]),
        ("merged.onnx", vec![]),
        (
            "genai.onnx",
            vec![
                ("genai_config.json", Some(genai.as_slice())),
                ("config.json", None),
            ],
        ),
        (
            "external.onnx",
            vec![("weights.bin", Some(weights.as_slice()))],
        ),
    ] {
        let mut model = loaded(&packed(graph, &changes), &GENERATOR)
            .expect(graph)
            .prepared
            .model;
        for text in expected.as_array().expect("a list") {
            let prompt = text["prompt"].as_str().expect("a prompt");
            let written = &write_with(model.as_mut(), 5, &[greedy(prompt, 48)])[0];
            let tokens: Vec<u64> = written
                .tokens
                .iter()
                .map(|token| u64::from(*token))
                .collect();
            let expected: Vec<u64> = text["tokens"]
                .as_array()
                .expect("tokens")
                .iter()
                .filter_map(serde_json::Value::as_u64)
                .collect();
            assert_eq!(tokens, expected, "{graph}: {prompt}");
            assert_eq!(written.finish, Some(Finish::Length));
        }
    }
}

#[test]
fn what_may_share_a_run_is_found_out() {
    let batching = |graph: &str| {
        loaded(&packed(graph, &[]), &GENERATOR)
            .expect(graph)
            .batching
    };
    for graph in [
        "model.onnx",
        "merged.onnx",
        "half.onnx",
        "no_positions.onnx",
    ] {
        assert_eq!(batching(graph), Batching::Joined, "{graph}");
    }
    let Batching::Alone(reason) = batching("quantized.onnx") else {
        panic!("its scale is taken over all rows");
    };
    assert!(reason.contains("bits differ"), "{reason}");
}

#[test]
fn a_text_is_the_same_alone_and_among_others_and_however_it_is_spread_over_orders() {
    for graph in [
        "model.onnx",
        "merged.onnx",
        "half.onnx",
        "no_positions.onnx",
        "quantized.onnx",
    ] {
        let mut model = writer(graph);
        let alone: Vec<Text> = several()
            .iter()
            .map(|one| write_with(model.as_mut(), 64, std::slice::from_ref(one)).remove(0))
            .collect();
        assert!(
            alone.iter().map(|text| text.tokens.len()).sum::<usize>() > 100,
            "{graph}: {alone:?}"
        );
        assert_ne!(
            alone[0], alone[4],
            "{graph}: agents have chances of their own"
        );
        for steps in [1, 3, 64] {
            assert_eq!(
                write_with(model.as_mut(), steps, &several()),
                alone,
                "{graph}: {steps} at once"
            );
        }
        let mut reversed = several();
        reversed.reverse();
        let mut written = write_with(model.as_mut(), 4, &reversed);
        written.reverse();
        assert_eq!(written, alone, "{graph}: in another order");
    }
}

#[test]
fn a_host_that_is_lost_at_any_order_changes_nothing() {
    for graph in ["model.onnx", "no_positions.onnx"] {
        let mut model = writer(graph);
        let whole = write_with(model.as_mut(), 4, &several());
        let lost_always = write_lost(graph, 9, &several());
        assert_eq!(lost_always, whole, "{graph}: a new host for every order");
        let bytes = packed(graph, &[]);
        let forgetful = Generator {
            cache_bytes: 0,
            ..GENERATOR
        };
        let mut forgetful = loaded(&bytes, &forgetful).expect("it loads").prepared.model;
        assert_eq!(
            write_with(forgetful.as_mut(), 7, &several()),
            whole,
            "{graph}: nothing kept"
        );
        let little = Generator {
            cache_bytes: 40_000,
            ..GENERATOR
        };
        let mut little = loaded(&bytes, &little).expect("it loads").prepared.model;
        assert_eq!(
            write_with(little.as_mut(), 7, &several()),
            whole,
            "{graph}: some kept"
        );
    }
}

#[test]
fn who_joins_later_or_leaves_early_disturbs_nobody() {
    let mut model = writer("model.onnx");
    let whole = write_with(model.as_mut(), 4, &several());
    let mut model = writer("model.onnx");
    let mut sequences = several();
    let mut texts = vec![Text::default(); sequences.len()];
    for order in 0..12_usize {
        // One joins at each order; the second pauses for three, and the first is never asked again after five.
        let present: Vec<usize> = (0..sequences.len())
            .filter(|text| {
                *text <= order
                    && !(*text == 1 && (4..7).contains(&order))
                    && !(*text == 0 && order > 5)
            })
            .filter(|text| texts[*text].finish.is_none())
            .collect();
        let asked: Vec<Sequence> = present
            .iter()
            .map(|text| sequences[*text].clone())
            .collect();
        for (text, piece) in present.into_iter().zip(ask(model.as_mut(), 4, &asked)) {
            let piece = piece.expect("a piece");
            sequences[text].tokens.extend(&piece.tokens);
            texts[text].text += &piece.text;
            texts[text].finish = piece.finish;
        }
    }
    for (text, whole) in texts.iter().zip(&whole) {
        assert!(
            text.text.len() > 5 && whole.text.starts_with(&text.text),
            "{text:?} of {whole:?}"
        );
    }
}

#[test]
fn the_seed_of_the_run_and_that_of_the_request_count() {
    let mut model = writer("model.onnx");
    let asked = json!({ "prompt": "the keeper", "temperature": 1.0, "max_tokens": 20 });
    let first = sequence(0, &asked);
    let other_run = Sequence {
        seed: 6,
        ..first.clone()
    };
    let other_request = Sequence {
        request: RequestId(4),
        ..first.clone()
    };
    let mut own = asked.clone();
    own["seed"] = json!(9);
    let own_seed = sequence(0, &own);
    let texts: Vec<Vec<u32>> = [&first, &other_run, &other_request, &own_seed, &first]
        .into_iter()
        .map(|one| {
            write_with(model.as_mut(), 20, std::slice::from_ref(one))
                .remove(0)
                .tokens
        })
        .collect();
    assert_eq!(texts[0], texts[4]);
    for (number, text) in texts[1..4].iter().enumerate() {
        assert_ne!(*text, texts[0], "{number}");
    }
}
