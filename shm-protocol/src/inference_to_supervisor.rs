//! Inference host to supervisor. Everything comes up through the ring, where
//! the supervisor copies it, then checks it, then uses it.
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

/// Record kind of [`ProviderProved`].
pub const PROVIDER_PROVED: u16 = 305;

/// The engine is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EngineReady {
    /// Name and version, as in `onnxruntime 1.31.1`.
    pub engine: String,
    /// BLAKE3 of the library file.
    pub library_digest: [u8; 32],
}

/// What came of trying a provider.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProviderTest {
    /// Its name in a fleet file.
    pub provider: String,
    /// Why it is no good, if it is not.
    pub result: Result<(), String>,
}

/// How loading a model ended.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelLoaded {
    /// The version.
    pub version: VersionId,
    /// What was found, or why it could not be loaded, for people.
    pub result: Result<ModelInfo, LoadRefused>,
}

/// What was found out about a model while loading it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelInfo {
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The provider that really runs it.
    pub provider: String,
    /// Providers that were asked for and refused.
    pub refused: Vec<RefusedProvider>,
    /// Whether several requests may go as one batch.
    pub batching: Batching,
    /// Whether it makes embeddings of texts and writes none.
    pub is_encoder: bool,
}

/// A provider that was asked for and does not run a model.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefusedProvider {
    /// Its name.
    pub provider: String,
    /// The reason, as it is journaled.
    pub reason: RefusalReason,
    /// The words of the engine and of drivers, for people: they may name hosts, files and devices.
    pub detail: String,
}

/// The reason for which a provider does not run a model: a code, because it is journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RefusalReason {
    /// The engine does not have it, or cannot start it.
    Unavailable,
    /// It does not run a graph of our own.
    SelfTestFailed,
    /// It does not take the model.
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

/// Whether several requests to a model may go as one batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Batching {
    /// Rows of several requests may be joined along the first dimension.
    Joined,
    /// Every request runs alone, because the probe found this reason.
    Alone(String),
    /// Every request runs alone, because the fleet wants it so.
    Unwanted,
    /// Every request runs alone, because the probe could not be carried out, for this reason: there was no memory, say.
    Untried(String),
}

impl Batching {
    /// Why every request runs alone, if it does.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Batching::Joined => None,
            Batching::Alone(reason) | Batching::Untried(reason) => Some(reason),
            Batching::Unwanted => Some("the fleet says batch = false"),
        }
    }

    /// The same as it is journaled: the words of a probe that could not be carried out depend on the machine.
    #[must_use]
    pub fn journaled(&self) -> Batching {
        match self {
            Batching::Untried(_) => {
                Batching::Untried("the probe could not be carried out".to_owned())
            }
            other => other.clone(),
        }
    }

    /// Whether what is found once more agrees with what was found before. Reasons are an engine's words and say nothing,
    /// and a probe that could not be carried out disproves nothing: what could be then and cannot be now follows from
    /// what else is in memory.
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

/// Why a model could not be loaded.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LoadRefused {
    /// Whose fault it is.
    pub blame: crate::agent_to_supervisor::Blame,
    /// What happened and what to do next.
    pub message: String,
}

/// A batch that the engine could not run.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct BatchFailed {
    /// The batch.
    pub batch: BatchId,
    /// What the engine said. It becomes the result of every request of the batch.
    pub message: String,
}
