//! Messages from agent host to supervisor. All of them are records of the ring up, which the supervisor copies, then
//! checks, then uses.

use crate::exit_code;
use crate::id::{AgentId, ModelId, RequestId};
use crate::tensor::Tensor;
use bincode::{Decode, Encode};
use std::sync::Arc;

/// Record kind of [`AgentLoaded`].
pub const AGENT_LOADED: u16 = 101;
/// Record kind of [`Outcomes`].
pub const OUTCOMES: u16 = 102;
/// Record kind of [`Failure`].
pub const FAILURE: u16 = 103;
/// Record kind of [`Ready`].
pub const READY: u16 = 104;
/// Record kind of [`AwaitRequests`].
pub const AWAIT_REQUESTS: u16 = 106;

/// The first record of a host: it has attached its memory, is confined, and reads commands. Both kinds of host send it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Ready {
    /// The host's version of the messages, [`crate::codec::VERSION`].
    pub protocol: u16,
    /// The layers of confinement, for reports.
    pub confinement: Vec<Layer>,
}

/// A layer of confinement, and the reason if it does not hold.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Layer {
    /// Its name, such as `seccomp`.
    pub name: String,
    /// `None` if it holds, otherwise the reason why not.
    pub missing: Option<String>,
}

/// The result of loading an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AgentLoaded {
    /// The agent.
    pub agent: AgentId,
    /// Its log lines while `init` ran.
    pub logs: Vec<LogLine>,
    /// The error, as a message, if it could not be loaded.
    pub result: Result<(), String>,
    /// The reason why its state cannot be captured, if it cannot: after a crash, all its ticks are executed again.
    pub opaque: Option<String>,
}

/// Outcomes of steps of one tick. The tick is in the record header.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Outcomes {
    /// One for each step of a [`crate::supervisor_to_agent::Steps`], in its order.
    pub outcomes: Vec<Outcome>,
}

/// The outcome of one step of one agent. It is journaled.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Outcome {
    /// The agent.
    pub agent: AgentId,
    /// The status of the step.
    pub status: Status,
    /// Fuel that the step used.
    pub fuel_used: u64,
    /// The effects of the step, in order. Of a failed step, only its log lines and the requests that it awaited.
    pub effects: Vec<Effect>,
}

/// The status of a step.
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
    /// It was not taken, because the agent has failed and takes no further steps.
    Halted(String),
}

/// One effect of a step.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Effect {
    /// A message to an agent.
    Send {
        /// The receiver.
        to: AgentId,
        /// Its content.
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
    /// An output of the run.
    Emit {
        /// Its topic.
        topic: String,
        /// Its content.
        payload: Vec<u8>,
    },
    /// A log line.
    Log(LogLine),
    /// A request to a model whose result the step awaited. The result is not included, because the supervisor sent it.
    Infer {
        /// The model.
        model: ModelId,
        /// The inputs, in the model's order.
        inputs: Arc<Vec<Tensor>>,
    },
    /// The end of the run, after this tick.
    Finish {
        /// The reason, for people.
        reason: String,
    },
}

/// The awaits of steps of one tick. The tick is in the record header. The steps are resumed by
/// [`crate::supervisor_to_agent::AwaitResults`].
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AwaitRequests {
    /// One for each agent that awaits now. A tick may have several such records.
    pub requests: Vec<AwaitRequest>,
}

/// The request that one agent awaits. Its outcome will contain the request again, as [`Effect::Infer`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitRequest {
    /// The agent.
    pub agent: AgentId,
    /// Number of earlier awaits of the same step.
    pub number: u32,
    /// The model.
    pub model: ModelId,
    /// The inputs, in the model's order.
    pub inputs: Arc<Vec<Tensor>>,
}

/// A log line of an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// Its text.
    pub text: String,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(missing_docs, reason = "the levels are the usual ones")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The error that ends a host, sent before it exits. Both kinds of host send it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Failure {
    /// The party at fault.
    pub blame: Blame,
    /// The error, the place, and the next step.
    pub message: String,
}

/// The cause of a failure. It determines the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Blame {
    /// Bad input of the user.
    Input,
    /// A strict demand that cannot be met.
    Demand,
    /// The machine, which lacks a resource. The work of the host is not at fault.
    Machine,
    /// Lockstep itself.
    Us,
}

impl Blame {
    /// The exit code of a process that ends with such a failure.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Blame::Input => exit_code::BAD_INPUT,
            Blame::Demand => exit_code::UNMET_DEMAND,
            Blame::Machine => exit_code::MACHINE,
            Blame::Us => exit_code::INTERNAL,
        }
    }
}
