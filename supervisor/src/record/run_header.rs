//! The run header: the first record of a journal, which defines the run.
//!
//! It is a function of the fleet, its files and the seed. What depends on the
//! machine or on a launch (the number of hosts, time limits, durability, paths)
//! stands beside the journal, never in it: two runs of one fleet with one seed
//! write the same journal, byte for byte.

use super::digest::Digest;
use super::model_change::ScheduledChange;
use super::pins::{AgentPin, EnginePin, ModelPin, VersionPin};
use bincode::{Decode, Encode};
use shm_protocol::id::{AgentId, ModelId};

/// The definition of a run: the first record of its journal.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RunHeader {
    /// Version of Lockstep.
    pub lockstep: String,
    /// Version of wasmtime, on which fuel and traps depend.
    pub wasmtime: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Seed of the run.
    pub seed: u64,
    /// True if NaN results of floating-point operations get canonical bits.
    pub canonical_nan: bool,
    /// Limit of everything that one step does, and of the results that reach it, in bytes.
    pub max_step_bytes: u64,
    /// The agents; the position is the agent's number.
    pub agents: Vec<AgentPin>,
    /// The models; the position is the model's number.
    pub models: Vec<ModelPin>,
    /// Changes of models during the run, in the order of their ticks.
    pub changes: Vec<ScheduledChange<VersionPin>>,
    /// The inference engine, if the fleet has models.
    pub engine: Option<EnginePin>,
}

impl RunHeader {
    /// BLAKE3 of the files of all versions of all models, by the numbers of the versions.
    pub fn model_files(&self) -> impl Iterator<Item = Digest> + '_ {
        let firsts = self.models.iter().map(|model| model.file);
        let later = self.changes.iter();
        let later = later.filter_map(|scheduled| scheduled.change.new_version());
        firsts.chain(later.map(|pin| pin.file))
    }

    /// The versions of a model after its first one.
    pub fn versions_of(&self, model: ModelId) -> impl Iterator<Item = &VersionPin> {
        let of_model = self
            .changes
            .iter()
            .filter(move |change| change.model == model);
        of_model.filter_map(|scheduled| scheduled.change.new_version())
    }

    /// The name of an agent, for messages.
    #[must_use]
    pub fn agent_name(&self, agent: AgentId) -> &str {
        let pin = self.agents.get(agent.index());
        pin.map_or("?", |pin| &pin.name)
    }

    /// The name of a model, for messages.
    #[must_use]
    pub fn model_name(&self, model: ModelId) -> &str {
        let pin = self.models.get(model.index());
        pin.map_or("?", |pin| &pin.name)
    }
}
