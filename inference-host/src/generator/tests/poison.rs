//! A request that would end the host, or hold it for ever, is refused by a
//! count, and the others of its order go on as if it were not there.

use super::*;

/// A template that calls itself for ever if the first message says so.
const TEMPLATE: &str = "{% macro m(n) %}{{ m(n) }}{% endmacro %}\
    {% if messages[0].content == 'deep' %}{{ m(0) }}{% endif %}{{ messages[0].content }}";

fn with_template() -> Box<dyn Model> {
    let config = json!({ "chat_template": TEMPLATE }).to_string();
    let bytes = packed(
        "model.onnx",
        &[("tokenizer_config.json", Some(config.as_bytes()))],
    );
    loaded(&bytes, &GENERATOR).expect("it loads").prepared.model
}

fn grammar(grammar: &str) -> serde_json::Value {
    json!({ "prompt": "x", "response_format": { "type": "grammar", "grammar": grammar } })
}

fn schema(schema: &serde_json::Value) -> serde_json::Value {
    json!({ "prompt": "x", "response_format": { "type": "json_schema", "json_schema": schema } })
}

/// Each class of poison with what is said of it.
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
        (asked(&grammar(&chained)), "at most 32768 are taken"),
        (asked(&grammar(&parentheses)), "too deeply nested"),
        (asked(&grammar(&groups)), "invalid regex"),
        (asked(&grammar(states)), "1000000 units of work"),
        (asked(&grammar(&sides)), "pairs in a step"),
        (asked(&schema(&patterns)), "pairs to intersect"),
        (deep.into_bytes(), "recursion limit exceeded"),
        (asked(&messages), "recursion limit exceeded"),
        (asked(&word(60_000)), "the prompt has 60000 tokens"),
        (
            asked(&word((1 << 20) + 1)),
            "at most 1048576 are made tokens",
        ),
    ]
}

#[test]
fn who_asks_beside_a_poisoned_request_gets_the_same_bytes() {
    let asked = json!({
        "messages": [{ "role": "user", "content": "the keeper" }], "temperature": 1.0, "max_tokens": 40,
        "response_format": { "type": "grammar", "grammar": "start: /[a-z ]{30,60}/" },
    });
    let good = sequence(7, &asked);
    let orders = |model: &mut dyn Model, beside: &[Sequence], before: bool| {
        let mut good = good.clone();
        let mut said = Vec::new();
        for _ in 0..3 {
            let mut sequences = beside.to_vec();
            let place = if before { sequences.len() } else { 0 };
            sequences.insert(place, good.clone());
            let mut pieces = ask(model, 4, &sequences);
            let piece = pieces.remove(place).expect("a piece");
            good.tokens.extend(&piece.tokens);
            said.push((piece, pieces));
        }
        said
    };
    let alone = orders(with_template().as_mut(), &[], false);
    let tokens: usize = alone.iter().map(|(piece, _)| piece.tokens.len()).sum();
    assert_eq!(tokens, 12);
    let mut model = with_template();
    for (asked, expected) in poisons() {
        let poison = Sequence {
            asked,
            ..sequence(3, &json!({}))
        };
        for before in [true, false] {
            let beside = orders(model.as_mut(), std::slice::from_ref(&poison), before);
            for ((piece, others), (wanted, _)) in beside.into_iter().zip(&alone) {
                assert_eq!(&piece, wanted, "beside {expected}");
                let said = others.into_iter().next().expect("it is answered");
                let said = said.expect_err(expected);
                assert!(said.contains(expected), "{said}");
            }
        }
    }
}
