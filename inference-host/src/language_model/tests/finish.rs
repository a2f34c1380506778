//! The end of a sequence, and its response format.

use super::*;

#[test]
fn a_stop_string_ends_the_text_and_is_not_part_of_it() {
    let mut model = decoder("model.onnx");
    let free = generate(model.as_mut(), 6, &[greedy("the keeper", 30)]).remove(0);
    let letters: Vec<char> = free
        .text
        .chars()
        .filter(|letter| *letter != '\u{fffd}')
        .collect();
    let stop: String = letters[4..7].iter().collect();
    let place = free.text.find(&stop).expect("it is in the text");
    let asked = json!({ "prompt": "the keeper", "temperature": 0, "max_tokens": 30, "stop": ["never", stop] });
    for steps in [1, 2, 30] {
        let stopped = generate(model.as_mut(), steps, &[sequence(0, &asked)]).remove(0);
        assert_eq!(
            (stopped.text.as_str(), stopped.finish),
            (&free.text[..place], Some(Finish::Stop)),
            "{steps}"
        );
    }
}

#[test]
fn the_text_follows_its_response_format() {
    let mut model = decoder("model.onnx");
    let schema = json!({
        "type": "object",
        "properties": {
            "colour": { "enum": ["red", "green"] },
            "count": { "type": "integer", "minimum": 0, "maximum": 99 },
        },
        "required": ["colour", "count"], "additionalProperties": false,
        "x-guidance": { "whitespace_flexible": false },
    });
    let asked = json!({
        "prompt": "the keeper", "temperature": 1.0, "max_tokens": 90,
        "response_format": { "type": "json_schema", "json_schema": schema },
    });
    for agent in 0..4 {
        let one = sequence(agent, &asked);
        let text = generate(model.as_mut(), 90, std::slice::from_ref(&one)).remove(0);
        assert_eq!(text.finish, Some(Finish::EndOfText), "{}", text.text);
        let value: serde_json::Value = serde_json::from_str(&text.text).expect(&text.text);
        assert!(
            value["count"].as_u64().is_some_and(|count| count < 100),
            "{value}"
        );
        let lost = generate_with_restarts("model.onnx", 6, &[one]).remove(0);
        assert_eq!(lost, text, "a new host for every decode request");
    }
    let asked = json!({
        "prompt": "x", "max_tokens": 9, "response_format": { "type": "grammar", "grammar": "start: \"yes\" | \"no\"" },
    });
    let text = generate(model.as_mut(), 9, &[sequence(0, &asked)]).remove(0);
    assert!(["yes", "no"].contains(&text.text.as_str()), "{text:?}");
    let asked = json!({ "prompt": "x", "response_format": { "type": "grammar", "grammar": "start: nowhere" } });
    let message = ask(model.as_mut(), 1, &[sequence(0, &asked)])
        .remove(0)
        .expect_err("the rule is missing");
    assert!(message.contains("response_format is refused"), "{message}");
}

#[test]
fn an_invalid_request_does_not_disturb_the_others() {
    let mut model = decoder("model.onnx");
    let long = "x".repeat(300);
    let bad = [
        (json!({ "prompt": "" }), "the prompt is empty"),
        (
            json!({ "prompt": long }),
            "the prompt has 300 tokens, and the context of the model has 192",
        ),
        (json!({ "input": "x" }), "no embeddings"),
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
    let mut deltas = ask(model.as_mut(), 4, &sequences);
    let twice = deltas
        .pop()
        .expect("it is answered")
        .expect_err("it is there twice");
    assert!(twice.contains("twice"), "{twice}");
    let good = deltas.remove(2).expect("the good one");
    assert_eq!(
        good.tokens,
        generate(model.as_mut(), 4, &[greedy("the keeper", 4)])[0].tokens
    );
    for (message, (_, expected)) in deltas.into_iter().zip(&bad) {
        let message = message.expect_err(expected);
        assert!(message.contains(expected), "{message}");
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
        ask(decoder("model.onnx").as_mut(), 4, &[onwards]).remove(0)
    );
    let impossible = Sequence {
        tokens: vec![7_000_000],
        ..greedy("the keeper", 4)
    };
    assert!(ask(model.as_mut(), 1, &[impossible])[0].is_err());
}

#[test]
fn a_sequence_ends_with_the_context_length() {
    let bytes = bundle_with("model.onnx", &[]);
    let mut model = loaded(
        &bytes,
        &Generator {
            context_length: Some(30),
            ..GENERATOR
        },
    )
    .expect("it loads")
    .loaded
    .model;
    let text = generate(model.as_mut(), 9, &[greedy("the keeper", 100)]).remove(0);
    assert_eq!((text.tokens.len(), text.finish), (25, Some(Finish::Length)));
}
