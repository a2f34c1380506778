//! The promise of this folder, kept by whole models: what comes of a sequence
//! follows from the sequence alone, whoever else is written, however the tokens
//! are spread over orders, and whatever the host remembers.

use super::testing::{packed, talk};
use super::*;
use crate::testing::{engine, model_file};
use serde_json::json;
use shm_protocol::generation::{Finish, Piece, Sequence};
use shm_protocol::id::{AgentId, RequestId};
use shm_protocol::pack::pack;
use shm_protocol::tensor::Shape;

const GENERATOR: Generator = Generator {
    sequences: 8,
    tokens_per_tick: 4,
    context: None,
    cache_bytes: 1 << 30,
};

fn loaded(bytes: &[u8], generator: &Generator) -> Result<Loaded, String> {
    let wanted = Wanted {
        name: "writer",
        providers: &[],
        strict_providers: false,
        beside: &[],
        ports: limit::TENSORS,
    };
    load(engine(), bytes, &wanted, generator, true).map_err(|refused| refused.message)
}

fn writer(graph: &str) -> Box<dyn Model> {
    loaded(&packed(graph, &[]), &GENERATOR)
        .expect("it loads")
        .prepared
        .model
}

fn ask(model: &mut dyn Model, steps: u32, sequences: &[Sequence]) -> Said {
    let order = codec::encode(&Order {
        steps,
        sequences: sequences.to_vec(),
    });
    let shape = Shape::new(&[order.len() as u64]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &order).expect("bytes");
    model.run(&[view], &mut []).expect("it runs");
    let mut bytes = Vec::new();
    model.given(0).expect("an output").copy_to(&mut bytes);
    let Pieces(pieces) = codec::decode::<_, { limit::TENSOR_BYTES }>(&bytes).expect("pieces");
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
type Said = Vec<Result<Piece, String>>;

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

#[test]
fn a_stop_string_ends_a_text_and_is_no_part_of_it() {
    let mut model = writer("model.onnx");
    let free = write_with(model.as_mut(), 6, &[greedy("the keeper", 30)]).remove(0);
    let letters: Vec<char> = free
        .text
        .chars()
        .filter(|letter| *letter != '\u{fffd}')
        .collect();
    let stop: String = letters[4..7].iter().collect();
    let place = free.text.find(&stop).expect("it is in the text");
    let asked = json!({ "prompt": "the keeper", "temperature": 0, "max_tokens": 30, "stop": ["never", stop] });
    for steps in [1, 2, 30] {
        let stopped = write_with(model.as_mut(), steps, &[sequence(0, &asked)]).remove(0);
        assert_eq!(
            (stopped.text.as_str(), stopped.finish),
            (&free.text[..place], Some(Finish::Stop)),
            "{steps}"
        );
    }
}

#[test]
fn an_answer_has_the_form_that_was_asked_for() {
    let mut model = writer("model.onnx");
    let schema = json!({
        "type": "object",
        "properties": { "colour": { "enum": ["red", "green"] }, "count": { "type": "integer", "minimum": 0, "maximum": 99 } },
        "required": ["colour", "count"], "additionalProperties": false,
        "x-guidance": { "whitespace_flexible": false },
    });
    let asked = json!({
        "prompt": "the keeper", "temperature": 1.0, "max_tokens": 90,
        "response_format": { "type": "json_schema", "json_schema": schema },
    });
    for agent in 0..4 {
        let one = sequence(agent, &asked);
        let text = write_with(model.as_mut(), 90, std::slice::from_ref(&one)).remove(0);
        assert_eq!(text.finish, Some(Finish::EndOfText), "{}", text.text);
        let value: serde_json::Value = serde_json::from_str(&text.text).expect(&text.text);
        assert!(
            value["count"].as_u64().is_some_and(|count| count < 100),
            "{value}"
        );
        let lost = write_lost("model.onnx", 6, &[one]).remove(0);
        assert_eq!(lost, text, "a new host for every order");
    }
    let asked = json!({
        "prompt": "x", "max_tokens": 9, "response_format": { "type": "grammar", "grammar": "start: \"yes\" | \"no\"" },
    });
    let text = write_with(model.as_mut(), 9, &[sequence(0, &asked)]).remove(0);
    assert!(["yes", "no"].contains(&text.text.as_str()), "{text:?}");
    let asked = json!({ "prompt": "x", "response_format": { "type": "grammar", "grammar": "start: nowhere" } });
    let said = ask(model.as_mut(), 1, &[sequence(0, &asked)])
        .remove(0)
        .expect_err("the rule is missing");
    assert!(said.contains("response_format is refused"), "{said}");
}

#[test]
fn the_fault_of_one_is_not_that_of_the_others() {
    let mut model = writer("model.onnx");
    let long = "x".repeat(300);
    let bad = [
        (json!({ "prompt": "" }), "the prompt is empty"),
        (
            json!({ "prompt": long }),
            "the prompt has 300 tokens, and the model holds 192",
        ),
        (json!({ "input": "x" }), "gives no embedding"),
        (json!({ "prompt": "x", "wishes": 3 }), "key `wishes`"),
        (
            json!({ "messages": [{ "role": "ship", "content": "x" }] }),
            "no role ship",
        ),
    ];
    let mut sequences: Vec<Sequence> = (10..)
        .zip(&bad)
        .map(|(agent, (asked, _))| sequence(agent, asked))
        .collect();
    sequences.insert(2, greedy("the keeper", 4));
    sequences.push(greedy("the keeper", 4));
    let mut pieces = ask(model.as_mut(), 4, &sequences);
    let twice = pieces
        .pop()
        .expect("it is answered")
        .expect_err("it is there twice");
    assert!(twice.contains("twice"), "{twice}");
    let good = pieces.remove(2).expect("the good one");
    assert_eq!(
        good.tokens,
        write_with(model.as_mut(), 4, &[greedy("the keeper", 4)])[0].tokens
    );
    for (said, (_, expected)) in pieces.into_iter().zip(&bad) {
        let said = said.expect_err(expected);
        assert!(said.contains(expected), "{said}");
    }
    let onwards = Sequence {
        tokens: good.tokens.clone(),
        ..greedy("the keeper", 9)
    };
    let twice = ask(
        model.as_mut(),
        4,
        &[greedy("the keeper", 9), greedy("the keeper", 9)],
    );
    assert!(twice[0].is_ok() && twice[1].is_err(), "{twice:?}");
    let after = ask(model.as_mut(), 4, std::slice::from_ref(&onwards)).remove(0);
    assert_eq!(
        after,
        ask(writer("model.onnx").as_mut(), 4, &[onwards]).remove(0)
    );
    let impossible = Sequence {
        tokens: vec![7_000_000],
        ..greedy("the keeper", 4)
    };
    assert!(ask(model.as_mut(), 1, &[impossible])[0].is_err());
}

#[test]
fn a_text_ends_where_the_context_does() {
    let bytes = packed("model.onnx", &[]);
    let mut model = loaded(
        &bytes,
        &Generator {
            context: Some(30),
            ..GENERATOR
        },
    )
    .expect("it loads")
    .prepared
    .model;
    let text = write_with(model.as_mut(), 9, &[greedy("the keeper", 100)]).remove(0);
    assert_eq!((text.tokens.len(), text.finish), (25, Some(Finish::Length)));
}

#[test]
fn a_trained_model_with_a_prompt_of_several_pieces_writes_the_same_after_each_loss() {
    let bytes = talk();
    let load_new = || loaded(&bytes, &GENERATOR).expect("it loads");
    let Loaded {
        mut prepared,
        batching,
    } = load_new();
    assert_eq!(batching, Batching::Joined);
    let long = "The keeper looks at the sea and the ship comes in. ".repeat(40);
    let chat =
        |text: &str| json!({ "messages": [{ "role": "user", "content": text }], "max_tokens": 24 });
    let sequences = [
        sequence(0, &chat(&long)),
        sequence(1, &chat("Hello, who are you?")),
        sequence(2, &chat("Hello.")),
    ];
    let whole = write_with(prepared.model.as_mut(), 8, &sequences);
    let pieces = ask(prepared.model.as_mut(), 1, &sequences);
    assert!(
        pieces[0]
            .as_ref()
            .is_ok_and(|piece| piece.prompt_tokens > 256),
        "{pieces:?}"
    );
    let lost = write(
        &mut |asked| ask(load_new().prepared.model.as_mut(), 8, asked),
        &sequences,
    );
    assert_eq!(lost, whole);
    for (one, whole) in sequences.iter().zip(&whole) {
        assert_eq!(
            write_with(prepared.model.as_mut(), 5, std::slice::from_ref(one))[0],
            *whole
        );
        assert!(whole.text.split_whitespace().count() > 3, "{whole:?}");
    }
}

#[test]
fn an_order_that_is_none_is_an_error_of_the_run() {
    let mut model = writer("model.onnx");
    let shape = Shape::new(&[3]).expect("one dimension");
    let view = TensorView::of_slice(DType::U8, shape, &[255; 3]).expect("bytes");
    let said = model.run(&[view], &mut []).expect_err("no order");
    assert!(said.0.contains("cannot be read"), "{said}");
}

#[test]
fn a_folder_that_is_no_language_model_says_what_is_missing() {
    let plain = model_file("testdata/mlp.onnx");
    for (graph, changes, expected) in [
        (
            "model.onnx",
            vec![("tokenizer.json", None)],
            "has no tokenizer.json",
        ),
        (
            "model.onnx",
            vec![("config.json", None)],
            "max_position_embeddings",
        ),
        (
            "model.onnx",
            vec![("config.json", Some(&b"{"[..]))],
            "config.json is not JSON",
        ),
        (
            "model.onnx",
            vec![("config.json", Some(&b"{\"vocab_size\": 200}"[..]))],
            "tokens up to 299, and the model has 200 words",
        ),
        (
            "model.onnx",
            vec![("chat_template.jinja", Some(&b"{% for %}"[..]))],
            "chat_template.jinja is broken: line 1",
        ),
        (
            "model.onnx",
            vec![("model.onnx", Some(plain.as_slice()))],
            "neither past_key_values",
        ),
        ("external.onnx", vec![], "weights.bin"),
        ("genai.onnx", vec![], "takes no past_key_values"),
    ] {
        let said = loaded(&packed(graph, &changes), &GENERATOR)
            .err()
            .expect(expected);
        assert!(
            said.contains("model `writer`") && said.contains(expected),
            "{expected}: {said}"
        );
    }
}

#[test]
fn an_encoder_gives_an_embedding_for_each_text() {
    let bytes = packed("encoder.onnx", &[]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").prepared.model;
    let embed = |text: &str| sequence(0, &json!({ "input": text }));
    let other = Sequence {
        agent: AgentId(1),
        ..embed("the lamp")
    };
    let both = ask(model.as_mut(), 1, &[embed("the keeper"), other]);
    let alone = ask(model.as_mut(), 1, &[embed("the keeper")]);
    assert_eq!(both[0], alone[0]);
    let piece = alone[0].as_ref().expect("an embedding");
    assert_eq!(
        (piece.embedding.len(), piece.finish),
        (16, Some(Finish::EndOfText))
    );
    assert_ne!(both[0], both[1]);
    let modules = br#"[{"type": "sentence_transformers.models.Normalize"}]"#;
    let bytes = packed("encoder.onnx", &[("modules.json", Some(modules))]);
    let mut model = loaded(&bytes, &GENERATOR).expect("it loads").prepared.model;
    let piece = ask(model.as_mut(), 1, &[embed("the keeper")])
        .remove(0)
        .expect("an embedding");
    let length: f32 = piece.embedding.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let said = ask(model.as_mut(), 1, &[greedy("x", 1)])
        .remove(0)
        .expect_err("it writes nothing");
    assert!(said.contains("makes embeddings"), "{said}");
}

#[test]
fn weights_beside_a_plain_model_are_found() {
    let file = |name: &str, from: &str| {
        (
            name.to_owned(),
            model_file(&format!("testdata/writer/{from}")),
        )
    };
    let packed = pack(&[
        file("a/external.onnx", "external.onnx"),
        file("a/weights.bin", "weights.bin"),
    ]);
    let opened = shm_protocol::pack::Pack::open(&packed).expect("a pack");
    let beside = beside(&opened, "a/external.onnx");
    let wanted = Wanted {
        name: "w",
        providers: &[],
        strict_providers: false,
        beside: &beside,
        ports: limit::TENSORS,
    };
    assert!(engine().load(opened.main(), &wanted).is_ok());
    let bare = Wanted {
        beside: &[],
        ..wanted
    };
    assert!(engine().load(opened.main(), &bare).is_err());
}
