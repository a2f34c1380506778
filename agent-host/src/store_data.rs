//! The data of an instance's store: the part of its state that is not in its memory and globals.

use crate::awaits::Awaits;
use crate::effects::Effects;
use crate::limiter::Limiter;
use crate::random::AgentRandom;
use crate::shared_config::SharedConfig;
use shm_protocol::id::{RequestId, Tick};
use shm_protocol::supervisor_to_agent::LoadAgent;
use std::sync::Arc;

/// The data that the host functions of one instance work on.
pub(crate) struct StoreData {
    pub(crate) shared: Arc<SharedConfig>,
    pub(crate) limiter: Limiter,
    pub(crate) random: AgentRandom,
    pub(crate) effects: Effects,
    pub(crate) awaits: Awaits,
    /// The tick of the step, zero in `init`.
    pub(crate) tick: Tick,
    /// True if the fleet file grants the agent to end the run.
    pub(crate) may_finish: bool,
    /// Number of the agent's next request.
    pub(crate) next_request: RequestId,
    /// A request did not fit its model, and the model's `on_mismatch` stops the run.
    pub(crate) mismatch: Option<String>,
}

impl StoreData {
    pub(crate) fn new(shared: Arc<SharedConfig>, load: &LoadAgent) -> Self {
        let random = AgentRandom::new(&shared.random_key, load.agent);
        let effects = Effects::new(shared.max_step_bytes);
        StoreData {
            shared,
            limiter: Limiter::new(load.memory_bytes),
            random,
            effects,
            awaits: Awaits::default(),
            tick: Tick::ZERO,
            may_finish: load.may_finish,
            next_request: RequestId(0),
            mismatch: None,
        }
    }

    /// True while `init` runs, in which calls with effects are refused.
    pub(crate) fn in_init(&self) -> bool {
        self.tick == Tick::ZERO
    }
}
