//! Answers that a journal tells of requests which the engine is not to answer once more: those that were abandoned,
//! and those that were under way when a provider was lost.
//!
//! A machine whose batches go to an engine once more needs it: they take another
//! course there, and a request that crashed the engine would crash it again.

use super::generations as texts;
use crate::planted::{Bug, planted};
use crate::record::{ABANDONED, AwaitedRecord, RequestName, ResultRecord, Verdict};
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a journal says of requests that an engine is not to answer once more.
#[derive(Clone, Debug, Default)]
pub struct RecordedAnswers {
    /// Requests that were abandoned, and of generations the tick of the decode request.
    abandoned: BTreeSet<(AgentId, RequestId, Tick)>,
    /// Awaits that were abandoned.
    abandoned_awaits: BTreeSet<(Tick, AgentId, u32)>,
    /// Requests that were answered by one provider or the other, and how.
    said: BTreeMap<(AgentId, RequestId), Arc<RequestResult>>,
    /// When who ran a model was lost. What was under way then was answered by one or the other, and nobody knows by whom.
    moved: BTreeSet<(ModelId, Tick)>,
    /// Requests that were made up to such a tick, and that tick.
    under_way: BTreeMap<(AgentId, RequestId), Tick>,
    /// The language models of the run, whose requests are answered piece by piece.
    generators: BTreeSet<ModelId>,
    /// Of texts that were under way then, the pieces that were, for each such tick.
    texts: BTreeMap<(AgentId, RequestId), Vec<InFlightDeltas>>,
    /// Awaits of ticks in which a provider was lost, by tick, agent and number.
    waits: BTreeMap<(Tick, AgentId, usize), Arc<RequestResult>>,
}

/// The pieces of a text that were ordered when who writes it was lost, or in that tick still.
#[derive(Clone, Debug)]
struct InFlightDeltas {
    lost: Tick,
    /// When the last piece before them was delivered, or the text was asked for.
    since: Tick,
    /// The first of them, and the next one if the first came in that very tick: another was ordered at its end.
    pieces: Vec<(Tick, Arc<RequestResult>)>,
}

impl InFlightDeltas {
    fn take(&mut self, tick: Tick, answer: &Arc<RequestResult>) {
        if tick < self.lost {
            self.since = tick;
        } else if self.pieces.iter().all(|(first, _)| *first == self.lost) && self.pieces.len() < 2
        {
            self.pieces.push((tick, Arc::clone(answer)));
        }
    }

    /// The piece that was ordered at the end of a tick.
    fn ordered(&self, tick: Tick) -> Option<Arc<RequestResult>> {
        if tick < self.since || tick > self.lost {
            return None;
        }
        let next = self.pieces.iter().find(|(delivered, _)| *delivered > tick);
        next.map(|(_, answer)| Arc::clone(answer))
    }
}

impl RecordedAnswers {
    /// Nothing yet of a run in which these models write texts.
    #[must_use]
    pub fn of(generators: BTreeSet<ModelId>) -> RecordedAnswers {
        RecordedAnswers {
            generators,
            ..RecordedAnswers::default()
        }
    }

    /// Whether no provider was lost, so that results need not be taken in.
    #[must_use]
    pub fn needs_no_results(&self) -> bool {
        self.moved.is_empty()
    }

    /// Takes in a verdict of a tick. All of them come before the results.
    pub fn verdict(&mut self, tick: Tick, verdict: &Verdict) {
        match verdict {
            Verdict::ProviderLost { model, .. } => {
                self.moved.insert((*model, tick));
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

    /// Takes in what was asked in a tick, after the results of that tick.
    pub fn asked(&mut self, tick: Tick, outcomes: &[Outcome]) {
        let made = outcomes.iter().flat_map(|outcome| {
            let effects = outcome.effects.iter();
            effects.map(move |effect| (outcome.agent, effect))
        });
        for (agent, effect) in made {
            if let Effect::Submit { request, model, .. } = effect {
                let losses = self.moved.range((*model, tick)..);
                let mut losses = losses.take_while(|(lost, _)| lost == model);
                if self.generators.contains(model) {
                    let pieces = |(_, lost): &(ModelId, Tick)| InFlightDeltas {
                        lost: *lost,
                        since: tick,
                        pieces: Vec::new(),
                    };
                    let pieces: Vec<InFlightDeltas> = losses.map(pieces).collect();
                    self.texts.insert((agent, *request), pieces);
                } else if let Some((_, lost)) = losses.next() {
                    self.under_way.insert((agent, *request), *lost);
                }
            }
        }
    }

    /// Takes in a result of a tick.
    pub fn result(&mut self, tick: Tick, result: &ResultRecord) {
        let request = (result.agent, result.request);
        if let Some(text) = self.texts.get_mut(&request) {
            text.iter_mut()
                .for_each(|pieces| pieces.take(tick, &result.outcome));
            let is_over = !texts::goes_on(&result.outcome);
            if is_over && text.iter().all(|pieces| pieces.pieces.is_empty()) {
                self.texts.remove(&request);
            }
        }
        if self.generators.contains(&result.model) {
            return;
        }
        if self
            .under_way
            .remove(&request)
            .is_some_and(|lost| lost <= tick)
        {
            self.said.insert(request, Arc::clone(&result.outcome));
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
            }
        }
    }

    /// Whether a request to anything but a language model was abandoned.
    pub(super) fn is_abandoned(&self, agent: AgentId, request: RequestId) -> bool {
        let any = (agent, request, Tick::ZERO)..=(agent, request, Tick(u64::MAX));
        self.abandoned.range(any).next().is_some() && !planted(Bug::ForgetAbandoned)
    }

    /// Whether a text was abandoned over what was ordered of it at the end of a tick.
    pub(super) fn is_abandoned_order(
        &self,
        (agent, request): (AgentId, RequestId),
        tick: Tick,
    ) -> bool {
        self.abandoned.contains(&(agent, request, tick))
    }

    /// The piece of a text that is ordered at the end of a tick, whatever the engine says.
    pub(super) fn of_piece(
        &self,
        (agent, request): (AgentId, RequestId),
        tick: Tick,
    ) -> Option<Arc<RequestResult>> {
        let text = self.texts.get(&(agent, request))?;
        text.iter().find_map(|pieces| pieces.ordered(tick))
    }

    /// What a request is answered, whatever the engine says.
    pub(super) fn of_request(
        &self,
        agent: AgentId,
        request: RequestId,
    ) -> Option<Arc<RequestResult>> {
        self.said.get(&(agent, request)).cloned()
    }

    /// What a wait is answered, whatever the engine says.
    pub(super) fn of_wait(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<RequestResult>> {
        let name = (tick, agent, u32::try_from(number).ok()?);
        if self.abandoned_awaits.contains(&name) {
            return Some(Arc::new(Err(ABANDONED.to_owned())));
        }
        self.waits.get(&(tick, agent, number)).cloned()
    }
}
