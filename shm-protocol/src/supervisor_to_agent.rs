//! Messages from supervisor to agent host.
//!
//! Commands are sent over `ipc-channel`, which only this direction uses. The steps of a tick are sent in the ring down,
//! because a tick takes less time than a command.

use crate::boot::Extent;
use crate::id::{AgentId, RequestId};
use crate::tensor::{Signature, Tensor};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A command. A host receives one `Setup`, a `Load` for each agent, one `Start`, and `Drain` at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentCommand {
    /// Set up the engine.
    Setup(AgentSetup),
    /// Instantiate an agent and call its `init`. Answered by [`crate::agent_to_supervisor::AgentLoaded`].
    Load(LoadAgent),
    /// Nothing more will be loaded: take steps from the ring.
    Start(StartAgents),
    /// Finish what is in the ring and exit with code 0.
    Drain,
}

/// The configuration that all agents of the fleet share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentSetup {
    /// Key of all random numbers of the run, derived from its seed.
    pub random_key: [u8; 32],
    /// NaN results of floating-point operations get their canonical bits.
    pub canonical_nan: bool,
    /// Maximum bytes of all effects of a step.
    pub max_step_bytes: u64,
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
    /// Maximum bytes of its linear memory.
    pub memory_bytes: u64,
    /// The handling of a failed step.
    pub on_failure: OnFailure,
    /// It may end the run.
    pub may_finish: bool,
    /// Its state follows in records of kind [`crate::agent_state::RESTORE`], and `init` is not called.
    pub restored: bool,
}

/// The handling of a step that traps or runs out of fuel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum OnFailure {
    /// It takes no further steps.
    Halt,
    /// It is instantiated anew and its `init` is called; its memory is lost.
    Restart,
}

/// The models, as loaded by the inference host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartAgents {
    /// One for each model; the position is the [`crate::id::ModelId`].
    pub models: Vec<ModelPorts>,
}

/// The inputs and outputs of a model, and the handling of requests that do not fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelPorts {
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The handling of a request that does not fit.
    pub on_mismatch: OnMismatch,
}

/// The handling of a request whose inputs do not fit the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub enum OnMismatch {
    /// The run stops and names both shapes.
    Stop,
    /// The call returns an error to the agent.
    Reject,
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
    /// The events since its last step.
    pub events: Vec<AgentEvent>,
}

/// The result of a request: the outputs in the model's order, or an error message.
pub type RequestResult = Result<Vec<Tensor>, String>;

/// An event for an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum AgentEvent {
    /// A message from an agent.
    Message {
        /// The sender.
        sender: AgentId,
        /// Its content.
        payload: Vec<u8>,
    },
    /// The result of a request.
    Inference {
        /// The request.
        request: RequestId,
        /// The model's number, by which the host finds the names of the outputs.
        model: crate::id::ModelId,
        /// The outputs in the model's order, or an error message.
        outcome: Arc<RequestResult>,
    },
}

/// Record kind of [`Steps`].
pub const STEPS: u16 = 1;
/// Record kind of [`AwaitResults`].
pub const AWAIT_RESULTS: u16 = 4;

/// Results that agents await within their steps of one tick. The tick is in the record header.
///
/// A suspended step is resumed with its result. For an agent whose step of that tick is still to come, the results are
/// known in advance, for example because the step is repeated: it is not suspended for them.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AwaitResults {
    /// The results, in the order in which the agents are resumed.
    pub answers: Vec<AwaitResult>,
}

/// The result for one [`crate::agent_to_supervisor::AwaitRequest`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitResult {
    /// The agent.
    pub agent: AgentId,
    /// Number of earlier awaits of the same step.
    pub number: u32,
    /// The outputs in the model's order, or an error message.
    pub outcome: Arc<RequestResult>,
}
