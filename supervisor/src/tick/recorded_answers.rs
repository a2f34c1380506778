//! Recorded answers of requests that the engine must not answer again: abandoned ones, and those in flight when a
//! provider was lost.
//!
//! A replay that runs the models again needs them: its batches take another course, and a request that crashed the
//! engine would crash it again.

use super::generations;
use crate::planted::{Bug, planted};
use crate::record::{ABANDONED, AwaitedRecord, RequestName, ResultRecord, Verdict};
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Recorded answers of requests that the engine must not answer again.
#[derive(Clone, Debug, Default)]
pub struct RecordedAnswers {
    /// Abandoned requests, and of generations the tick of the decode request.
    abandoned: BTreeSet<(AgentId, RequestId, Tick)>,
    /// Abandoned awaits.
    abandoned_awaits: BTreeSet<(Tick, AgentId, u32)>,
    /// Answers of requests that were in flight when a provider was lost.
    answers: BTreeMap<(AgentId, RequestId), Arc<RequestResult>>,
    /// The ticks in which a model lost its provider. Requests in flight then were answered by the old provider or the
    /// new one.
    provider_losses: BTreeSet<(ModelId, Tick)>,
    /// Requests made up to such a tick, and that tick.
    in_flight: BTreeMap<(AgentId, RequestId), Tick>,
    /// The language models of the run, whose requests are answered delta by delta.
    generators: BTreeSet<ModelId>,
    /// Of generations in flight then, the deltas in flight, for each such tick.
    generations: BTreeMap<(AgentId, RequestId), Vec<InFlightDeltas>>,
    /// Awaits of ticks in which a provider was lost, by tick, agent and number.
    awaits: BTreeMap<(Tick, AgentId, usize), Arc<RequestResult>>,
}

/// The deltas of a generation that were requested when its provider was lost, or in that tick still.
#[derive(Clone, Debug)]
struct InFlightDeltas {
    lost: Tick,
    /// The tick in which the delta before them was delivered, or the generation was requested.
    since: Tick,
    /// The first of them, and the next one if the first came in that very tick: another was requested at its end.
    deltas: Vec<(Tick, Arc<RequestResult>)>,
}

impl InFlightDeltas {
    fn take(&mut self, tick: Tick, answer: &Arc<RequestResult>) {
        if tick < self.lost {
            self.since = tick;
        } else if self.deltas.iter().all(|(first, _)| *first == self.lost) && self.deltas.len() < 2
        {
            self.deltas.push((tick, Arc::clone(answer)));
        }
    }

    /// The delta that was requested at the end of a tick.
    fn requested_in(&self, tick: Tick) -> Option<Arc<RequestResult>> {
        if tick < self.since || tick > self.lost {
            return None;
        }
        let next = self.deltas.iter().find(|(delivered, _)| *delivered > tick);
        next.map(|(_, answer)| Arc::clone(answer))
    }
}

impl RecordedAnswers {
    /// No answers yet, of a run with these language models.
    #[must_use]
    pub fn new(generators: BTreeSet<ModelId>) -> RecordedAnswers {
        RecordedAnswers {
            generators,
            ..RecordedAnswers::default()
        }
    }

    /// True if no provider was lost: results need not be added.
    #[must_use]
    pub fn needs_no_results(&self) -> bool {
        self.provider_losses.is_empty()
    }

    /// Adds a verdict of a tick. All verdicts come before the results.
    pub fn add_verdict(&mut self, tick: Tick, verdict: &Verdict) {
        match verdict {
            Verdict::ProviderLost { model, .. } => {
                self.provider_losses.insert((*model, tick));
            }
            Verdict::RequestAbandoned {
                agent,
                asked,
                request,
                ..
            } => {
                match request {
                    RequestName::Submitted(request) => {
                        self.abandoned.insert((*agent, *request, *asked))
                    }
                    RequestName::Awaited(number) => {
                        self.abandoned_awaits.insert((tick, *agent, *number))
                    }
                };
            }
            Verdict::Quarantined { .. } | Verdict::Changed { .. } => {}
        }
    }

