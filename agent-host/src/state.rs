//! What belongs to one instance of an agent beside its memory.

use crate::effects::Effects;
use crate::fleet::Fleet;
use crate::limiter::Limiter;
use crate::random::Random;
use crate::waits::Waits;
use shm_protocol::id::{AgentId, RequestId, Tick};
use std::sync::Arc;

/// What the host functions of one instance work on.
pub(crate) struct State {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) limiter: Limiter,
    pub(crate) random: Random,
    pub(crate) effects: Effects,
    pub(crate) waits: Waits,
    /// The tick of the step, zero in `init`.
    pub(crate) tick: Tick,
    /// The number of the agent's next request.
    pub(crate) next_request: RequestId,
    /// A request did not fit its model, and the model says to stop the run then.
    pub(crate) mismatch: Option<String>,
}

impl State {
    pub(crate) fn new(fleet: Arc<Fleet>, agent: AgentId, memory_bytes: u64) -> Self {
        let random = Random::new(&fleet.setup.random_key, agent);
        let effects = Effects::new(fleet.step_bytes());
        State {
            fleet,
            limiter: Limiter::new(memory_bytes),
            random,
            effects,
            waits: Waits::default(),
            tick: Tick::ZERO,
            next_request: RequestId(0),
            mismatch: None,
        }
    }

    /// Whether `init` runs, in which an agent may only look around.
    pub(crate) fn in_init(&self) -> bool {
        self.tick == Tick::ZERO
    }
}
