//! The request of an agent to a language model, in JSON.
//!
//! Unknown keys are refused by name: a misspelled one would otherwise be ignored silently.

use super::super::model_config::SamplingParams;
use super::chat_template::ChatMessage;
use super::json_field::{invalid_value, non_null};
use super::response_format::ResponseFormat;
use serde_json::{Map, Value};

/// Tokens to generate, unless a request says otherwise.
pub(crate) const DEFAULT_MAX_TOKENS: usize = 64;

/// Most stop strings, and bytes of each: the text that is held back is searched at every token.
const MAX_STOP_STRINGS: (usize, usize) = (16, 256);

/// Keys of a request. The last two are for the supervisor.
const KEYS: [&str; 14] = [
    "prompt",
    "messages",
    "input",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "stop",
    "seed",
    "response_format",
    "deadline_ticks",
    "cancel",
];

/// A checked request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GenerationRequest {
    pub(crate) task: GenerationTask,
    pub(crate) max_tokens: usize,
    pub(crate) sampling: SamplingParams,
    pub(crate) stop_strings: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) response_format: Option<ResponseFormat>,
}

/// The input of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GenerationTask {
    /// Text to continue.
    Prompt(String),
    /// A chat to answer.
    Messages(Vec<ChatMessage>),
    /// Text to embed.
    Embed(String),
}

impl GenerationRequest {
    /// Reads a request; `defaults` are the sampling parameters of the model.
    ///
    /// # Errors
    /// Names the key, its value and the expected value.
    pub(crate) fn read(
        json: &[u8],
        defaults: &SamplingParams,
    ) -> Result<GenerationRequest, String> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|error| format!("the request is not JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err("the request is not a JSON object, as in {\"prompt\": \"...\"}".to_owned());
        };
        if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "the request has an unknown key `{key}`; use {}",
                KEYS.join(", ")
            ));
        }
        let fields = RequestFields(&object);
        let to_usize = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let sampling = SamplingParams {
            temperature: fields.real("temperature", defaults.temperature, "0 to 100", |n| {
                (0.0..=100.0).contains(&n)
            })?,
            top_k: fields
                .integer("top_k", 1 << 20)?
                .map_or(defaults.top_k, to_usize),
            top_p: fields.real("top_p", defaults.top_p, "above 0, at most 1", |n| {
                n > 0.0 && n <= 1.0
            })?,
            min_p: fields.real("min_p", defaults.min_p, "0 to 1", |n| {
                (0.0..=1.0).contains(&n)
            })?,
            repetition_penalty: fields.real(
                "repetition_penalty",
                defaults.repetition_penalty,
                "above 0, at most 100",
                |n| n > 0.0 && n <= 100.0,
            )?,
        };
        let max_tokens = fields.integer(
            "max_tokens",
            u64::from(shm_protocol::generation::MAX_TOKENS),
        )?;
        if max_tokens == Some(0) {
            return Err(
                "the request has 0 as max_tokens; expected is a whole number from 1".to_owned(),
            );
        }
        Ok(GenerationRequest {
            task: fields.task()?,
            max_tokens: max_tokens.map_or(DEFAULT_MAX_TOKENS, to_usize),
            sampling,
            stop_strings: fields.stop_strings()?,
            seed: fields.integer("seed", u64::MAX)?.unwrap_or(0),
            response_format: ResponseFormat::read(&object)?,
        })
    }
}

/// The members of the JSON object.
struct RequestFields<'a>(&'a Map<String, Value>);

impl RequestFields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        non_null(self.0, key)
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(invalid_value(key, other, "text")),
        }
    }

    fn integer(&self, key: &str, max: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|number| *number <= max);
        number
            .map(Some)
            .ok_or_else(|| invalid_value(key, value, &format!("a whole number from 0 to {max}")))
    }

    fn real(
        &self,
        key: &str,
        defaults: f32,
        range: &str,
        is_valid: fn(f64) -> bool,
    ) -> Result<f32, String> {
        let Some(value) = self.get(key) else {
            return Ok(defaults);
        };
        #[allow(clippy::cast_possible_truncation, reason = "settings of a few digits")]
        let single = |number: f64| number as f32;
        // What is above zero may be zero once it is rounded, and a penalty of zero divides by it.
        let number = value
            .as_f64()
            .filter(|number| is_valid(*number))
            .map(single);
        number
            .filter(|number| is_valid(f64::from(*number)))
            .ok_or_else(|| invalid_value(key, value, &format!("a number, {range}")))
    }

    fn task(&self) -> Result<GenerationTask, String> {
        let (prompt, input) = (self.text("prompt")?, self.text("input")?);
        match (prompt, self.get("messages"), input) {
            (Some(prompt), None, None) => Ok(GenerationTask::Prompt(prompt)),
            (None, Some(messages), None) => read_messages(messages).map(GenerationTask::Messages),
            (None, None, Some(input)) => Ok(GenerationTask::Embed(input)),
            (None, None, None) => Err(
                "the request has none of prompt, messages and input; set one of them".to_owned(),
            ),
            _ => Err(
                "the request has more than one of prompt, messages and input; set one of them"
                    .to_owned(),
            ),
        }
    }

    fn stop_strings(&self) -> Result<Vec<String>, String> {
        let expected = format!(
            "text or a list of at most {} texts of 1 to {} bytes",
            MAX_STOP_STRINGS.0, MAX_STOP_STRINGS.1
        );
        let stops = match self.get("stop") {
            None => Vec::new(),
            Some(Value::String(stop)) => vec![stop.clone()],
            Some(value) => {
                let list = value
                    .as_array()
                    .map(|list| list.iter().map(|stop| Some(stop.as_str()?.to_owned())));
                let list = list.and_then(|list| list.collect::<Option<Vec<String>>>());
                list.ok_or_else(|| invalid_value("stop", value, &expected))?
            }
        };
        let is_valid = stops.len() <= MAX_STOP_STRINGS.0
            && stops
                .iter()
                .all(|stop| (1..=MAX_STOP_STRINGS.1).contains(&stop.len()));
        match self.get("stop") {
            Some(value) if !is_valid => Err(invalid_value("stop", value, &expected)),
            _ => Ok(stops),
        }
    }
}

