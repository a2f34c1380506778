//! Fields of JSON objects that agents write, and the message for one with an invalid value.

use serde_json::{Map, Value};

/// Characters of an invalid value that a message shows.
const SHOWN_CHARS: usize = 80;

/// The value of a key; `null` counts as absent.
pub(super) fn non_null<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// The message for a key with an invalid value, of which only the beginning is shown.
pub(super) fn invalid_value(key: &str, value: &Value, expected: &str) -> String {
    let shown: String = value.to_string().chars().take(SHOWN_CHARS).collect();
    format!("the request has {shown} as {key}; expected is {expected}")
}
