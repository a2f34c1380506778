//! A fleet after reading: every default filled in, every name checked, every
//! `count` written out as agents of their own.

use super::pace::Pace;
use crate::faults::FaultPlan;
use crate::record::{ModelDefinition, NewVersion, ScheduledChange};
use serde::{Deserialize, Serialize};
use shm_protocol::supervisor_to_agent::OnFailure;
use std::path::PathBuf;

/// The agents, models, schedule and limits of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Its name, for people.
    pub name: String,
    /// Seed of all randomness in the run.
    pub seed: u64,
    /// Ticks to run; without it, until somebody stops the run.
    pub ticks: Option<u64>,
    /// Agent-host processes; without it, one for each core but one, and at least one.
    pub hosts: Option<u32>,
    /// Durability at which a tick counts as committed.
    pub durability: Durability,
    /// Bits of NaN results in agents.
    pub nan: Nan,
    /// Threads inside one operator of a model.
    pub intra_op_threads: u32,
    /// Limit in bytes of all that one step does, and of the results that reach it.
    pub max_step_bytes: u64,
    /// Milliseconds without progress after which a host counts as hung.
    pub deadline_ms: u64,
    /// Ticks between two checkpoints.
    pub checkpoint_ticks: u64,
    /// Least time between two checkpoints in milliseconds.
    pub checkpoint_min_ms: u64,
    /// Checkpoints that stay on the disk.
    pub checkpoints_kept: u32,
    /// Limits of restarts and of crashes in the same place.
    pub restarts: RestartLimits,
    /// Keeps one more agent host started, which replaces a lost one.
    pub hot_standby: bool,
    /// The pace at which ticks open.
    pub pace: Pace,
    /// Milliseconds until a restarted agent host must report that it is ready.
    pub agent_ready_ms: u64,
    /// Milliseconds until a restarted inference host must report that it is ready.
    pub inference_ready_ms: u64,
    /// Milliseconds without progress while a host loads agents or models.
    pub load_ms: u64,
    /// The agents; the position is the agent's number.
    pub agents: Vec<AgentSpec>,
    /// The models; the position is the model's number.
    pub models: Vec<ModelDefinition<Source>>,
    /// Changes of models during the run, in the order of their ticks.
    pub changes: Vec<FleetChange>,
    /// Reaction to a provider that is no longer available.
    pub on_provider_lost: OnProviderLost,
    /// Faults to inject.
    pub faults: FaultPlan,
}

/// Limits of restarts, beyond which a run stops.
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
    /// Crashes of a host in the same step after which its agent is quarantined.
    pub quarantine_after: u32,
}

impl RestartLimits {
    /// The defaults, as supervisors in Erlang/OTP have them: one more start does not help a host that crashes more often.
    pub const USUAL: RestartLimits = RestartLimits {
        host: 5,
        host_seconds: 30,
        run: 20,
        run_seconds: 60,
        quarantine_after: 3,
    };
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSpec {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Its component.
    pub component: Source,
    /// Settings that it gets at `init`, in the order of their keys.
    pub settings: Vec<(String, String)>,
    /// Fuel of one step.
    pub fuel: u64,
    /// Limit of its linear memory in bytes.
    pub memory_bytes: u64,
    /// Gives it a host process of its own.
    pub isolate: bool,
    /// Agents with a higher priority are earlier in the schedule order.
    pub priority: i32,
    /// It is due in every tick that this divides.
    pub every: u64,
    /// Reaction to a step that fails.
    pub on_failure: OnFailure,
    /// Allows it to end the run.
    pub may_finish: bool,
}

/// A change of a model as a fleet file has it.
pub type FleetChange = ScheduledChange<NewVersion<Source>>;

/// Reaction of a run to a model whose provider is no longer available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnProviderLost {
    /// The run stops, and can be resumed once the provider is back.
    #[default]
    Stop,
    /// The run continues with the next provider of the model, by a verdict.
    Fallback,
    /// The run stops, and can be resumed once the provider is back, or with the next one if the operator allows it.
    Ask,
}

/// The place from which bytes are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file, already joined with the folder of the fleet file.
    Path(PathBuf),
    /// A part of this binary, written `builtin:name`.
    Builtin(String),
}

/// Durability at which a tick counts as committed, and its outputs may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is written: it survives the death of every process.
    Process,
    /// Once it is on the disk, at most 10 ms or 64 ticks later.
    Batch,
    /// Once it is on the disk; every tick waits for that.
    Sync,
}

impl Durability {
    /// The levels by their names in fleet files and on the command line. The first is the default.
    pub const NAMES: [(&'static str, Durability); 3] = [
        ("batch", Durability::Batch),
        ("process", Durability::Process),
        ("sync", Durability::Sync),
    ];
}

/// Bits of NaN results of floating-point arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nan {
    /// One bit pattern: the same bits on every processor.
    Canonical,
    /// The processor's own: the same bits on this kind of processor.
    Native,
}
