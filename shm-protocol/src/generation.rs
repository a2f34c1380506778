//! Requests to a language model and their results, tick by tick.
//!
//! A language model runs as a model with one input, a [`DecodeRequest`], and one output, its [`Deltas`]. A decode
//! request is self-contained: it holds the requests as the agents wrote them and all tokens generated so far. What a
//! host keeps between decode requests (the keys and values of the attention) is only a cache, so a restarted host, a
//! resumed run and a replay that infers again all generate the same text by the same steps.

use crate::id::{AgentId, RequestId};
use crate::tensor::{DType, Port, Signature};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Maximum sequences that one language model decodes at once. Each has its own keys and values.
pub const MAX_SEQUENCES: u32 = 64;

/// Maximum tokens of one sequence, including its prompt. Bounds the size of a decode request.
pub const MAX_TOKENS: u32 = 1 << 17;

/// The settings with which a language model is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Generator {
    /// Number of sequences that are decoded at once. Further ones are queued in the order of their requests.
    pub max_concurrent_generations: u32,
    /// Number of tokens by which each of them grows in a tick.
    pub tokens_per_tick: u32,
    /// Maximum tokens of a sequence, including its prompt, if less than the model's own limit.
    pub context_length: Option<u32>,
    /// Maximum bytes of keys and values that are kept between ticks.
    pub cache_bytes: u64,
}

/// The work of a language model for one tick.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DecodeRequest {
    /// Number of tokens by which each sequence grows, unless it ends earlier.
    pub steps: u32,
    /// The sequences, in the order in which they joined.
    pub sequences: Vec<Sequence>,
}

/// One sequence that is being generated.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sequence {
    /// The seed of the run. With agent, request and the position of a token it determines each random number.
    pub seed: u64,
    /// The agent that sent the request.
    pub agent: AgentId,
    /// The number of the request.
    pub request: RequestId,
    /// The request as the agent wrote it, in JSON.
    pub asked: Vec<u8>,
    /// The tokens generated in earlier ticks.
    pub tokens: Vec<u32>,
}

/// The result of a decode request: one entry for each sequence, in the same order. An error ends its sequence.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Deltas(pub Vec<Result<Delta, String>>);

/// The growth of a sequence in one tick.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Delta {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// The new text. It can lag behind the tokens: an incomplete character, or the possible prefix of a stop string, is
    /// held back.
    pub text: String,
    /// The result of a request for an embedding; empty for text.
    pub embedding: Vec<f32>,
    /// The reason why the sequence has ended, if it has.
    pub finish: Option<Finish>,
    /// Number of tokens of the prompt, or of the text to embed.
    pub prompt_tokens: u32,
}

/// The reason why a sequence has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Finish {
    /// The model generated an end token.
    EndOfText,
    /// A stop string of the request was generated.
    Stop,
    /// The token limit of the request or the model was reached.
    Length,
    /// The agent cancelled the request.
    Cancelled,
    /// Its deadline in ticks has passed.
    Deadline,
}

impl Finish {
    /// Every reason.
    pub const ALL: [Finish; 5] = [
        Finish::EndOfText,
        Finish::Stop,
        Finish::Length,
        Finish::Cancelled,
        Finish::Deadline,
    ];

    /// Its name in the output `state`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Finish::EndOfText => "end",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Cancelled => "cancelled",
            Finish::Deadline => "deadline",
        }
    }
}

/// The signature of a language model for agents: a request in JSON, and for each tick tokens, text, an embedding and a
/// state.
#[must_use]
pub fn signature() -> Signature {
    Signature {
        inputs: vec![list("request", DType::U8)],
        outputs: vec![
            list("tokens", DType::U32),
            list("text", DType::U8),
            list("state", DType::U8),
            list("embedding", DType::F32),
        ],
    }
}

/// The signature of a language model in the rings: an encoded [`DecodeRequest`] down, encoded [`Deltas`] up.
#[must_use]
pub fn wire_signature() -> Signature {
    Signature {
        inputs: vec![list("order", DType::U8)],
        outputs: vec![list("pieces", DType::U8)],
    }
}

/// A port with one dynamic dimension.
fn list(name: &str, dtype: DType) -> Port {
    Port {
        name: name.to_owned(),
        dtype,
        dims: vec![None],
    }
}
