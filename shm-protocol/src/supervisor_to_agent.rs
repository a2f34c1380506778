//! Supervisor to agent host.
//!
//! Commands travel over `ipc-channel`, which only this direction uses. The
//! steps of a tick travel in the ring down, because a tick takes less time than
//! a command.

use crate::boot::Extent;
use crate::id::{AgentId, RequestId};
use crate::tensor::{Signature, Tensor};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A command, in the order in which a host receives them: one `Setup`, a `Load`
/// for each agent, one `Start`, then `Drain` at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// What all agents of the fleet have in common.
    Setup(AgentSetup),
    /// Instantiate an agent and call its `init`. Answered by [`crate::agent_to_supervisor::Loaded`].
    Load(LoadAgent),
    /// Nothing more will be loaded: take steps from the ring.
    Start(StartAgents),
    /// Finish what is in the ring and exit with code 0.
    Drain,
}

/// What all agents of the fleet have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSetup {
    /// Key of all randomness of the run, derived from its seed.
    pub random_key: [u8; 32],
    /// Whether floating-point results that are not numbers get their canonical bits.
    pub canonical_nan: bool,
    /// Most bytes of everything that a step does.
    pub step_bytes: u64,
    /// Names of all agents; the position is the [`AgentId`].
    pub agents: Vec<String>,
    /// Names of all models; the position is the [`crate::id::ModelId`].
    pub models: Vec<String>,
}

/// One agent to instantiate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadAgent {
    /// The agent.
    pub agent: AgentId,
    /// Its compiled component in the artifact memory. Agents may share one.
    pub artifact: Extent,
    /// Its settings, in the order of their keys.
    pub settings: Vec<(String, String)>,
    /// Fuel of one step. WebAssembly operations cost about one unit each.
    pub fuel: u64,
    /// Most bytes of its linear memory.
    pub memory_bytes: u64,
    /// What becomes of an agent whose step fails.
    pub on_failure: OnFailure,
    /// Whether its state follows in records of kind [`crate::agent_state::RESTORE`]; `init` is then not called.
    pub restored: bool,
}

/// What becomes of an agent whose step traps or runs out of fuel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum OnFailure {
    /// It takes no further steps.
    Halt,
    /// It is instantiated anew and its `init` is called; its memory is lost.
    Restart,
}

/// The models as the inference host found them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartAgents {
    /// One for each model; the position is the [`crate::id::ModelId`].
    pub models: Vec<ModelPorts>,
}

/// What a request to a model must look like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelPorts {
    /// Its inputs and outputs.
    pub signature: Signature,
    /// What becomes of a request that does not fit.
    pub on_mismatch: OnMismatch,
}

/// What becomes of a request whose inputs do not fit the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum OnMismatch {
    /// The run stops and names both shapes.
    Stop,
    /// The agent is told, and goes on.
    Refuse,
}

/// Steps of one tick, in the ring down as kind [`STEPS`]. The tick is in the record header.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Steps {
    /// One for each agent that steps now; a tick may take several such records.
    pub steps: Vec<Step>,
}

/// One step of one agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Step {
    /// The agent.
    pub agent: AgentId,
    /// What reached it since its last step.
    pub events: Vec<AgentEvent>,
}

/// The result of a request: the outputs in the model's order, or why there are none.
pub type RequestResult = Result<Vec<Tensor>, String>;

/// Something that reaches an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum AgentEvent {
    /// A message from an agent.
    Message {
        /// Who sent it.
        sender: AgentId,
        /// What it says.
        payload: Vec<u8>,
    },
    /// The result of a request.
    Inference {
        /// The request.
        request: RequestId,
        /// The model's number, by which the host finds the names of the outputs.
        model: crate::id::ModelId,
        /// The outputs in the model's order, or why there are none.
        outcome: Arc<RequestResult>,
    },
}

/// Record kind of [`Steps`].
pub const STEPS: u16 = 1;
/// Record kind of [`Answers`].
pub const AWAIT_RESULTS: u16 = 4;

/// Answers to what agents wait for within their steps of one tick. The tick is in the record header.
///
/// An agent that is parked goes on with its answer. For one whose step of that tick is still to come, they are answers
/// that are known already, as when a step is taken again: it does not park for them.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AwaitResults {
    /// In the order in which the agents go on.
    pub answers: Vec<AwaitResult>,
}

/// The answer to one [`crate::agent_to_supervisor::Wait`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitResult {
    /// The agent.
    pub agent: AgentId,
    /// How many waits of the same step were before it.
    pub number: u32,
    /// The outputs in the model's order, or why there are none.
    pub outcome: Arc<RequestResult>,
}
