//! The state of a machine in a checkpoint: everything that the later ticks of the journal cannot give again.

use super::generations::SavedGenerations;
use crate::record::Verdict;
use bincode::{Decode, Encode};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{RequestId, Tick};
use shm_protocol::supervisor_to_agent::AgentEvent;
use shm_protocol::{codec, limit};

/// A machine between two ticks.
#[derive(Debug, Encode, Decode)]
pub(super) struct SavedMachine {
    /// The last closed tick.
    pub(super) tick: Tick,
    pub(super) agents: Vec<SavedAgent>,
    pub(super) requests: SavedRequests,
    /// Verdicts that have changed the plan, with their ticks.
    pub(super) plan_changes: Vec<(Tick, Verdict)>,
}

/// An agent between two ticks.
#[derive(Debug, Encode, Decode)]
pub(super) struct SavedAgent {
    pub(super) halted: bool,
    pub(super) next_request: RequestId,
    /// Requests of it that were abandoned.
    pub(super) abandoned: u32,
    pub(super) inbox: Vec<AgentEvent>,
}

/// Requests whose results were not delivered. Answers of the engine are not saved: the same batch gives the same answer
/// again.
#[derive(Debug, Default, Encode, Decode)]
pub(super) struct SavedRequests {
    /// In the order of their ticks.
    pub(super) ticks: Vec<SavedTickRequests>,
    pub(super) generations: SavedGenerations,
}

/// The requests of one tick.
#[derive(Debug, Encode, Decode)]
pub(super) struct SavedTickRequests {
    pub(super) tick: Tick,
    /// The outcomes that made them, with nothing in them but requests.
    pub(super) outcomes: Vec<Outcome>,
    /// For each request in the tick's order, true if its result is awaited. The others are saved because they are part
    /// of a batch.
    pub(super) open: Vec<bool>,
    /// Positions of those that a verdict has abandoned, and that are in no batch any more.
    pub(super) abandoned: Vec<u64>,
}

impl SavedMachine {
    pub(super) fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<SavedMachine> {
        codec::decode::<SavedMachine, { limit::TICK_RECORD_BYTES }>(bytes).ok()
    }
}
