//! What an agent asks of a language model, in JSON. Keys that are not known are
//! refused by name: one that is misspelled would else change nothing, silently.

use super::super::settings::Sampling;
use super::template::Message;
use serde_json::{Map, Value};

/// Tokens of an answer, unless a request says otherwise.
pub(in crate::generator) const MAX_TOKENS: usize = 64;

/// Most stop strings, and bytes of each: what is held back is searched at every token.
const STOPS: (usize, usize) = (16, 256);

/// Keys that a request may have. The last two are for the supervisor.
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

/// A request, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::generator) struct Request {
    pub(in crate::generator) task: Task,
    pub(in crate::generator) max_tokens: usize,
    pub(in crate::generator) sampling: Sampling,
    pub(in crate::generator) stops: Vec<String>,
    pub(in crate::generator) seed: u64,
    pub(in crate::generator) form: Option<Form>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::generator) enum Task {
    /// Go on with a text.
    Prompt(String),
    /// Answer a chat.
    Messages(Vec<Message>),
    /// Give numbers for a text.
    Embed(String),
}

/// The form that an answer must have.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::generator) enum Form {
    /// JSON that a schema admits.
    Schema(Value),
    /// What a grammar in the manner of Lark admits.
    Grammar(String),
}

impl Request {
    /// Reads a request; `usual` is how the model likes to be sampled.
    ///
    /// # Errors
    /// Names the key, what it holds, and what belongs there.
    pub(in crate::generator) fn read(asked: &[u8], usual: &Sampling) -> Result<Request, String> {
        let value: Value = serde_json::from_slice(asked)
            .map_err(|error| format!("the request is not JSON: {error}"))?;
        let Value::Object(object) = value else {
            return Err("the request is not a JSON object, as in {\"prompt\": \"...\"}".to_owned());
        };
        if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "the request has a key `{key}`, which is unknown; known are {}",
                KEYS.join(", ")
            ));
        }
        let fields = Fields(&object);
        let whole = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let sampling = Sampling {
            temperature: fields.real("temperature", usual.temperature, "0 to 100", |n| {
                (0.0..=100.0).contains(&n)
            })?,
            top_k: fields.whole("top_k", 1 << 20)?.map_or(usual.top_k, whole),
            top_p: fields.real("top_p", usual.top_p, "above 0, at most 1", |n| {
                n > 0.0 && n <= 1.0
            })?,
            min_p: fields.real("min_p", usual.min_p, "0 to 1", |n| (0.0..=1.0).contains(&n))?,
            repetition_penalty: fields.real(
                "repetition_penalty",
                usual.repetition_penalty,
                "above 0, at most 100",
                |n| n > 0.0 && n <= 100.0,
            )?,
        };
        let max_tokens = fields.whole(
            "max_tokens",
            u64::from(shm_protocol::generation::MAX_TOKENS),
        )?;
        if max_tokens == Some(0) {
            return Err("the request has 0 as max_tokens; ask for at least 1".to_owned());
        }
        Ok(Request {
            task: fields.task()?,
            max_tokens: max_tokens.map_or(MAX_TOKENS, whole),
            sampling,
            stops: fields.stops()?,
            seed: fields.whole("seed", u64::MAX)?.unwrap_or(0),
            form: fields.form()?,
        })
    }
}

