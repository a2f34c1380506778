//! The record of a committed tick.

use super::verdict::Verdict;
use bincode::{Decode, Encode};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, ModelId, RequestId};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::sync::Arc;

/// One committed tick. Its number is in the record around it.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct TickRecord {
    /// Inference results that reached agents in this tick, in the order of their requests.
    pub results: Vec<ResultRecord>,
    /// One outcome for each agent that was due, in schedule order.
    pub outcomes: Vec<Outcome>,
    /// Messages of this tick that found their receiver's queue full.
    pub dropped: Vec<DroppedMessages>,
    /// Verdicts on this tick: inputs of it, as results are.
    pub verdicts: Vec<Verdict>,
    /// Answers to awaits within the steps, by agents in schedule order, and of each agent in the order of its awaits:
    /// one for each [`shm_protocol::agent_to_supervisor::Effect::Infer`] of the outcomes, which have the inputs.
    pub awaited: Vec<AwaitedRecord>,
}

/// An inference result that reached an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ResultRecord {
    /// The agent that made the request.
    pub agent: AgentId,
    /// The agent's number for the request.
    pub request: RequestId,
    /// The model.
    pub model: ModelId,
    /// The outputs in the model's order, or the reason for which there are none.
    pub outcome: Arc<RequestResult>,
}

/// The answer to an await within a step.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitedRecord {
    /// The agent.
    pub agent: AgentId,
    /// The model.
    pub model: ModelId,
    /// The outputs in the model's order, or the reason for which there are none.
    pub outcome: Arc<RequestResult>,
}

/// Messages that found their receiver's queue full, or their receiver halted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DroppedMessages {
    /// The agent to which they were sent.
    pub receiver: AgentId,
    /// Their number.
    pub messages: u64,
}
