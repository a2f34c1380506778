//! The bounds on a form that is asked for, all of them counts, so that a request
//! gets the same answer on every machine and under any load.
//!
//! `llguidance` counts its own work as fuel, but not all of it, and it calls
//! itself once for each rule, reference or property. So its input is bounded
//! ([`FORM_BYTES`] and the rest of this file), its stack is sized for the
//! largest input ([`worker`](super::worker)), and intersections of regular
//! expressions, of which one step may never end, are bounded apart
//! ([`joins`](super::joins), [`intersections`](super::intersections)).

use super::joins;
use super::request::Form;
use llguidance::api::ParserLimits;
use serde_json::{Deserializer, Value};

/// Most bytes of a grammar, or of a schema as compact JSON. The time before the first look at any fuel grows with the
/// square of a regular expression or of a list of properties: with this many, it is two or three seconds.
pub(super) const FORM_BYTES: usize = 32 << 10;

/// Most parentheses on a line of a grammar with `%if`: conditions are evaluated by calls, at every token, on the
/// thread that serves.
const CONDITION_PARENTHESES: usize = 64;

/// Most states of the lexer of one text: each takes up to 2 KiB.
const LEXER_STATES: usize = 50_000;

/// The fuel of `llguidance`. All is counted: about 20 nanoseconds for each unit of fuel.
pub(super) fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: LEXER_STATES,
        max_grammar_size: 500_000,
        precompute_large_lexemes: true,
        // An error names the form, and not all that was written before.
        verbose_errors: false,
    }
}

/// Refuses a form that is too large. May call itself as deep as the form is.
///
/// # Errors
/// Names what is too large, its size, the limit, and what to do.
pub(super) fn check(form: &Form) -> Result<(), String> {
    let (name, bytes) = match form {
        Form::Schema(schema) => ("schema", schema.to_string().len()),
        Form::Grammar(grammar) => ("grammar", grammar.len()),
    };
    if bytes > FORM_BYTES {
        return Err(format!(
            "the {name} has {bytes} bytes, and at most {FORM_BYTES} are taken; shorten it, or divide the task into several \
             requests"
        ));
    }
    match form {
        Form::Schema(schema) => {
            joins::check(schema).map_err(|error| format!("the schema: {error}"))
        }
        Form::Grammar(grammar) => check_grammar(grammar),
    }
}

fn check_grammar(grammar: &str) -> Result<(), String> {
    for (line, text) in (1_usize..).zip(grammar.lines()) {
        let parentheses = text.matches('(').count();
        if text.contains("%if") && parentheses > CONDITION_PARENTHESES {
            return Err(format!(
                "the grammar has {parentheses} parentheses in line {line}, which has a condition (%if), and at most \
                 {CONDITION_PARENTHESES} are taken there; divide the condition among several rules"
            ));
        }
    }
    // Each is read as `llguidance` does it. What is no JSON, as in a comment, is no schema to it either.
    for (position, word) in grammar.match_indices("%json") {
        let rest = &grammar[position + word.len()..];
        if let Some(Ok(schema)) = Deserializer::from_str(rest).into_iter::<Value>().next() {
            joins::check(&schema)
                .map_err(|error| format!("the grammar, a schema in it: {error}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(grammar: &str) -> Result<(), String> {
        check(&Form::Grammar(grammar.to_owned()))
    }

    #[test]
    fn a_form_of_the_most_bytes_is_taken_and_one_more_is_refused() {
        let grammar = |bytes: usize| format!("start: \"{}\"", "x".repeat(bytes - 9));
        assert_eq!(said(&grammar(FORM_BYTES)), Ok(()));
        let refused = said(&grammar(FORM_BYTES + 1)).expect_err("one byte too many");
        assert_eq!(
            refused,
            "the grammar has 32769 bytes, and at most 32768 are taken; shorten it, or divide the task into several requests"
        );
        let schema =
            |bytes: usize| Form::Schema(serde_json::json!({ "title": "x".repeat(bytes - 12) }));
        assert_eq!(check(&schema(FORM_BYTES)), Ok(()));
        let refused = check(&schema(FORM_BYTES + 1)).expect_err("one byte too many");
        assert!(refused.contains("schema has 32769 bytes"), "{refused}");
    }

    #[test]
    fn a_deep_condition_is_refused_with_its_line() {
        let grammar = |depth: usize| {
            let (open, shut) = ("not(".repeat(depth), ")".repeat(depth));
            format!("start: a::0\na::_: \"x\" a::set_bit(0) | \"y\" %if {open}bit_set(0){shut}\n")
        };
        assert_eq!(said(&grammar(62)), Ok(()));
        let refused = said(&grammar(63)).expect_err("65 parentheses");
        assert!(refused.contains("65 parentheses in line 2"), "{refused}");
    }

    #[test]
    fn a_schema_within_a_grammar_is_bounded_as_one_alone() {
        let pattern = r#"{"pattern": "[a-c][d-f][g-i]"}"#;
        let all = [pattern; 8].join(",");
        let refused = said(&format!(
            "start: %json {{\"type\": \"string\", \"allOf\": [{all}]}}\n"
        ));
        assert!(
            refused
                .expect_err("eight at once")
                .contains("a schema in it")
        );
    }
}
