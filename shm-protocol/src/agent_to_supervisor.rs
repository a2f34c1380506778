//! Agent host to supervisor. Everything comes up through the ring, where the
//! supervisor copies it, then checks it, then uses it.

use crate::id::{AgentId, ModelId, RequestId};
use crate::tensor::Tensor;
use bincode::{Decode, Encode};
use std::sync::Arc;

/// Record kind of [`Loaded`].
pub const AGENT_LOADED: u16 = 101;
/// Record kind of [`Outcomes`].
pub const OUTCOMES: u16 = 102;
/// Record kind of [`Failure`].
pub const FAILURE: u16 = 103;
/// Record kind of [`Ready`].
pub const READY: u16 = 104;
/// Record kind of [`Parked`].
pub const AWAIT_REQUESTS: u16 = 106;

/// The first record of a host: it has attached its memory, confined itself and
/// reads commands. Both kinds of host send it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Ready {
    /// Version of the messages that the host speaks; see [`crate::codec::VERSION`].
    pub protocol: u16,
    /// Which layers of confinement hold, for people.
    pub confinement: Vec<Layer>,
}

/// A layer of confinement and whether it holds.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Layer {
    /// Its name, as in `seccomp`.
    pub name: String,
    /// `None` when it holds, otherwise why it does not.
    pub missing: Option<String>,
}

/// How loading an agent ended.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AgentLoaded {
    /// The agent.
    pub agent: AgentId,
    /// What it said while `init` ran.
    pub logs: Vec<LogLine>,
    /// Why it could not be loaded, for people.
    pub result: Result<(), String>,
    /// Why its state cannot be captured, if that is so: it is then brought back by executing all its ticks again.
    pub opaque: Option<String>,
}

/// What steps of one tick came to. The tick is in the record header.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Outcomes {
    /// One for each step of the [`crate::supervisor_to_agent::Steps`] that asked, in its order.
    pub outcomes: Vec<Outcome>,
}

/// What one step of one agent came to. This is what is journaled.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Outcome {
    /// The agent.
    pub agent: AgentId,
    /// How the step ended.
    pub status: Status,
    /// Fuel that the step used.
    pub fuel_used: u64,
    /// What the step did, in the order in which it did it. If the step failed, nothing but its log lines and what it has
    /// waited for.
    pub effects: Vec<Effect>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Status {
    /// It returned.
    Completed,
    /// It trapped; the text is wasmtime's and the same in every run.
    Trapped(String),
    /// It used up its fuel.
    OutOfFuel,
    /// A request did not fit its model and the model says `on_mismatch = "stop"`.
    Mismatch(String),
    /// It was not taken, because the agent has failed and cannot be restarted; it takes no further steps.
    Halted(String),
}

/// One effect of a step.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Effect {
    /// A message to an agent.
    Send {
        /// Who gets it.
        to: AgentId,
        /// What it says.
        payload: Vec<u8>,
    },
    /// A request to a model.
    Submit {
        /// The agent's number for it.
        request: RequestId,
        /// The model.
        model: ModelId,
        /// The inputs, in the model's order.
        inputs: Vec<Tensor>,
    },
    /// Bytes for the outside world.
    Emit {
        /// What they are about.
        topic: String,
        /// The bytes.
        payload: Vec<u8>,
    },
    /// A log line.
    Log(LogLine),
    /// A request to a model for whose answer the step has waited. The answer is not here: the supervisor gave it.
    Infer {
        /// The model.
        model: ModelId,
        /// The inputs, in the model's order.
        inputs: Arc<Vec<Tensor>>,
    },
}

/// Agents that wait within their steps of one tick, each for the answer to a request. The tick is in the record header.
/// They go on with [`crate::supervisor_to_agent::Answers`].
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AwaitRequests {
    /// One for each agent that waits now; a tick may take several such records.
    pub requests: Vec<AwaitRequest>,
}

/// What one agent waits for. Its outcome has the same in it once more, as [`Effect::Infer`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitRequest {
    /// The agent.
    pub agent: AgentId,
    /// How many waits of the same step were before it.
    pub number: u32,
    /// The model.
    pub model: ModelId,
    /// The inputs, in the model's order.
    pub inputs: Arc<Vec<Tensor>>,
}

/// A log line of an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(missing_docs, reason = "the levels are the usual ones")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The host cannot go on and says why before it exits. Both kinds of host send it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Failure {
    /// Whose fault it is.
    pub blame: Blame,
    /// What happened, where, and what to do next.
    pub message: String,
}

/// Whose fault a failure is. It decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Blame {
    /// What the user gave: exit code 2.
    Input,
    /// A strict demand that cannot be met: exit code 3.
    Demand,
    /// The machine, which does not give what it should: exit code 5. It says nothing about what a host worked on.
    Machine,
    /// Our own: exit code 70.
    Us,
}
