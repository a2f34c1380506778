//! Protocol violations of hosts. None can come from a sound host, whatever its agents or models do, so each ends that
//! host.

use shm_protocol::id::{AgentId, BatchId, HostId, ModelId, RequestId, Tick};
use thiserror::Error;

/// An input that cannot have come from a sound host.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum Violation {
    /// An answer for a tick that is not open.
    #[error("host {host} answers tick {answered} while tick {open} is open")]
    WrongTick {
        host: HostId,
        answered: Tick,
        open: Tick,
    },
    /// An answer for an agent that was not asked, or was asked elsewhere.
    #[error("host {host} answers for agent {agent} in tick {tick}, which it was not asked to step")]
    NotStepping {
        host: HostId,
        agent: AgentId,
        tick: Tick,
    },
    /// A message to an agent that does not exist.
    #[error("agent {agent} sends to agent {to} in tick {tick}; there are {agents} agents")]
    NoSuchReceiver {
        agent: AgentId,
        to: AgentId,
        agents: usize,
        tick: Tick,
    },
    /// A request to a model that does not exist.
    #[error("agent {agent} asks model {model} in tick {tick}, which does not exist")]
    NoSuchModel {
        agent: AgentId,
        model: ModelId,
        tick: Tick,
    },
    /// A request out of its agent's order.
    #[error("agent {agent} makes request {request} in tick {tick}, but {expected} is next")]
    RequestOrder {
        agent: AgentId,
        request: RequestId,
        expected: RequestId,
        tick: Tick,
    },
    /// An end of the run by an agent to which the fleet does not grant it.
    #[error("agent {agent} ends the run in tick {tick}, which its fleet does not grant")]
    FinishNotGranted { agent: AgentId, tick: Tick },
    /// An await out of its step's order, or one more than a step may have.
    #[error(
        "agent {agent} waits in tick {tick} with number {number}, but {expected} is next, or none"
    )]
    AwaitOrder {
        agent: AgentId,
        number: u32,
        expected: u32,
        tick: Tick,
    },
    /// An outcome that names another await than the one that was answered, or one that never was.
    #[error(
        "agent {agent} has not waited in tick {tick} for what its outcome says (wait {number})"
    )]
    AwaitMismatch {
        agent: AgentId,
        number: u32,
        tick: Tick,
    },
    /// A request that its host should have refused.
    #[error(
        "agent {agent} makes a request in tick {tick} that does not fit model {model}: {reason}"
    )]
    BadRequest {
        agent: AgentId,
        tick: Tick,
        model: String,
        reason: String,
    },
    /// An answer to a batch that is not running.
    #[error("the engine answers batch {batch}, which is not running")]
    NoSuchBatch { batch: BatchId },
    /// Outputs that do not fit the model.
    #[error("the engine answers batch {batch} of model {model} with {reason}")]
    BadAnswer {
        batch: BatchId,
        model: String,
        reason: String,
    },
    /// The journal holds a result that was not requested.
    #[error(
        "the journal has a result of request {request} for agent {agent} in tick {tick}, which was not asked for"
    )]
    NotRequested {
        agent: AgentId,
        request: RequestId,
        tick: Tick,
    },
}
