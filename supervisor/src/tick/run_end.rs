//! The end of a run.

use shm_protocol::id::{AgentId, Tick};

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of these fields suffice")]
pub enum RunEnd {
    /// All requested ticks are done.
    Finished,
    /// A stop was requested.
    Stopped,
    /// No agent takes any further step.
    AllHalted,
    /// An agent has ended it, which its fleet grants.
    AgentFinished {
        agent: AgentId,
        /// The reason that it gave.
        reason: String,
    },
    /// A request did not fit its model, whose `on_mismatch` is to stop.
    Mismatch {
        /// The agent that made it.
        agent: AgentId,
        tick: Tick,
        /// The ports of the model and the inputs that it got.
        text: String,
    },
}
