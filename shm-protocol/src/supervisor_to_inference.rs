//! Messages from supervisor to inference host.
//!
//! Commands are sent over `ipc-channel`. Batches are sent in the ring down: one record of kind [`RUN`], followed by one
//! record of kind [`INPUT`] for each input of the model, whose payload the engine reads in place.

use crate::boot::Extent;
use crate::generation::Generator;
use crate::id::{BatchId, ModelId, VersionId};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Record kind of [`BatchHead`].
pub const RUN: u16 = 201;
/// Record kind of an input: dtype, rank and dims in the record header, its
/// position among the model's inputs as the subject, the batch as the correlation.
pub const INPUT: u16 = 202;
/// Record kind of a [`LoadModel`] while batches are served. Answered in order, like the command.
pub const LOAD: u16 = 203;
/// Record kind that unloads the version in the record's subject. It has no payload and no answer.
pub const UNLOAD: u16 = 204;

/// A command. A host receives one `Setup`, a `Load` for each model, one `Start`, and `Drain` at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InferenceCommand {
    /// Load the engine. Answered by [`crate::inference_to_supervisor::EngineReady`].
    Setup(EngineSetup),
    /// Load a model. Answered by [`crate::inference_to_supervisor::ModelLoaded`].
    Load(LoadModel),
    /// Run the self-test of a provider. Answered by [`crate::inference_to_supervisor::ProviderTest`].
    Prove(String),
    /// Nothing more will be loaded: take batches from the ring.
    Start,
    /// Finish what is in the ring and exit with code 0.
    Drain,
}

/// The engine and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSetup {
    /// A library to use instead of the embedded one, as an absolute path.
    pub library: Option<String>,
    /// Number of threads inside one operator. It is fixed because it can change the bits of results.
    pub intra_op_threads: u32,
    /// Models that are loaded after the start may use providers other than the CPU, whose drivers open files.
    pub loads_drivers_later: bool,
}

/// One model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct LoadModel {
    /// The version.
    pub version: VersionId,
    /// The model.
    pub model: ModelId,
    /// Keep it for batches. Otherwise it is loaded to read its properties, and unloaded.
    pub keep: bool,
    /// Its name in the fleet file, for messages.
    pub name: String,
    /// The ONNX file in the artifact memory, or a [`crate::bundle`] of it and the files it needs.
    pub artifact: Extent,
    /// Providers to try, in order, such as `["cuda", "cpu"]`.
    pub providers: Vec<String>,
    /// Fail unless the first provider runs it.
    pub strict_providers: bool,
    /// Several requests may run as one batch, if the probe finds that no bit depends on it.
    pub may_batch: bool,
    /// Maximum bytes of memory that it may use; zero for no limit.
    pub memory_bytes: u64,
    /// The settings of a language model, whose files are one [`crate::bundle`] in the artifact memory.
    pub generator: Option<Generator>,
}

/// The head of a batch.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct BatchHead {
    /// The batch.
    pub batch: BatchId,
    /// The version that runs it.
    pub version: VersionId,
    /// The model.
    pub model: ModelId,
    /// Number of records of kind [`INPUT`] that follow.
    pub inputs: u32,
}
