//! Limits on a `response_format`, all of them counts, so that a request gets the same answer on every machine and under
//! any load.
//!
//! `llguidance` counts its own work as fuel, but not all of it, and it recurses once for each rule, reference or
//! property. So its input is limited ([`MAX_FORMAT_BYTES`] and the rest of this file), its stack is sized for the
//! largest input ([`large_stack`](super::large_stack)), and intersections of regular expressions, of which one step may
//! never end, have limits of their own ([`schema_patterns`](super::schema_patterns),
//! [`regex_intersections`](super::regex_intersections)).

use super::format_error::FormatError;
use super::large_stack::STACK_BYTES;
use super::response_format::ResponseFormat;
use super::schema_patterns;
use llguidance::api::ParserLimits;
use serde_json::{Deserializer, Value};

/// Most bytes of a grammar, or of a schema as compact JSON. The time before the first look at any fuel grows with the
/// square of a regular expression or of a list of properties: with this many, it is two or three seconds.
pub(super) const MAX_FORMAT_BYTES: usize = 32 << 10;

/// The deepest formats within the limit use 24 MiB of stack: a rule that leads to the next one takes 3.3 KiB, one
/// through thirteen parentheses 26 KiB, a `$ref` up to 10 KiB.
const _: () = assert!(STACK_BYTES > MAX_FORMAT_BYTES * 8 * 1024);

/// Most parentheses on a line of a grammar with `%if`: conditions are evaluated by recursion, at every token, on the
/// thread that serves requests.
const MAX_CONDITION_PARENTHESES: usize = 64;

/// Most states of the lexer of one sequence: each takes up to 2 KiB.
const MAX_LEXER_STATES: usize = 50_000;

/// The fuel of `llguidance`: about 20 nanoseconds for each unit.
pub(super) fn parser_limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: MAX_LEXER_STATES,
        max_grammar_size: 500_000,
        precompute_large_lexemes: true,
        // An error names the format, and not the whole text before it.
        verbose_errors: false,
    }
}

/// Refuses a format that is too large. May recurse as deep as the format is nested.
///
/// # Errors
/// Names what is too large, its size, the limit, and what to do.
pub(super) fn check(format: &ResponseFormat) -> Result<(), FormatError> {
    let (name, bytes) = match format {
        ResponseFormat::JsonSchema(schema) => ("schema", schema.to_string().len()),
        ResponseFormat::Grammar(grammar) => ("grammar", grammar.len()),
    };
    if bytes > MAX_FORMAT_BYTES {
        return Err(FormatError::TooLarge(format!(
            "the {name} has {bytes} bytes, and the limit is {MAX_FORMAT_BYTES}; shorten it, or divide the task into \
             several requests"
        )));
    }
    match format {
        ResponseFormat::JsonSchema(schema) => schema_patterns::check(schema)
            .map_err(|error| FormatError::TooComplex(format!("the schema: {error}"))),
        ResponseFormat::Grammar(grammar) => check_grammar(grammar),
    }
}

fn check_grammar(grammar: &str) -> Result<(), FormatError> {
    for (line, text) in (1_usize..).zip(grammar.lines()) {
        let parentheses = text.matches('(').count();
        if text.contains("%if") && parentheses > MAX_CONDITION_PARENTHESES {
            return Err(FormatError::TooComplex(format!(
                "the grammar has {parentheses} parentheses in line {line}, which has a condition (%if), and the limit \
                 there is {MAX_CONDITION_PARENTHESES}; divide the condition among several rules"
            )));
        }
    }
    // Each is read as `llguidance` does it. Text that is not JSON, as in a comment, is no schema to it either.
    for (position, word) in grammar.match_indices("%json") {
        let rest = &grammar[position + word.len()..];
        if let Some(Ok(schema)) = Deserializer::from_str(rest).into_iter::<Value>().next() {
            schema_patterns::check(&schema).map_err(|error| {
                FormatError::TooComplex(format!("a schema in the grammar: {error}"))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(grammar: &str) -> Result<(), String> {
        said_of(&ResponseFormat::Grammar(grammar.to_owned()))
    }

    fn said_of(format: &ResponseFormat) -> Result<(), String> {
        check(format).map_err(|error| error.to_string())
    }

    #[test]
    fn one_byte_over_the_limit_is_refused() {
        let grammar = |bytes: usize| format!("start: \"{}\"", "x".repeat(bytes - 9));
        assert_eq!(said(&grammar(MAX_FORMAT_BYTES)), Ok(()));
        let refused = said(&grammar(MAX_FORMAT_BYTES + 1)).expect_err("one byte too many");
        assert_eq!(
            refused,
            "format_too_large: the grammar has 32769 bytes, and the limit is 32768; shorten it, or divide the task \
             into several requests"
        );
        let schema = |bytes: usize| {
            ResponseFormat::JsonSchema(serde_json::json!({ "title": "x".repeat(bytes - 12) }))
        };
        assert_eq!(said_of(&schema(MAX_FORMAT_BYTES)), Ok(()));
        let refused = said_of(&schema(MAX_FORMAT_BYTES + 1)).expect_err("one byte too many");
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
    fn a_schema_in_a_grammar_has_the_limits_of_one_alone() {
        let pattern = r#"{"pattern": "[a-c][d-f][g-i]"}"#;
        let all = [pattern; 8].join(",");
        let refused = said(&format!(
            "start: %json {{\"type\": \"string\", \"allOf\": [{all}]}}\n"
        ));
        assert!(
            refused
                .expect_err("eight at once")
                .contains("a schema in the grammar")
        );
    }
}
