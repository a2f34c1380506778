//! The `response_format` of a request: the form that the generated text must have.

use super::json_field::{invalid_value, non_null};
use serde_json::{Map, Value, json};

/// The form that the generated text must have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ResponseFormat {
    /// JSON that is valid under this schema.
    JsonSchema(Value),
    /// A text of this grammar, in the Lark syntax.
    Grammar(String),
}

impl ResponseFormat {
    /// Reads `response_format` of a request; `None` if the text is free.
    ///
    /// # Errors
    /// Names the value and the expected one.
    pub(super) fn read(request: &Map<String, Value>) -> Result<Option<ResponseFormat>, String> {
        let Some(value) = non_null(request, "response_format") else {
            return Ok(None);
        };
        let invalid = || {
            let expected = "an object with type text, json_object, json_schema (with json_schema) or grammar (with \
                            grammar)";
            invalid_value("response_format", value, expected)
        };
        let format = match value.get("type").and_then(Value::as_str) {
            Some("text") => return Ok(None),
            Some("json_object") => ResponseFormat::JsonSchema(json!({ "type": "object" })),
            Some("json_schema") => {
                let schema = value.get("json_schema");
                let schema = schema
                    .filter(|schema| schema.is_object())
                    .ok_or_else(invalid)?;
                // Some clients wrap the schema in an object with a name.
                ResponseFormat::JsonSchema(schema.get("schema").unwrap_or(schema).clone())
            }
            Some("grammar") => {
                let grammar = value.get("grammar").and_then(Value::as_str);
                ResponseFormat::Grammar(grammar.ok_or_else(invalid)?.to_owned())
            }
            _ => return Err(invalid()),
        };
        Ok(Some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_may_be_wrapped() {
        let read = |schema: Value| {
            let request =
                json!({ "response_format": { "type": "json_schema", "json_schema": schema } });
            ResponseFormat::read(request.as_object().expect("an object"))
        };
        let schema = json!({ "type": "null" });
        let expected = Ok(Some(ResponseFormat::JsonSchema(schema.clone())));
        assert_eq!(read(schema.clone()), expected);
        assert_eq!(read(json!({ "name": "n", "schema": schema })), expected);
    }
}
