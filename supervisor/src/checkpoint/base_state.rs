//! The state with which a restarted host begins.

use crate::journal::JournalMark;
use shm_protocol::id::AgentId;

/// A state to begin agents with.
#[derive(Debug)]
pub struct BaseState {
    /// The mark of the journal.
    pub mark: JournalMark,
    /// The saved state of the machine.
    pub machine: Vec<u8>,
    /// The states of agents, as encoded records; agents without one begin at their first tick.
    pub states: Vec<(AgentId, Vec<Vec<u8>>)>,
}
