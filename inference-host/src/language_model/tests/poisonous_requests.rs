//! A request that would end or block the host is refused by a count, and the other sequences of its decode request go
//! on as if it were not there.

use super::*;

/// A template that recurses endlessly if the first message says so.
const TEMPLATE: &str = "{% macro m(n) %}{{ m(n) }}{% endmacro %}\
    {% if messages[0].content == 'deep' %}{{ m(0) }}{% endif %}{{ messages[0].content }}";

fn with_template() -> Box<dyn Model> {
    let config = json!({ "chat_template": TEMPLATE }).to_string();
    let bytes = bundle_with(
        "model.onnx",
        &[("tokenizer_config.json", Some(config.as_bytes()))],
    );
    loaded(&bytes, &GENERATOR).expect("it loads").loaded.model
}

fn grammar(grammar: &str) -> serde_json::Value {
    json!({ "prompt": "x", "response_format": { "type": "grammar", "grammar": grammar } })
}

fn schema(schema: &serde_json::Value) -> serde_json::Value {
    json!({ "prompt": "x", "response_format": { "type": "json_schema", "json_schema": schema } })
}

/// Each class of poison with a part of its refusal.
fn poisons() -> Vec<(Vec<u8>, &'static str)> {
    let rules: String = (0..2_999)
        .map(|rule| format!("r{rule}: r{}\n", rule + 1))
        .collect();
    let chained = format!("start: r0\n{rules}r2999: \"x\"\n");
    let parentheses = format!("start: {}\"x\"{}", "(".repeat(5_000), ")".repeat(5_000));
    let groups = format!("start: /{}x{}/", "(".repeat(5_000), ")".repeat(5_000));
    let states = "start: A\nA: ~/([a-z]*a[a-z]{20}|[a-z]*b[a-z]{21}|c[a-z]*)/ & /[a-z]*/";
    let sides: Vec<String> = (3..43)
        .map(|times| format!("/.*[a-c]{{{times}}}.*/"))
        .collect();
    let sides = format!("start: A\nA: {}", sides.join(" & "));
    let patterns = (3..43).map(|times| json!({ "pattern": format!("[a-c]{{{times}}}") }));
    let patterns = json!({ "type": "string", "allOf": patterns.collect::<Vec<_>>() });
    let deep = format!(
        r#"{{"prompt": "x", "response_format": {{"type": "json_schema", "json_schema": {}{{}}{}}}}}"#,
        r#"{"items": "#.repeat(200),
        "}".repeat(200)
    );
    let messages = json!({ "messages": [{ "role": "user", "content": "deep" }] });
    let word = |bytes: usize| json!({ "prompt": "a".repeat(bytes) });
    let asked = |asked: &serde_json::Value| asked.to_string().into_bytes();
    vec![
        (asked(&grammar(&chained)), "the limit is 32768"),
        (asked(&grammar(&parentheses)), "too deeply nested"),
        (asked(&grammar(&groups)), "invalid regex"),
        (asked(&grammar(states)), "1000000 units of work"),
        (asked(&grammar(&sides)), "pairs in a step"),
        (asked(&schema(&patterns)), "pairs to intersect"),
        (deep.into_bytes(), "recursion limit exceeded"),
        (asked(&messages), "recursion limit exceeded"),
        (asked(&word(60_000)), "the prompt has 60000 tokens"),
        (asked(&word((1 << 20) + 1)), "the limit is 1048576"),
    ]
}

#[test]
fn a_sequence_beside_a_poisonous_request_gets_the_same_bytes() {
    let asked = json!({
        "messages": [{ "role": "user", "content": "the keeper" }], "temperature": 1.0, "max_tokens": 40,
        "response_format": { "type": "grammar", "grammar": "start: /[a-z ]{30,60}/" },
    });
    let good = sequence(7, &asked);
    let decode_requests = |model: &mut dyn Model, others: &[Sequence], before: bool| {
        let mut good = good.clone();
        let mut messages = Vec::new();
        for _ in 0..3 {
            let mut sequences = others.to_vec();
            let place = if before { sequences.len() } else { 0 };
            sequences.insert(place, good.clone());
            let mut deltas = ask(model, 4, &sequences);
            let delta = deltas.remove(place).expect("a delta");
            good.tokens.extend(&delta.tokens);
            messages.push((delta, deltas));
        }
        messages
    };
    let alone = decode_requests(with_template().as_mut(), &[], false);
    let tokens: usize = alone.iter().map(|(delta, _)| delta.tokens.len()).sum();
    assert_eq!(tokens, 12);
    let mut model = with_template();
    for (asked, expected) in poisons() {
        let poison = Sequence {
            asked,
            ..sequence(3, &json!({}))
        };
        for before in [true, false] {
            let others = decode_requests(model.as_mut(), std::slice::from_ref(&poison), before);
            for ((delta, others), (wanted, _)) in others.into_iter().zip(&alone) {
                assert_eq!(&delta, wanted, "beside {expected}");
                let messages = others.into_iter().next().expect("it is answered");
                let messages = messages.expect_err(expected);
                assert!(messages.contains(expected), "{messages}");
            }
        }
    }
}
