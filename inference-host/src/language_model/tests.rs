//! The promise of this folder, kept by whole models: the result of a sequence is a function of the sequence alone,
//! whatever else is decoded, however the tokens are spread over decode requests, and whatever the host remembers.

use super::testing::{bundle_with, talk_bundle};
use super::*;
use crate::testing::{engine, model_file};
use serde_json::json;
use shm_protocol::bundle::bundle;
use shm_protocol::generation::{Delta, Finish, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::tensor::Shape;

const GENERATOR: Generator = Generator {
    max_concurrent_generations: 8,
    tokens_per_tick: 4,
    context_length: None,
    cache_bytes: 1 << 30,
};

const SHARE_ALL: SharingPolicy = SharingPolicy {
    batch: true,
    share_prefixes: true,
};

mod finish;
mod model_folders;
mod poisonous_requests;
mod prefix_cache;

fn loaded(bytes: &[u8], generator: &Generator) -> Result<LoadedLanguageModel, String> {
    let options = LoadOptions {
        name: "writer",
        providers: &[],
        strict_providers: false,
        external_data: &[],
        max_ports: limit::TENSORS,
    };
    load(engine(), bytes, &options, generator, SHARE_ALL).map_err(|refused| refused.message)
}

fn decoder(graph: &str) -> Box<dyn Model> {
    loaded(&bundle_with(graph, &[]), &GENERATOR)
        .expect("it loads")
        .loaded
        .model
}

fn ask(model: &mut dyn Model, steps: u32, sequences: &[Sequence]) -> Answer {
    let request = codec::encode(&DecodeRequest {
        steps,
        sequences: sequences.to_vec(),
    });
    let shape = Shape::new(&[request.len() as u64]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &request).expect("bytes");
    model.run(&[view], &mut []).expect("it runs");
    let mut bytes = Vec::new();
    model.output(0).expect("an output").copy_to(&mut bytes);
    let Deltas(deltas) = codec::decode::<_, { limit::TENSOR_BYTES }>(&bytes).expect("deltas");
    deltas
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

/// The answer to a decode request.
type Answer = Vec<Result<Delta, String>>;

/// The text of a sequence so far.
#[derive(Clone, Debug, Default, PartialEq)]
struct Generation {
    tokens: Vec<u32>,
    text: String,
    finish: Option<Finish>,
}

/// Generates all sequences to their ends, one decode request after the other; `answer` answers each.
fn generate_by(
    answer: &mut dyn FnMut(&[Sequence]) -> Answer,
    sequences: &[Sequence],
) -> Vec<Generation> {
    let mut sequences = sequences.to_vec();
    let mut generations = vec![Generation::default(); sequences.len()];
    loop {
        let open: Vec<usize> = (0..generations.len())
            .filter(|text| generations[*text].finish.is_none())
            .collect();
        if open.is_empty() {
            return generations;
        }
        let asked: Vec<Sequence> = open.iter().map(|text| sequences[*text].clone()).collect();
        for (text, delta) in open.into_iter().zip(answer(&asked)) {
            let delta = delta.expect("a delta");
            assert!(
                !delta.tokens.is_empty() || delta.finish.is_some(),
                "a decode request that adds nothing"
            );
            sequences[text].tokens.extend(&delta.tokens);
            generations[text].tokens.extend(&delta.tokens);
            generations[text].text += &delta.text;
            generations[text].finish = delta.finish;
        }
    }
}

/// With one model, `steps` tokens in each decode request.
fn generate(model: &mut dyn Model, steps: u32, sequences: &[Sequence]) -> Vec<Generation> {
    generate_by(&mut |asked| ask(model, steps, asked), sequences)
}

/// With a new model for each decode request.
fn generate_with_restarts(graph: &str, steps: u32, sequences: &[Sequence]) -> Vec<Generation> {
    generate_by(
        &mut |asked| ask(decoder(graph).as_mut(), steps, asked),
        sequences,
    )
}

/// Requests of several lengths and temperatures.
fn several() -> Vec<Sequence> {
    let asked = [
        json!({ "prompt": "the keeper", "temperature": 1.0, "max_tokens": 40 }),
        json!({ "prompt": "the ship turns away from the rocks and the gulls", "temperature": 0.8, "top_k": 20,
            "max_tokens": 50 }),
        json!({ "prompt": "fog", "temperature": 0, "max_tokens": 33 }),
        json!({ "messages": [{ "role": "user", "content": "Hello ☂" }], "temperature": 1.5, "top_p": 0.9,
            "max_tokens": 45 }),
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
fn greedy_tokens_are_those_of_a_plain_loop_in_python() {
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
        let mut model = loaded(&bundle_with(graph, &changes), &GENERATOR)
            .expect(graph)
            .loaded
            .model;
        for text in expected.as_array().expect("a list") {
            let prompt = text["prompt"].as_str().expect("a prompt");
            let written = &generate(model.as_mut(), 5, &[greedy(prompt, 48)])[0];
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
fn the_probe_finds_which_models_may_share_runs() {
    let batching = |graph: &str| {
        loaded(&bundle_with(graph, &[]), &GENERATOR)
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
fn a_sequence_is_the_same_alone_and_in_any_batch() {
    for graph in [
        "model.onnx",
        "merged.onnx",
        "half.onnx",
        "no_positions.onnx",
        "quantized.onnx",
    ] {
        let mut model = decoder(graph);
        let alone: Vec<Generation> = several()
            .iter()
            .map(|one| generate(model.as_mut(), 64, std::slice::from_ref(one)).remove(0))
            .collect();
        assert!(
            alone.iter().map(|text| text.tokens.len()).sum::<usize>() > 100,
            "{graph}: {alone:?}"
        );
        assert_ne!(
            alone[0], alone[4],
            "{graph}: each agent has random numbers of its own"
        );
        for steps in [1, 3, 64] {
            assert_eq!(
                generate(model.as_mut(), steps, &several()),
                alone,
                "{graph}: {steps} at once"
            );
        }
        let mut reversed = several();
        reversed.reverse();
        let mut written = generate(model.as_mut(), 4, &reversed);
        written.reverse();
        assert_eq!(written, alone, "{graph}: in another order");
    }
}

#[test]
fn a_restart_at_any_decode_request_changes_nothing() {
    for graph in ["model.onnx", "no_positions.onnx"] {
        let mut model = decoder(graph);
        let expected = generate(model.as_mut(), 4, &several());
        let lost_always = generate_with_restarts(graph, 9, &several());
        assert_eq!(
            lost_always, expected,
            "{graph}: a new host for every decode request"
        );
        let bytes = bundle_with(graph, &[]);
        let forgetful = Generator {
            cache_bytes: 0,
            ..GENERATOR
        };
        let mut forgetful = loaded(&bytes, &forgetful).expect("it loads").loaded.model;
        assert_eq!(
            generate(forgetful.as_mut(), 7, &several()),
            expected,
            "{graph}: nothing cached"
        );
        let little = Generator {
            cache_bytes: 40_000,
            ..GENERATOR
        };
        let mut little = loaded(&bytes, &little).expect("it loads").loaded.model;
        assert_eq!(
            generate(little.as_mut(), 7, &several()),
            expected,
            "{graph}: some cached"
        );
    }
}

#[test]
fn joining_late_and_leaving_early_disturbs_no_sequence() {
    let mut model = decoder("model.onnx");
    let expected = generate(model.as_mut(), 4, &several());
    let mut model = decoder("model.onnx");
    let mut sequences = several();
    let mut generations = vec![Generation::default(); sequences.len()];
    for request in 0..12_usize {
        // One joins at each decode request; the second pauses for three, and the first is left out after five.
        let present: Vec<usize> = (0..sequences.len())
            .filter(|text| {
                *text <= request
                    && !(*text == 1 && (4..7).contains(&request))
                    && !(*text == 0 && request > 5)
            })
            .filter(|text| generations[*text].finish.is_none())
            .collect();
        let asked: Vec<Sequence> = present
            .iter()
            .map(|text| sequences[*text].clone())
            .collect();
        for (text, delta) in present.into_iter().zip(ask(model.as_mut(), 4, &asked)) {
            let delta = delta.expect("a delta");
            sequences[text].tokens.extend(&delta.tokens);
            generations[text].text += &delta.text;
            generations[text].finish = delta.finish;
        }
    }
    for (text, expected) in generations.iter().zip(&expected) {
        assert!(
            text.text.len() > 5 && expected.text.starts_with(&text.text),
            "{text:?} of {expected:?}"
        );
    }
}

#[test]
fn the_seeds_of_run_and_request_both_count() {
    let mut model = decoder("model.onnx");
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
    let generations: Vec<Vec<u32>> = [&first, &other_run, &other_request, &own_seed, &first]
        .into_iter()
        .map(|one| {
            generate(model.as_mut(), 20, std::slice::from_ref(one))
                .remove(0)
                .tokens
        })
        .collect();
    assert_eq!(generations[0], generations[4]);
    for (number, text) in generations[1..4].iter().enumerate() {
        assert_ne!(*text, generations[0], "{number}");
    }
}
