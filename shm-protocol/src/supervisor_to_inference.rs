//! Supervisor to inference host.
//!
//! Commands travel over `ipc-channel`. Batches travel in the ring down: one
//! record of kind [`RUN`], followed by one record of kind [`INPUT`] for each
//! input of the model, whose payload the engine reads in place.

use crate::boot::Extent;
use crate::generation::Generator;
use crate::id::{BatchId, ModelId, VersionId};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Record kind of [`Run`].
pub const RUN: u16 = 201;
/// Record kind of an input: dtype, rank and dims in the record header, its
/// position among the model's inputs as the subject, the batch as the correlation.
pub const INPUT: u16 = 202;
/// Record kind of a [`Load`] while batches are served. Answered, in its turn, as the command is.
pub const LOAD: u16 = 203;
/// Record kind of a version that is needed no longer: the record's subject. It has no payload and no answer.
pub const UNLOAD: u16 = 204;

/// A command, in the order in which a host receives them: one `Setup`, a `Load`
/// for each model, one `Start`, then `Drain` at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum InferenceCommand {
    /// Load the engine. Answered by [`crate::inference_to_supervisor::EngineReady`].
    Setup(EngineSetup),
    /// Load a model. Answered by [`crate::inference_to_supervisor::ModelLoaded`].
    Load(LoadModel),
    /// Try a provider on a graph of the host's own. Answered by [`crate::inference_to_supervisor::ProviderProved`].
    Prove(String),
    /// Nothing more will be loaded: take batches from the ring.
    Start,
    /// Finish what is in the ring and exit with code 0.
    Drain,
}

/// Which engine, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSetup {
    /// A library to use instead of the embedded one, as an absolute path.
    pub library: Option<String>,
    /// Threads inside one operator. A fixed number, because it may change bits.
    pub intra_threads: u32,
    /// Whether models are loaded after the start that may run on something else than the processor. Its drivers open files.
    pub loads_drivers_later: bool,
}

/// One model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct LoadModel {
    /// The version.
    pub version: VersionId,
    /// The model.
    pub model: ModelId,
    /// Whether batches will come for it. Otherwise it is loaded to find out what it is, and let go again.
    pub keep: bool,
    /// Its name in the fleet file, for messages.
    pub name: String,
    /// The ONNX file in the artifact memory, or a [`crate::bundle`] of it and the files it needs.
    pub artifact: Extent,
    /// Providers to try, in order, as in `["cuda", "cpu"]`.
    pub providers: Vec<String>,
    /// Whether anything but the first provider is a refusal.
    pub strict_providers: bool,
    /// Whether several requests may go as one batch, if the probe finds that no bit depends on it.
    pub may_batch: bool,
    /// Most bytes of memory that it may take; zero for no limit.
    pub memory_bytes: u64,
    /// How to run it, if it is a folder with a language model, whose files are one [`crate::bundle`] in the artifact memory.
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
    /// How many records of kind [`INPUT`] follow.
    pub inputs: u32,
}
