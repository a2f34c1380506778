//! What a language model is asked and what it answers, tick by tick.
//!
//! A language model runs as a model with one input, an [`Order`], and one
//! output, the [`Pieces`] that come of it. An order is whole: it holds the
//! requests as the agents wrote them and every token generated so far. What a
//! host remembers between orders (keys and values of the attention) is a cache
//! and nothing more, so a host that was lost, a run that is resumed and a replay
//! that infers again all come to the same text by the same steps.

use crate::id::{AgentId, RequestId};
use crate::tensor::{DType, Port, Signature};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Sequences that one language model may decode at once; each has keys and values of its own.
pub const MAX_SEQUENCES: u32 = 64;

/// Most tokens of one sequence, those of the prompt included. Bounds what an order carries.
pub const MAX_TOKENS: u32 = 1 << 17;

/// How a folder with a language model is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Generator {
    /// Sequences that are decoded at once; more wait in the order of their requests.
    pub sequences: u32,
    /// Tokens that each of them grows by in a tick.
    pub tokens_per_tick: u32,
    /// Most tokens of a sequence, prompt included, if that is less than the model's own limit.
    pub context: Option<u32>,
    /// Most bytes of keys and values that are kept between ticks.
    pub cache_bytes: u64,
}

/// What a language model is to do in one tick.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DecodeRequest {
    /// Tokens by which each sequence grows, unless it ends before.
    pub steps: u32,
    /// The sequences, in the order in which they joined.
    pub sequences: Vec<Sequence>,
}

/// One text in the making.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sequence {
    /// Where its random numbers come from: the seed of the run. With agent, request and the position of a token it names
    /// each of them.
    pub seed: u64,
    /// Who asked.
    pub agent: AgentId,
    /// By which request.
    pub request: RequestId,
    /// The request as the agent wrote it: JSON.
    pub asked: Vec<u8>,
    /// The tokens that were generated in earlier ticks.
    pub tokens: Vec<u32>,
}

/// What came of an order: one entry for each sequence, in the order of the sequences. An error ends its sequence.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Deltas(pub Vec<Result<Delta, String>>);

/// By what a text grew in one tick.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Delta {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// The new text. It can lag behind the tokens: half a character, or what may become a stop string, is held back.
    pub text: String,
    /// What a request for an embedding gives; empty for text.
    pub embedding: Vec<f32>,
    /// Why nothing more will come, if nothing will.
    pub finish: Option<Finish>,
    /// Tokens of the prompt, or of the text of an embedding.
    pub prompt_tokens: u32,
}

/// Why a text is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Finish {
    /// The model ended it.
    EndOfText,
    /// A stop string of the request came up.
    Stop,
    /// It has as many tokens as the request or the model allows.
    Length,
    /// The agent has cancelled it.
    Cancelled,
    /// Its deadline in ticks is over.
    Deadline,
}

impl Finish {
    /// All of them.
    pub const ALL: [Finish; 5] = [
        Finish::EndOfText,
        Finish::Stop,
        Finish::Length,
        Finish::Cancelled,
        Finish::Deadline,
    ];

    /// The word for it in the output `state`.
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

/// What an agent sees of a language model: a request in JSON, and for each tick tokens, text, an embedding and a state.
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

/// What the ring carries for a language model: an encoded [`Order`] down, encoded [`Pieces`] up.
#[must_use]
pub fn wire_signature() -> Signature {
    Signature {
        inputs: vec![list("order", DType::U8)],
        outputs: vec![list("pieces", DType::U8)],
    }
}

/// A port with one open dimension.
fn list(name: &str, dtype: DType) -> Port {
    Port {
        name: name.to_owned(),
        dtype,
        dims: vec![None],
    }
}
