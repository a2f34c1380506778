//! Generations: requests to a language model, and the text that it generates.
//!
//! A request is JSON in the form of the common chat APIs. Its text comes in
//! deltas ([`Piece`]), one in each step of the agent, all of them results of
//! the one request, until [`Piece::is_last`].

use crate::bindings::lockstep::agent::types::{
    Dtype, InferenceResult, ModelId, NamedTensor, RequestId, Tensor,
};
use crate::{Refusal, host};
use std::fmt::Write;

/// A request. Keys that are not set have the defaults of the model's folder.
#[derive(Clone, Debug, Default)]
pub struct Request {
    json: String,
}

impl Request {
    /// A request to continue `prompt`.
    pub fn prompt(prompt: &str) -> Self {
        Self::default().with_text("prompt", prompt)
    }

    /// A request for the next message of a chat of (role, content); roles are `system`, `user` and `assistant`.
    pub fn chat<'a>(messages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let messages = messages.into_iter().map(|(role, content)| {
            format!(
                "{{\"role\":{},\"content\":{}}}",
                quoted(role),
                quoted(content)
            )
        });
        let messages: Vec<String> = messages.collect();
        Self::default().with_json("messages", &format!("[{}]", messages.join(",")))
    }

    /// A request to a text encoder for the embedding of `input`.
    pub fn embedding(input: &str) -> Self {
        Self::default().with_text("input", input)
    }

    /// Maximum number of tokens to generate.
    pub fn max_tokens(self, tokens: u32) -> Self {
        self.with_json("max_tokens", &tokens.to_string())
    }

    /// The sampling temperature; 0 always takes the most probable token.
    pub fn temperature(self, temperature: f32) -> Self {
        self.with_json("temperature", &temperature.to_string())
    }

    /// A stop string: generation ends before it.
    pub fn stop(self, stop: &str) -> Self {
        self.with_text("stop", stop)
    }

    /// Number of ticks after which the generation is ended.
    pub fn deadline_ticks(self, ticks: u64) -> Self {
        self.with_json("deadline_ticks", &ticks.to_string())
    }

    /// Sets any other key to a string.
    pub fn with_text(self, key: &str, text: &str) -> Self {
        self.with_json(key, &quoted(text))
    }

    /// Sets any other key to a value in JSON.
    pub fn with_json(mut self, key: &str, json: &str) -> Self {
        let comma = if self.json.is_empty() { "" } else { "," };
        write!(self.json, "{comma}{}:{json}", quoted(key)).expect("a text takes any text");
        self
    }

    /// The request as it is submitted.
    pub fn to_json(&self) -> String {
        format!("{{{}}}", self.json)
    }
}

/// Submits a request to a language model.
pub fn submit(model: ModelId, request: &Request) -> Result<RequestId, Refusal> {
    submit_json(model, request.to_json())
}

/// Cancels a generation. Its last delta has the state `cancelled`.
pub fn cancel(model: ModelId, request: RequestId) -> Result<RequestId, Refusal> {
    submit_json(model, format!("{{\"cancel\":{request}}}"))
}

fn submit_json(model: ModelId, json: String) -> Result<RequestId, Refusal> {
    let value = Tensor {
        dtype: Dtype::Uint8,
        shape: vec![json.len() as u64],
        data: json.into_bytes(),
    };
    let name = "request".to_string();
    host::submit(model, &[NamedTensor { name, value }])
}

/// A delta: the growth of a generation in one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// The new text.
    pub text: String,
    /// `writing`; `queued N`, with N earlier requests in the queue; or the reason of the end: `end`, `stop`, `length`,
    /// `cancelled` or `deadline`.
    pub state: String,
    /// The embedding of a text encoder; empty for text.
    pub embedding: Vec<f32>,
}

impl Piece {
    /// The delta in a result. An error ends the generation.
    pub fn of(result: &InferenceResult) -> Result<Self, String> {
        let outputs = result.outcome.as_ref().map_err(Clone::clone)?;
        let data = |name: &str| {
            let found = outputs.iter().find(|output| output.name == name);
            found.map_or(&[][..], |output| &output.value.data)
        };
        let words = |name| {
            data(name)
                .chunks_exact(4)
                .map(|word| word.try_into().unwrap_or_default())
        };
        Ok(Self {
            tokens: words("tokens").map(u32::from_le_bytes).collect(),
            text: String::from_utf8_lossy(data("text")).into_owned(),
            state: String::from_utf8_lossy(data("state")).into_owned(),
            embedding: words("embedding").map(f32::from_le_bytes).collect(),
        })
    }

    /// True for the last delta.
    pub fn is_last(&self) -> bool {
        self.state != "writing" && !self.state.starts_with("queued")
    }
}

/// A string in JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            letter if letter < ' ' => {
                write!(quoted, "\\u{:04x}", letter as u32).expect("a text takes any text");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_json() {
        let request = Request::chat([("user", "say \"hi\"\n\u{1}")])
            .max_tokens(5)
            .temperature(0.5)
            .stop("\\");
        assert_eq!(
            request.to_json(),
            r#"{"messages":[{"role":"user","content":"say \"hi\"\n\u0001"}],"max_tokens":5,"temperature":0.5,"stop":"\\"}"#
        );
        assert_eq!(Request::prompt("a").to_json(), r#"{"prompt":"a"}"#);
    }

    #[test]
    fn a_piece_is_read_from_its_outputs() {
        let output = |name: &str, dtype, data: &[u8]| NamedTensor {
            name: name.to_string(),
            value: Tensor {
                dtype,
                shape: vec![],
                data: data.to_vec(),
            },
        };
        let result = InferenceResult {
            request: 3,
            outcome: Ok(vec![
                output("tokens", Dtype::Uint32, &[7, 0, 0, 0, 1, 1, 0, 0]),
                output("text", Dtype::Uint8, b"hi"),
                output("state", Dtype::Uint8, b"queued 2"),
                output("embedding", Dtype::Float32, &1.5_f32.to_le_bytes()),
            ]),
        };
        let piece = Piece::of(&result).unwrap();
        assert_eq!(
            (piece.tokens.as_slice(), piece.text.as_str()),
            (&[7, 257][..], "hi")
        );
        assert_eq!(
            (piece.embedding.as_slice(), piece.is_last()),
            (&[1.5][..], false)
        );
        let last = Piece {
            state: "end".into(),
            ..piece
        };
        assert!(last.is_last());
    }
}
