//! The plan of a run: its agents, its models with the timelines of their versions, and its limits.

use super::order::schedule_order;
use super::planned::{PlannedAgent, PlannedModel};
use super::version_timeline::VersionSpan;
use shm_protocol::generation::Generator;
use shm_protocol::id::{AgentId, ModelId, Tick, VersionId};

/// The plan of a run, with the changes that verdicts made.
#[derive(Clone, Debug)]
pub struct RunPlan {
    agents: Vec<PlannedAgent>,
    models: Vec<PlannedModel>,
    order: Vec<AgentId>,
    hosts: usize,
    max_step_bytes: usize,
}

impl RunPlan {
    /// A plan over these agents and models, each at the position of its number.
    ///
    /// `max_step_bytes` bounds what reaches an agent in one step, messages and results each.
    #[must_use]
    pub fn new(
        agents: Vec<PlannedAgent>,
        models: Vec<PlannedModel>,
        max_step_bytes: usize,
    ) -> RunPlan {
        let order = schedule_order(&agents);
        let hosts = agents
            .iter()
            .map(|agent| agent.host.index() + 1)
            .max()
            .unwrap_or(0);
        RunPlan {
            agents,
            models,
            order,
            hosts,
            max_step_bytes,
        }
    }

    /// The agents in schedule order.
    #[must_use]
    pub fn order(&self) -> &[AgentId] {
        &self.order
    }

    /// The number of agents.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// The number of agent hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// Limit of the bytes that reach an agent in one step, messages and results each.
    #[must_use]
    pub fn max_step_bytes(&self) -> usize {
        self.max_step_bytes
    }

    /// An agent of the fleet.
    #[must_use]
    pub fn agent(&self, agent: AgentId) -> &PlannedAgent {
        &self.agents[agent.index()]
    }

    /// The language models, in the order of their numbers, with the settings and the seed of their generations.
    pub fn generators(&self) -> impl Iterator<Item = (ModelId, &Generator, u64)> {
        let models = self.models.iter().enumerate();
        models.filter_map(|(number, model)| {
            let generator = model.settings.generator.as_ref()?;
            Some((ModelId::from_index(number), generator, model.seed))
        })
    }

    /// Sets the batching of a version from a tick on, after the loss of its provider.
    pub(super) fn set_batching(
        &mut self,
        model: ModelId,
        version: VersionId,
        from: Tick,
        is_batched: bool,
    ) {
        if let Some(planned) = self.models.get_mut(model.index()) {
            planned.timeline.set_batching(version, from, is_batched);
        }
    }

    /// Sets the version of a model from a tick on, after a model change. Its batching is as it was with that version,
    /// unless it is given.
    pub(super) fn set_version(
        &mut self,
        model: ModelId,
        version: Option<VersionId>,
        from: Tick,
        is_batched: Option<bool>,
    ) {
        if let Some(planned) = self.models.get_mut(model.index()) {
            let is_batched = is_batched.unwrap_or_else(|| planned.timeline.is_batched(version));
            planned.timeline.insert(VersionSpan {
                from,
                version,
                is_batched,
            });
        }
    }

    /// True if any model changes during the run.
    #[must_use]
    pub fn changes_models(&self) -> bool {
        self.models.iter().any(|model| model.timeline.changes())
    }

    /// The versions that answer requests of a tick.
    pub fn versions_at(&self, tick: Tick) -> impl Iterator<Item = VersionId> + '_ {
        let version = move |model: &PlannedModel| model.timeline.at(tick).version;
        self.models.iter().filter_map(version)
    }

    /// True for a language model.
    #[must_use]
    pub fn is_generator(&self, model: ModelId) -> bool {
        self.model(model)
            .is_some_and(|model| model.settings.generator.is_some())
    }

    /// A model of the fleet, if the number is one.
    #[must_use]
    pub fn model(&self, model: ModelId) -> Option<&PlannedModel> {
        self.models.get(model.index())
    }
}
