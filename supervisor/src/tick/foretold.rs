//! What is known to have been said to requests that the engine was given up on, or
//! that were under way when who ran a model was lost.
//!
//! A machine whose batches go to an engine once more needs it: they take another
//! course there, and a batch that killed the engine would kill it again.

use crate::journal::record::{AwaitedRecord, ResultRecord, Verdict};
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::Answer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a journal says of requests that an engine is not to answer once more.
#[derive(Clone, Debug, Default)]
pub struct Foretold {
    /// The verdicts, by what was asked.
    given_up: BTreeMap<(ModelId, Tick), Arc<Answer>>,
    reasons: BTreeSet<(ModelId, String)>,
    /// Requests that were answered with such a reason.
    said: BTreeMap<(AgentId, RequestId), Arc<Answer>>,
    /// Requests of the same models that the engine has answered.
    answered: BTreeSet<(AgentId, RequestId)>,
    /// When who ran a model was lost. What was under way then was answered by one or the other, and nobody knows by whom.
    moved: BTreeSet<(ModelId, Tick)>,
    /// Requests that were made up to such a tick, and that tick.
    under_way: BTreeMap<(AgentId, RequestId), Tick>,
    /// Waits within steps that were answered with such a reason, by tick, agent and number.
    waits: BTreeMap<(Tick, AgentId, usize), Arc<Answer>>,
}

impl Foretold {
    /// Whether nothing was given up or lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given_up.is_empty() && self.moved.is_empty()
    }

    /// Takes in a verdict of a tick. All of them come before the results.
    pub fn verdict(&mut self, tick: Tick, verdict: &Verdict) {
        if let Verdict::ProviderLost { model, .. } = verdict {
            self.moved.insert((*model, tick));
        }
        if let Verdict::Unanswered {
            model,
            asked,
            reason,
        } = verdict
        {
            let answer = Arc::new(Err(reason.clone()));
            self.given_up.insert((*model, *asked), answer);
            self.reasons.insert((*model, reason.clone()));
        }
    }

    /// Takes in what was asked in a tick, after the results of that tick.
    pub fn asked(&mut self, tick: Tick, outcomes: &[Outcome]) {
        if self.moved.is_empty() {
            return;
        }
        let made = outcomes.iter().flat_map(|outcome| {
            let effects = outcome.effects.iter();
            effects.map(move |effect| (outcome.agent, effect))
        });
        for (agent, effect) in made {
            if let Effect::Submit { request, model, .. } = effect {
                let losses = self.moved.range((*model, tick)..);
                let next = losses.take_while(|(lost, _)| lost == model).next();
                if let Some((_, lost)) = next {
                    self.under_way.insert((agent, *request), *lost);
                }
            }
        }
    }

    /// Takes in a result of a tick.
    pub fn result(&mut self, tick: Tick, result: &ResultRecord) {
        let request = (result.agent, result.request);
        if self
            .under_way
            .remove(&request)
            .is_some_and(|lost| lost <= tick)
        {
            self.said.insert(request, Arc::clone(&result.outcome));
        }
        match &*result.outcome {
            Err(reason) if self.reasons.contains(&(result.model, reason.clone())) => {
                self.said.insert(request, Arc::clone(&result.outcome));
            }
            _ if self
                .given_up
                .keys()
                .any(|(model, _)| *model == result.model) =>
            {
                self.answered.insert(request);
            }
            _ => {}
        }
    }

    /// Takes in what was awaited within the steps of a tick.
    pub fn awaited(&mut self, tick: Tick, awaited: &[AwaitedRecord]) {
        let mut numbers: BTreeMap<AgentId, usize> = BTreeMap::new();
        for record in awaited {
            let next = numbers.entry(record.agent).or_default();
            let number = std::mem::replace(next, *next + 1);
            if self.moved.contains(&(record.model, tick)) {
                let wait = (tick, record.agent, number);
                self.waits.insert(wait, Arc::clone(&record.outcome));
                continue;
            }
            let is_given_up = self.given_up.contains_key(&(record.model, tick));
            if is_given_up
                && let Err(reason) = &*record.outcome
                && self.reasons.contains(&(record.model, reason.clone()))
            {
                let wait = (tick, record.agent, number);
                self.waits.insert(wait, Arc::clone(&record.outcome));
            }
        }
    }

    /// What a batch with these members is answered, if the engine was given up on it.
    ///
    /// One of which a member got the engine's answer before is not: it is run, for that member alone. One of which no
    /// member was told anything may be one, and nobody will know the difference: who asked takes no further step.
    pub(super) fn of_batch(
        &self,
        model: ModelId,
        asked: Tick,
        mut members: impl Iterator<Item = (AgentId, RequestId)>,
    ) -> Option<Arc<Answer>> {
        let given_up = self.given_up.get(&(model, asked))?;
        let is_answered = members.any(|member| self.answered.contains(&member));
        (!is_answered).then(|| Arc::clone(given_up))
    }

    /// What an order to a language model is answered, if the engine was given up on it: one text of it at least was told so.
    pub(super) fn of_order(
        &self,
        model: ModelId,
        asked: Tick,
        members: &[(AgentId, RequestId)],
    ) -> Option<Arc<Answer>> {
        let given_up = self.given_up.get(&(model, asked))?;
        let is_told = members.iter().any(|member| self.said.contains_key(member));
        is_told.then(|| Arc::clone(given_up))
    }

    /// What a request is answered, whatever the engine says.
    pub(super) fn of_request(&self, agent: AgentId, request: RequestId) -> Option<Arc<Answer>> {
        self.said.get(&(agent, request)).cloned()
    }

    /// What a wait is answered, whatever the engine says.
    pub(super) fn of_wait(&self, tick: Tick, agent: AgentId, number: usize) -> Option<Arc<Answer>> {
        self.waits.get(&(tick, agent, number)).cloned()
    }
}
