//! A fleet after reading: every default filled in, every name checked, every
//! `count` written out as agents of their own.

use crate::faults::FaultPlan;
use serde::{Deserialize, Serialize};
use shm_protocol::generation::Generator;
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::supervisor_to_agent::{OnFailure, OnMismatch};
use shm_protocol::tensor::Port;
use std::path::PathBuf;

/// The agents, models, schedule and limits of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Its name, for people.
    pub name: String,
    /// Where all randomness of the run comes from.
    pub seed: u64,
    /// Ticks to run; without it, until somebody stops the run.
    pub ticks: Option<u64>,
    /// Agent-host processes; without it, one for each core but one, and at least one.
    pub hosts: Option<u32>,
    /// When a tick counts as kept.
    pub durability: Durability,
    /// Bits of floating-point results that are not numbers.
    pub nan: Nan,
    /// Threads inside one operator of a model.
    pub intra_threads: u32,
    /// Most bytes of everything that one step does, and of the results that reach it.
    pub step_bytes: u64,
    /// Milliseconds until a host that has not answered counts as hung.
    pub deadline_ms: u64,
    /// Ticks between two checkpoints.
    pub checkpoint_ticks: u64,
    /// Milliseconds that lie between two checkpoints at least.
    pub checkpoint_ms: u64,
    /// Checkpoints that are kept.
    pub keep: u32,
    /// How often hosts may be started again, and what a tick may cost.
    pub restarts: RestartLimits,
    /// Whether an agent host stands ready to take the place of one that is lost.
    pub spare: bool,
    /// Milliseconds until an agent host that has not said that it is ready counts as hung.
    pub agent_ready_ms: u64,
    /// Milliseconds until the inference host that has not said that it is ready counts as hung.
    pub inference_ready_ms: u64,
    /// Milliseconds for which a host may be silent while it loads agents or models.
    pub load_ms: u64,
    /// The agents; the position is the agent's number.
    pub agents: Vec<AgentSpec>,
    /// The models; the position is the model's number.
    pub models: Vec<ModelSpec>,
    /// What becomes of them while the run goes on, in the order of the ticks.
    pub changes: Vec<ChangeSpec>,
    /// What becomes of the run when who runs a model is gone.
    pub on_provider_lost: OnLost,
    /// What is made to go wrong.
    pub faults: FaultPlan,
}

/// How often hosts may be started again before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartLimits {
    /// Restarts of one host within [`RestartLimits::host_seconds`].
    pub host: u32,
    /// The seconds over which restarts of one host are counted.
    pub host_seconds: u64,
    /// Restarts of all hosts within [`RestartLimits::run_seconds`].
    pub run: u32,
    /// The seconds over which restarts of all hosts are counted.
    pub run_seconds: u64,
    /// Times that a host may be lost in the same step before its agent is quarantined.
    pub poison: u32,
}

impl RestartLimits {
    /// In the manner of OTP; a host that is lost more often will not be helped by one more start.
    pub const USUAL: RestartLimits = RestartLimits {
        host: 5,
        host_seconds: 30,
        run: 20,
        run_seconds: 60,
        poison: 3,
    };
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSpec {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Its component.
    pub component: Source,
    /// What it is told at `init`, in the order of the keys.
    pub settings: Vec<(String, String)>,
    /// Fuel of one step.
    pub fuel: u64,
    /// Most bytes of its linear memory.
    pub memory_bytes: u64,
    /// Whether it has a host process of its own.
    pub isolate: bool,
    /// Higher goes earlier in the schedule order.
    pub priority: i32,
    /// It is due in every tick that this divides.
    pub every: u64,
    /// What becomes of it when a step fails.
    pub on_failure: OnFailure,
}

/// One model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Its ONNX file, or the folder of a language model.
    pub file: Source,
    /// What its first version is called.
    pub version: String,
    /// Most bytes of memory that it may take; zero for no limit.
    pub memory_bytes: u64,
    /// How it writes, if it is a language model.
    pub generator: Option<Generator>,
    /// Providers to try, in order.
    pub providers: Vec<String>,
    /// A request of tick `t` is answered in tick `t + latency_ticks`; at least 1.
    pub latency_ticks: u64,
    /// Whether several requests may go as one batch.
    pub batch: bool,
    /// Most rows of one batch.
    pub max_batch: u64,
    /// What becomes of a request that does not fit.
    pub on_mismatch: OnMismatch,
    /// Whether numbers that are not finite are refused, on the way there and back.
    pub rejects_nonfinite: bool,
    /// Inputs that the model must have, if the fleet says so.
    pub inputs: Vec<Port>,
    /// Outputs that the model must have, if the fleet says so.
    pub outputs: Vec<Port>,
}

/// What becomes of a model from a tick on.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeSpec {
    /// The first tick in which it holds.
    pub from: Tick,
    /// The model.
    pub model: ModelId,
    /// What becomes of it.
    pub to: ChangeTo,
}

/// What becomes of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeTo {
    /// It answers no requests.
    Unloaded,
    /// It answers requests again, as the version that it was last.
    Loaded,
    /// It is another version.
    Version {
        /// What that is called.
        version: String,
        /// Its ONNX file, or its folder.
        file: Source,
    },
}

/// What becomes of a run in which who ran a model is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// It stops, and goes on once the provider is back.
    #[default]
    Refuse,
    /// It goes on with the next provider of the list, by a verdict.
    Degrade,
    /// It stops, and goes on once the provider is back or somebody says that it may go on with the next one.
    Ask,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file, already joined with the folder of the fleet file.
    Path(PathBuf),
    /// A part of this binary, written `builtin:name`.
    Builtin(String),
}

/// When a tick counts as kept, and may be told to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is written: it survives the death of every process.
    Process,
    /// Once it is on the disk, at most 10 ms or 64 ticks later.
    Batch,
    /// Once it is on the disk; every tick waits for that.
    Sync,
}

/// Bits of floating-point results that are not numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nan {
    /// One bit pattern: the same bits on every processor.
    Canonical,
    /// The processor's own: the same bits on this kind of processor.
    Native,
}
