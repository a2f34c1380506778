//! Agents, models and the inference engine as a run pins them: by name, digest and settings.

use super::digest::Digest;
use bincode::{Decode, Encode};
use shm_protocol::generation::Generator;
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use shm_protocol::supervisor_to_agent::{OnFailure, OnMismatch};
use shm_protocol::tensor::Signature;
use std::fmt;

/// An agent of a run.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AgentPin {
    /// Its name.
    pub name: String,
    /// BLAKE3 of its component.
    pub component: Digest,
    /// Its settings, in the order of their keys.
    pub settings: Vec<(String, String)>,
    /// Fuel of one step.
    pub fuel: u64,
    /// Limit of its linear memory, in bytes.
    pub memory_bytes: u64,
    /// Higher goes earlier in the schedule order.
    pub priority: i32,
    /// Its period: it is due in every tick that this divides.
    pub every: u64,
    /// Its fate when a step fails.
    pub on_failure: OnFailure,
}

/// A model of a run, as its first version.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelPin {
    /// Its name.
    pub name: String,
    /// The name of its first version.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// Requested providers, in order of preference.
    pub providers: Vec<String>,
    /// The provider that runs it.
    pub provider: String,
    /// Refused providers, each with its reason.
    pub refused: Vec<(String, RefusalReason)>,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// Batching of its requests, as its probe found it.
    pub batching: Batching,
    /// Limit of the rows of one batch.
    pub max_batch: u64,
    /// A request of tick `t` is answered in tick `t + latency_ticks`.
    pub latency_ticks: u64,
    /// The fate of a request that does not fit.
    pub on_mismatch: OnMismatch,
    /// True if numbers that are not finite are refused, in inputs and outputs.
    pub rejects_nonfinite: bool,
    /// Limit of its memory, in bytes; zero for no limit.
    pub memory_bytes: u64,
    /// Decoding settings of a language model.
    pub generator: Option<Generator>,
}

/// A change of a model from a tick on: it holds for requests of that tick and later ones. Earlier requests are answered
/// as they would have been.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelChange {
    /// The first tick in which it holds.
    pub from: Tick,
    /// The model.
    pub model: ModelId,
    /// The state of the model from then on.
    pub to: Become,
}

/// The state of a model after a change.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Become {
    /// It answers no requests.
    Unloaded,
    /// It answers requests again, as its last version.
    Loaded,
    /// It is another version.
    Version(VersionPin),
}

/// Another version of a model, with the same inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VersionPin {
    /// Its name.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// The provider that runs it.
    pub provider: String,
    /// Refused providers, each with its reason.
    pub refused: Vec<(String, RefusalReason)>,
    /// Batching of its requests, as its probe found it.
    pub batching: Batching,
}

/// The inference engine of a run.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EnginePin {
    /// Name and version, as in `onnxruntime 1.31.1`.
    pub name: String,
    /// BLAKE3 of its library.
    pub library: Digest,
    /// Threads inside one operator.
    pub intra_op_threads: u32,
}

impl fmt::Display for EnginePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = u64::from_be_bytes(*self.library.first_chunk().expect("32 bytes"));
        let threads = self.intra_op_threads;
        write!(
            f,
            "{} (library {library:016x}, threads per operator {threads})",
            self.name
        )
    }
}
