//! Agents and models as the tick machine sees them.

use super::version_timeline::VersionTimeline;
use crate::record::ModelSettings;
use shm_protocol::id::HostId;
use shm_protocol::supervisor_to_agent::OnFailure;
use shm_protocol::tensor::Signature;

/// An agent of the plan.
#[derive(Clone, Debug)]
pub struct PlannedAgent {
    /// The host that steps it. No outcome depends on it.
    pub host: HostId,
    /// Higher goes earlier in the schedule order.
    pub priority: i32,
    /// It is due in every tick that this divides; at least 1.
    pub every: u64,
    /// Its fate when a step fails.
    pub on_failure: OnFailure,
    /// True if it may end the run.
    pub may_finish: bool,
}

/// A model of the plan.
#[derive(Clone, Debug)]
pub struct PlannedModel {
    /// Its name, for messages.
    pub name: String,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// The version that answers in each tick, and its batching.
    pub timeline: VersionTimeline,
    /// Its settings, as the run pins them.
    pub settings: ModelSettings,
    /// The seed of the run, from which the random numbers of its generations come.
    pub seed: u64,
}