fn read_messages(value: &Value) -> Result<Vec<ChatMessage>, String> {
    let expected = "a list of objects with role and content, both text";
    let message = |value: &Value| {
        let object = value.as_object().filter(|object| object.len() == 2)?;
        Some(ChatMessage {
            role: object.get("role")?.as_str()?.to_owned(),
            content: object.get("content")?.as_str()?.to_owned(),
        })
    };
    let list = value.as_array().filter(|list| !list.is_empty());
    let messages = list.and_then(|list| list.iter().map(message).collect());
    messages.ok_or_else(|| invalid_value("messages", value, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: SamplingParams = SamplingParams {
        temperature: 0.5,
        top_k: 7,
        top_p: 0.9,
        min_p: 0.0,
        repetition_penalty: 1.1,
    };

    fn read(text: &str) -> Result<GenerationRequest, String> {
        GenerationRequest::read(text.as_bytes(), &USUAL)
    }

    #[test]
    fn omitted_keys_have_the_defaults_of_the_model() {
        let request = read(r#"{"prompt": "Hello", "temperature": null, "deadline_ticks": 9}"#)
            .expect("a request");
        assert_eq!(request.task, GenerationTask::Prompt("Hello".to_owned()));
        assert_eq!(
            (request.sampling, request.max_tokens, request.seed),
            (USUAL, DEFAULT_MAX_TOKENS, 0)
        );
        let request = read(
            r#"{"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "top_k": 3, "stop": ["a", "b"],
                "max_tokens": 5, "seed": 18446744073709551615}"#,
        );
        let request = request.expect("a request");
        assert_eq!(
            (request.sampling.top_k, request.max_tokens, request.seed),
            (3, 5, u64::MAX)
        );
        assert_eq!(request.stop_strings, ["a", "b"]);
    }

    #[test]
    fn every_invalid_value_is_named() {
        for (text, expected) in [
            ("prompt", "not JSON"),
            ("[]", "not a JSON object"),
            (r#"{"promt": "x"}"#, "key `promt`"),
            ("{}", "none of prompt, messages and input"),
            (r#"{"prompt": "x", "input": "y"}"#, "more than one of"),
            (r#"{"prompt": 3}"#, "3 as prompt"),
            (r#"{"messages": []}"#, "[] as messages"),
            (
                r#"{"messages": [{"role": "user"}]}"#,
                "as messages; expected is a list",
            ),
            (r#"{"prompt": "x", "temperature": -1}"#, "-1 as temperature"),
            (r#"{"prompt": "x", "top_p": 0}"#, "0 as top_p"),
            (
                r#"{"prompt": "x", "repetition_penalty": 1e-60}"#,
                "1e-60 as repetition_penalty",
            ),
            (r#"{"prompt": "x", "top_k": 1.5}"#, "1.5 as top_k"),
            (r#"{"prompt": "x", "max_tokens": 0}"#, "0 as max_tokens"),
            (
                r#"{"prompt": "x", "max_tokens": 99999999}"#,
                "99999999 as max_tokens",
            ),
            (r#"{"prompt": "x", "stop": [""]}"#, "as stop"),
            (r#"{"prompt": "x", "stop": 1}"#, "1 as stop"),
            (r#"{"prompt": "x", "seed": -4}"#, "-4 as seed"),
            (
                r#"{"prompt": "x", "response_format": {"type": "xml"}}"#,
                "as response_format",
            ),
            (
                r#"{"prompt": "x", "response_format": {"type": "json_schema"}}"#,
                "as response_format",
            ),
        ] {
            let said = read(text).expect_err(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
