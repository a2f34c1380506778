//! Messages from inference host to supervisor. All of them are records of the ring up, which the supervisor copies,
//! then checks, then uses.
//!
//! A batch is answered by one record of kind [`OUTPUT`] for each output of its
//! model, in the model's order, or by one record of kind [`BATCH_FAILED`].
//! [`crate::agent_to_supervisor::Ready`] and [`crate::agent_to_supervisor::Failure`]
//! are the same for both kinds of host.

use crate::id::{BatchId, VersionId};
use crate::tensor::Signature;
use bincode::{Decode, Encode};

/// Record kind of [`EngineReady`].
pub const ENGINE_READY: u16 = 301;
/// Record kind of [`ModelLoaded`].
pub const MODEL_LOADED: u16 = 302;
/// Record kind of an output: dtype, rank and dims in the record header, its
/// position among the model's outputs as the subject, the batch as the correlation.
pub const OUTPUT: u16 = 303;
/// Record kind of [`BatchFailed`].
pub const BATCH_FAILED: u16 = 304;

/// Record kind of [`ProviderTest`].
pub const PROVIDER_PROVED: u16 = 305;

/// The engine is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EngineReady {
    /// Name and version, such as `onnxruntime 1.31.1`.
    pub engine: String,
    /// BLAKE3 of the library file.
    pub library_digest: [u8; 32],
}

/// The result of a provider's self-test.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProviderTest {
    /// Its name in a fleet file.
    pub provider: String,
    /// The error, if the provider cannot be used.
    pub result: Result<(), String>,
}

/// The result of loading a model.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelLoaded {
    /// The version.
    pub version: VersionId,
    /// The properties of the model, or the reason why it could not be loaded.
    pub result: Result<ModelInfo, LoadRefused>,
}

/// The properties of a loaded model.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelInfo {
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The provider that runs it.
    pub provider: String,
    /// Requested providers that do not run it.
    pub refused: Vec<RefusedProvider>,
    /// The batching of requests.
    pub batching: Batching,
    /// True for a language model that computes embeddings and generates no text.
    pub is_encoder: bool,
}

/// A requested provider that does not run a model.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefusedProvider {
    /// Its name.
    pub provider: String,
    /// The reason, as it is journaled.
    pub reason: RefusalReason,
    /// The messages of the engine and of drivers, which are not journaled because they can name hosts, files and
    /// devices.
    pub detail: String,
}

/// The reason why a provider does not run a model. It is a code because it is journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RefusalReason {
    /// The engine does not have it, or cannot start it.
    Unavailable,
    /// It failed the self-test, a built-in graph.
    SelfTestFailed,
    /// It does not support the model.
    ModelNotTaken,
}

impl std::fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RefusalReason::Unavailable => "it is not available",
            RefusalReason::SelfTestFailed => "its self-test failed",
            RefusalReason::ModelNotTaken => "it does not take the model",
        })
    }
}

/// The batching of requests to a model: the rows of several in one batch, or each alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Batching {
    /// Rows of several requests may be joined along the first dimension.
    Joined,
    /// Every request runs alone, for this reason, which the probe found.
    Alone(String),
    /// Every request runs alone, because the fleet file says so.
    Unwanted,
    /// Every request runs alone, because the probe could not be carried out, for example for lack of memory.
    Untried(String),
}

impl Batching {
    /// The reason why every request runs alone, if it does.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Batching::Joined => None,
            Batching::Alone(reason) | Batching::Untried(reason) => Some(reason),
            Batching::Unwanted => Some("the fleet says batch = false"),
        }
    }

    /// The value that is journaled. It leaves out why a probe could not be carried out, which depends on the machine.
    #[must_use]
    pub fn journaled(&self) -> Batching {
        match self {
            Batching::Untried(_) => {
                Batching::Untried("the probe could not be carried out".to_owned())
            }
            other => other.clone(),
        }
    }

    /// True if the result of a new probe agrees with an earlier one. Reasons are messages of the engine and are not
    /// compared. A probe that could not be carried out agrees with every result, because it depends on what else is in
    /// memory.
    #[must_use]
    pub fn agrees_with(&self, before: &Batching) -> bool {
        match (self, before) {
            (Batching::Unwanted, other) | (other, Batching::Unwanted) => {
                *other == Batching::Unwanted
            }
            (Batching::Untried(_), _) | (_, Batching::Untried(_)) => true,
            (one, other) => (*one == Batching::Joined) == (*other == Batching::Joined),
        }
    }
}

/// The error of a model that could not be loaded.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LoadRefused {
    /// The party at fault.
    pub blame: crate::agent_to_supervisor::Blame,
    /// The error and the next step.
    pub message: String,
}

/// A batch that the engine could not run.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct BatchFailed {
    /// The batch.
    pub batch: BatchId,
    /// The engine's message. It becomes the result of every request of the batch.
    pub message: String,
}
