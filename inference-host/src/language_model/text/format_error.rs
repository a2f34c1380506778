//! Refusals of a `response_format`, each with a code that a program can test and a message for people.

use thiserror::Error;

/// Most characters of a message of the compiler: it may repeat the whole schema or grammar.
const MAX_DETAIL_CHARS: usize = 400;

/// Parts of the compiler's messages about numbers that do not fit its integers.
const NUMBER_OVERFLOWS: [&str; 2] = ["with overflow", "Failed to generate regex for"];

/// The reason why a `response_format` is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum FormatError {
    #[error("format_too_large: {0}")]
    TooLarge(String),
    #[error("format_too_complex: {0}")]
    TooComplex(String),
    #[error(
        "no_valid_text: no text satisfies it; look for a $ref that leads only back to itself, a rule that never ends, \
         or constraints that exclude each other"
    )]
    NoValidText,
    #[error(
        "number_out_of_range: a number in it, or a product of its multipleOf, does not fit in 64 bits; use smaller \
         numbers, or leave minimum, maximum or multipleOf out"
    )]
    NumberOutOfRange,
    #[error("invalid_format: {0}")]
    Invalid(String),
}

impl FormatError {
    /// The refusal for an error of `llguidance`, or for a panic of it.
    pub(super) fn from_compiler(error: &dyn std::fmt::Display) -> FormatError {
        let detail = brief(error);
        if detail.contains("NoExtensionBias") {
            FormatError::NoValidText
        } else if NUMBER_OVERFLOWS.iter().any(|part| detail.contains(part)) {
            FormatError::NumberOutOfRange
        } else {
            FormatError::Invalid(detail)
        }
    }
}

/// The first lines of an error, without the places in code that a panic names.
pub(super) fn brief(error: &dyn std::fmt::Display) -> String {
    let error = error.to_string();
    let message = error.split("<backtrace>").next().unwrap_or_default();
    let lines = message.lines().map(str::trim);
    let first: Vec<&str> = lines.filter(|line| !line.is_empty()).take(3).collect();
    first.join(" ").chars().take(MAX_DETAIL_CHARS).collect()
}
