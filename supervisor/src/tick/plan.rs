//! What is known of a run before it begins: who steps where and when, what the
//! models take and give, and which of their versions answer when.

use super::order::schedule_order;
use super::version_timeline::{VersionSpan, VersionTimeline};
use shm_protocol::generation::Generator;
use shm_protocol::id::{AgentId, HostId, ModelId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::OnFailure;
use shm_protocol::tensor::Signature;

/// What the machine needs to know of an agent.
#[derive(Clone, Debug)]
pub struct PlannedAgent {
    /// The host that steps it. No outcome depends on it.
    pub host: HostId,
    /// Higher goes earlier in the schedule order.
    pub priority: i32,
    /// It is due in every tick that this divides; at least 1.
    pub every: u64,
    /// What becomes of it when a step fails.
    pub on_failure: OnFailure,
}

/// What the machine needs to know of a model.
#[derive(Clone, Debug)]
pub struct PlannedModel {
    /// Its name, for messages.
    pub name: String,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// Which version answers when, and whether rows of several requests may be joined.
    pub lives: VersionTimeline,
    /// Most rows of one batch.
    pub max_batch: u64,
    /// Ticks from request to result; at least 1.
    pub latency_ticks: u64,
    /// Whether numbers that are not finite are refused, on the way there and back.
    pub rejects_nonfinite: bool,
    /// How it writes, if it is a language model.
    pub generator: Option<PlannedGenerator>,
}

/// How a language model writes.
#[derive(Clone, Copy, Debug)]
pub struct PlannedGenerator {
    /// What its host is told too.
    pub how: Generator,
    /// Where the random numbers of its texts come from: the seed of the run.
    pub seed: u64,
}

/// What is known of a run before it begins, and what verdicts have changed of it.
#[derive(Clone, Debug)]
pub struct RunPlan {
    agents: Vec<PlannedAgent>,
    models: Vec<PlannedModel>,
    order: Vec<AgentId>,
    hosts: usize,
    step_bytes: usize,
}

impl RunPlan {
    /// A plan over these agents and models, each at the position of its number.
    ///
    /// `step_bytes` bounds what reaches an agent in one step, messages and results each.
    #[must_use]
    pub fn new(agents: Vec<PlannedAgent>, models: Vec<PlannedModel>, step_bytes: usize) -> RunPlan {
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
            step_bytes,
        }
    }

    /// The agents in schedule order.
    #[must_use]
    pub fn order(&self) -> &[AgentId] {
        &self.order
    }

    /// How many agents there are.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// How many agent hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts
    }

    /// Most bytes that reach an agent in one step, messages and results each.
    #[must_use]
    pub fn step_bytes(&self) -> usize {
        self.step_bytes
    }

    /// An agent of the fleet.
    #[must_use]
    pub fn agent(&self, agent: AgentId) -> &PlannedAgent {
        &self.agents[agent.index()]
    }

    /// The language models, in the order of their numbers.
    pub fn generators(&self) -> impl Iterator<Item = (ModelId, &PlannedGenerator)> {
        let models = self.models.iter().enumerate();
        models.filter_map(|(number, model)| {
            Some((ModelId::from_index(number), model.generator.as_ref()?))
        })
    }

    /// What a version is from a tick on, after who ran it was lost.
    pub(super) fn moved(&mut self, model: ModelId, version: VersionId, from: Tick, joined: bool) {
        if let Some(planned) = self.models.get_mut(model.index()) {
            planned.lives.rejoin(version, from, joined);
        }
    }

    /// What a model is from a tick on, after somebody has changed it. Whether rows may be joined is as it was with that
    /// version, unless it is said.
    pub(super) fn changed(
        &mut self,
        model: ModelId,
        version: Option<VersionId>,
        from: Tick,
        joined: Option<bool>,
    ) {
        if let Some(planned) = self.models.get_mut(model.index()) {
            let joined = joined.unwrap_or_else(|| planned.lives.joins(version));
            planned.lives.change(VersionSpan {
                from,
                version,
                joined,
            });
        }
    }

    /// Whether any model ever changes.
    #[must_use]
    pub fn changes_models(&self) -> bool {
        self.models.iter().any(|model| model.lives.changes())
    }

    /// The versions that answer requests of a tick.
    pub fn versions_at(&self, tick: Tick) -> impl Iterator<Item = VersionId> + '_ {
        let version = move |model: &PlannedModel| model.lives.at(tick).version;
        self.models.iter().filter_map(version)
    }

    /// Whether a number is that of a language model.
    #[must_use]
    pub fn is_generator(&self, model: ModelId) -> bool {
        self.model(model)
            .is_some_and(|model| model.generator.is_some())
    }

    /// A model of the fleet, if the number is one.
    #[must_use]
    pub fn model(&self, model: ModelId) -> Option<&PlannedModel> {
        self.models.get(model.index())
    }
}