    /// Adds the requests of a tick, after its results.
    pub fn add_requests(&mut self, tick: Tick, outcomes: &[Outcome]) {
        let made = outcomes.iter().flat_map(|outcome| {
            let effects = outcome.effects.iter();
            effects.map(move |effect| (outcome.agent, effect))
        });
        for (agent, effect) in made {
            if let Effect::Submit { request, model, .. } = effect {
                let losses = self.provider_losses.range((*model, tick)..);
                let mut losses = losses.take_while(|(lost, _)| lost == model);
                if self.generators.contains(model) {
                    let deltas = |(_, lost): &(ModelId, Tick)| InFlightDeltas {
                        lost: *lost,
                        since: tick,
                        deltas: Vec::new(),
                    };
                    let deltas: Vec<InFlightDeltas> = losses.map(deltas).collect();
                    self.generations.insert((agent, *request), deltas);
                } else if let Some((_, lost)) = losses.next() {
                    self.in_flight.insert((agent, *request), *lost);
                }
            }
        }
    }

    /// Adds a result of a tick.
    pub fn add_result(&mut self, tick: Tick, result: &ResultRecord) {
        let request = (result.agent, result.request);
        if let Some(deltas) = self.generations.get_mut(&request) {
            deltas
                .iter_mut()
                .for_each(|deltas| deltas.take(tick, &result.outcome));
            let is_over = !generations::continues(&result.outcome);
            if is_over && deltas.iter().all(|deltas| deltas.deltas.is_empty()) {
                self.generations.remove(&request);
            }
        }
        if self.generators.contains(&result.model) {
            return;
        }
        if self
            .in_flight
            .remove(&request)
            .is_some_and(|lost| lost <= tick)
        {
            self.answers.insert(request, Arc::clone(&result.outcome));
        }
    }

    /// Adds the awaits within the steps of a tick.
    pub fn add_awaits(&mut self, tick: Tick, awaited: &[AwaitedRecord]) {
        let mut numbers: BTreeMap<AgentId, usize> = BTreeMap::new();
        for record in awaited {
            let next = numbers.entry(record.agent).or_default();
            let number = std::mem::replace(next, *next + 1);
            if self.provider_losses.contains(&(record.model, tick)) {
                let key = (tick, record.agent, number);
                self.awaits.insert(key, Arc::clone(&record.outcome));
            }
        }
    }

    /// True if a request to a model other than a language model was abandoned.
    pub(super) fn is_abandoned(&self, agent: AgentId, request: RequestId) -> bool {
        let any = (agent, request, Tick::ZERO)..=(agent, request, Tick(u64::MAX));
        self.abandoned.range(any).next().is_some() && !planted(Bug::ForgetAbandoned)
    }

    /// True if a generation was abandoned over the decode request of a tick.
    pub(super) fn is_abandoned_delta(
        &self,
        (agent, request): (AgentId, RequestId),
        tick: Tick,
    ) -> bool {
        self.abandoned.contains(&(agent, request, tick))
    }

    /// The recorded delta of a generation that is requested at the end of a tick; it replaces that of the engine.
    pub(super) fn delta(
        &self,
        (agent, request): (AgentId, RequestId),
        tick: Tick,
    ) -> Option<Arc<RequestResult>> {
        let deltas = self.generations.get(&(agent, request))?;
        deltas.iter().find_map(|deltas| deltas.requested_in(tick))
    }

    /// The recorded answer of a request; it replaces that of the engine.
    pub(super) fn answer(&self, agent: AgentId, request: RequestId) -> Option<Arc<RequestResult>> {
        self.answers.get(&(agent, request)).cloned()
    }

    /// The recorded answer of an await; it replaces that of the engine.
    pub(super) fn await_answer(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<RequestResult>> {
        let name = (tick, agent, u32::try_from(number).ok()?);
        if self.abandoned_awaits.contains(&name) {
            return Some(Arc::new(Err(ABANDONED.to_owned())));
        }
        self.awaits.get(&(tick, agent, number)).cloned()
    }
}
