//! Queries of the state of a machine.

use crate::record::Verdict;
use crate::tick::batch::InferenceBatch;
use crate::tick::machine::{AgentPhase, TickMachine};
use crate::tick::rounds::Round;
use crate::tick::run_end::RunEnd;
use crate::tick::version_timeline::VersionTimeline;
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, BatchId, HostId, ModelId, Tick, VersionId};
use std::collections::BTreeSet;

impl TickMachine {
    /// The verdicts on the open tick.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The outcome of an agent's step in the open tick, if it is known.
    #[must_use]
    pub fn outcome(&self, agent: AgentId) -> Option<&Outcome> {
        self.agents.get(agent.index())?.outcome.as_ref()
    }

    /// The host that steps an agent.
    ///
    /// # Panics
    /// When the plan has no such agent.
    #[must_use]
    pub fn host_of(&self, agent: AgentId) -> HostId {
        self.plan.agent(agent).host
    }

    /// True if an agent takes no further steps.
    #[must_use]
    pub fn is_halted(&self, agent: AgentId) -> bool {
        self.agents[agent.index()].halted
    }

    /// Agents that take no further steps, because a step failed or because they are quarantined.
    pub fn halted_agents(&self) -> impl Iterator<Item = AgentId> + '_ {
        let agents = (0..self.agents.len()).map(AgentId::from_index);
        agents.filter(|agent| self.is_halted(*agent))
    }

    /// True if a stop was requested.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop_requested
    }

    /// The end of the run, once it is over.
    #[must_use]
    pub fn end(&self) -> Option<&RunEnd> {
        self.end.as_ref()
    }

    /// The batches that the engine has not answered, in the order of their numbers.
    pub fn running(&self) -> impl Iterator<Item = &InferenceBatch> {
        let round = self.round.iter().flat_map(Round::running);
        let mut running: Vec<&InferenceBatch> = self.requests.running().chain(round).collect();
        running.sort_unstable_by_key(|batch| batch.id);
        running.into_iter()
    }

    /// True if the inference host has crashed over a batch that is not answered: batches are submitted one at a time
    /// then, so that the next crash tells which one it is.
    #[must_use]
    pub fn is_searching(&self) -> bool {
        self.requests.is_searching() || self.round.as_ref().is_some_and(Round::is_searching)
    }

    /// Requests, awaits or generations of a batch that is not answered.
    #[must_use]
    pub fn requests_in(&self, batch: BatchId) -> usize {
        let round = self.round.as_ref().and_then(|round| round.batch(batch));
        round.map_or_else(
            || self.requests.requests_in(batch),
            |batch| batch.members.len(),
        )
    }

    /// Crashes of the inference host over a batch that is not answered.
    #[must_use]
    pub fn crashes(&self, batch: BatchId) -> u32 {
        let round = || self.round.as_ref()?.crashes(batch);
        self.requests.crashes(batch).or_else(round).unwrap_or(0)
    }

    /// The versions of models that are needed now: those that answer requests of the open tick or the next one, and
    /// those with unanswered requests.
    #[must_use]
    pub fn needed_versions(&self) -> BTreeSet<VersionId> {
        let (now, next) = (self.tick, self.tick.next());
        let scheduled = self
            .plan
            .versions_at(now)
            .chain(self.plan.versions_at(next));
        let running = self.running().map(|batch| batch.version);
        scheduled
            .chain(running)
            .chain(self.requests.generating_versions())
            .collect()
    }

    /// The timeline of a model, as far as it is known.
    #[must_use]
    pub fn timeline(&self, model: ModelId) -> Option<&VersionTimeline> {
        Some(&self.plan.model(model)?.timeline)
    }

    /// True if any model changes during the run.
    #[must_use]
    pub fn changes_models(&self) -> bool {
        self.plan.changes_models()
    }

    /// Verdicts that changed models, with their ticks.
    #[must_use]
    pub fn plan_changes(&self) -> &[(Tick, Verdict)] {
        &self.plan_changes
    }

    /// The open tick.
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Agents of a host that were asked and have not answered.
    pub fn unanswered(&self, host: HostId) -> impl Iterator<Item = AgentId> + '_ {
        let open = move |agent: &AgentId| {
            let held = &self.agents[agent.index()];
            self.plan.agent(*agent).host == host
                && held.phase == AgentPhase::Stepping
                && held.outcome.is_none()
        };
        self.plan.order().iter().copied().filter(open)
    }
}