/// The members of a request.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// What a key holds; `null` is nothing.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(key, other, "text")),
        }
    }

    fn whole(&self, key: &str, most: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|number| *number <= most);
        number
            .map(Some)
            .ok_or_else(|| wrong(key, value, &format!("a whole number from 0 to {most}")))
    }

    fn real(
        &self,
        key: &str,
        usual: f32,
        range: &str,
        fits: fn(f64) -> bool,
    ) -> Result<f32, String> {
        let Some(value) = self.get(key) else {
            return Ok(usual);
        };
        let number = value.as_f64().filter(|number| fits(*number));
        #[allow(clippy::cast_possible_truncation, reason = "settings of a few digits")]
        number
            .map(|number| number as f32)
            .ok_or_else(|| wrong(key, value, &format!("a number, {range}")))
    }

    fn task(&self) -> Result<Task, String> {
        let (prompt, input) = (self.text("prompt")?, self.text("input")?);
        match (prompt, self.get("messages"), input) {
            (Some(prompt), None, None) => Ok(Task::Prompt(prompt)),
            (None, Some(messages), None) => read_messages(messages).map(Task::Messages),
            (None, None, Some(input)) => Ok(Task::Embed(input)),
            (None, None, None) => Err(
                "the request has none of prompt, messages and input; write one of them".to_owned(),
            ),
            _ => Err(
                "the request has more than one of prompt, messages and input; write one of them"
                    .to_owned(),
            ),
        }
    }

    fn stops(&self) -> Result<Vec<String>, String> {
        let belongs = format!(
            "text or a list of at most {} texts of 1 to {} bytes",
            STOPS.0, STOPS.1
        );
        let stops = match self.get("stop") {
            None => Vec::new(),
            Some(Value::String(stop)) => vec![stop.clone()],
            Some(value) => {
                let list = value
                    .as_array()
                    .map(|list| list.iter().map(|stop| Some(stop.as_str()?.to_owned())));
                let list = list.and_then(|list| list.collect::<Option<Vec<String>>>());
                list.ok_or_else(|| wrong("stop", value, &belongs))?
            }
        };
        let fits =
            stops.len() <= STOPS.0 && stops.iter().all(|stop| (1..=STOPS.1).contains(&stop.len()));
        match self.get("stop") {
            Some(value) if !fits => Err(wrong("stop", value, &belongs)),
            _ => Ok(stops),
        }
    }

    fn form(&self) -> Result<Option<Form>, String> {
        let Some(value) = self.get("response_format") else {
            return Ok(None);
        };
        let belongs = "an object with type text, json_object, json_schema (with json_schema) or grammar (with grammar)";
        let missing = || wrong("response_format", value, belongs);
        match value.get("type").and_then(Value::as_str) {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Form::Schema(serde_json::json!({ "type": "object" })))),
            Some("json_schema") => {
                let schema = value
                    .get("json_schema")
                    .filter(|schema| schema.is_object())
                    .ok_or_else(missing)?;
                // Some clients wrap the schema once more, with a name beside it.
                Ok(Some(Form::Schema(
                    schema.get("schema").unwrap_or(schema).clone(),
                )))
            }
            Some("grammar") => {
                let grammar = value
                    .get("grammar")
                    .and_then(Value::as_str)
                    .ok_or_else(missing)?;
                Ok(Some(Form::Grammar(grammar.to_owned())))
            }
            _ => Err(missing()),
        }
    }
}

fn read_messages(value: &Value) -> Result<Vec<Message>, String> {
    let belongs = "a list of objects with role and content, both text";
    let message = |value: &Value| {
        let object = value.as_object().filter(|object| object.len() == 2)?;
        Some(Message {
            role: object.get("role")?.as_str()?.to_owned(),
            content: object.get("content")?.as_str()?.to_owned(),
        })
    };
    let list = value.as_array().filter(|list| !list.is_empty());
    let messages = list.and_then(|list| list.iter().map(message).collect());
    messages.ok_or_else(|| wrong("messages", value, belongs))
}

/// Says what a key holds and what belongs there; only the beginning of what is long.
fn wrong(key: &str, value: &Value, belongs: &str) -> String {
    let shown: String = value.to_string().chars().take(80).collect();
    format!("the request has {shown} as {key}; there belongs {belongs}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Sampling = Sampling {
        temperature: 0.5,
        top_k: 7,
        top_p: 0.9,
        min_p: 0.0,
        repetition_penalty: 1.1,
    };

    fn read(text: &str) -> Result<Request, String> {
        Request::read(text.as_bytes(), &USUAL)
    }

    #[test]
    fn what_is_not_asked_for_is_as_usual() {
        let request = read(r#"{"prompt": "Hello", "temperature": null, "deadline_ticks": 9}"#)
            .expect("a request");
        assert_eq!(request.task, Task::Prompt("Hello".to_owned()));
        assert_eq!(
            (request.sampling, request.max_tokens, request.seed),
            (USUAL, MAX_TOKENS, 0)
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
        assert_eq!(request.stops, ["a", "b"]);
    }

    #[test]
    fn every_mistake_is_named() {
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
                "as messages; there belongs a list",
            ),
            (r#"{"prompt": "x", "temperature": -1}"#, "-1 as temperature"),
            (r#"{"prompt": "x", "top_p": 0}"#, "0 as top_p"),
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

    #[test]
    fn a_schema_may_be_wrapped() {
        let plain = read(
            r#"{"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"type": "null"}}}"#,
        );
        let wrapped = read(
            r#"{"prompt": "x", "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}}"#,
        );
        assert_eq!(plain, wrapped);
        assert_eq!(
            plain.expect("a request").form,
            Some(Form::Schema(serde_json::json!({ "type": "null" })))
        );
    }
}
