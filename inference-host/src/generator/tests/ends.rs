//! How texts end, and the form that they have.

use super::*;

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
