//! The definition of a model: what is asked for, before any host has loaded it.

use bincode::{Decode, Encode};
use shm_protocol::generation::Generator;
use shm_protocol::supervisor_to_agent::OnMismatch;
use shm_protocol::tensor::Port;

/// A model as it is asked for. Its file is a source in a fleet, a digest once it is read, and bytes for a model that
/// stands alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDefinition<F> {
    /// Its name, unique in the fleet.
    pub name: String,
    /// The name of its first version.
    pub version: String,
    /// Its ONNX file, or the folder of a language model.
    pub file: F,
    /// Providers to try, in order.
    pub providers: Vec<String>,
    /// True if requests of one tick may run as one batch.
    pub may_batch: bool,
    /// Inputs that the model must have, if the fleet lists them.
    pub inputs: Vec<Port>,
    /// Outputs that the model must have, if the fleet lists them.
    pub outputs: Vec<Port>,
    /// The settings that a run pins as they are.
    pub settings: ModelSettings,
}

/// The settings of a model that no probe changes.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub struct ModelSettings {
    /// Limit of the rows of one batch.
    pub max_batch: u64,
    /// A request of tick `t` is answered in tick `t + latency_ticks`; at least 1.
    pub latency_ticks: u64,
    /// The fate of a request that does not fit its inputs.
    pub on_mismatch: OnMismatch,
    /// True if numbers that are not finite are refused, in inputs and outputs.
    pub rejects_nonfinite: bool,
    /// Limit of its memory, in bytes; zero for no limit.
    pub memory_bytes: u64,
    /// Decoding settings of a language model.
    pub generator: Option<Generator>,
}

impl Default for ModelSettings {
    /// The settings of a model of which a fleet says nothing.
    fn default() -> ModelSettings {
        ModelSettings {
            // As many rows as the inference host tries.
            max_batch: 256,
            latency_ticks: 1,
            on_mismatch: OnMismatch::Stop,
            rejects_nonfinite: false,
            memory_bytes: 0,
            generator: None,
        }
    }
}

impl<F> ModelDefinition<F> {
    /// A model of which nothing is asked but that it answers.
    pub fn new(name: impl Into<String>, file: F) -> ModelDefinition<F> {
        ModelDefinition {
            name: name.into(),
            version: "1".to_owned(),
            file,
            providers: vec!["cpu".to_owned()],
            may_batch: true,
            inputs: Vec::new(),
            outputs: Vec::new(),
            settings: ModelSettings::default(),
        }
    }

    /// The same model with another description of its file.
    pub fn with_file<G>(&self, file: G) -> ModelDefinition<G> {
        ModelDefinition {
            name: self.name.clone(),
            version: self.version.clone(),
            file,
            providers: self.providers.clone(),
            may_batch: self.may_batch,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            settings: self.settings,
        }
    }

    /// True for a language model, which is a folder and not a file.
    pub fn is_generator(&self) -> bool {
        self.settings.generator.is_some()
    }
}
