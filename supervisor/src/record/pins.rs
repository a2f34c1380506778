//! Agents, models and the inference engine as a run pins them: by name, digest and settings.

use super::digest::Digest;
use super::model_definition::ModelSettings;
use bincode::{Decode, Encode};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use shm_protocol::supervisor_to_agent::OnFailure;
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
    /// True if it may end the run.
    pub may_finish: bool,
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
    /// The settings that no probe changes.
    pub settings: ModelSettings,
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
