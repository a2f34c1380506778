//! What is known to have been said to requests that the engine was given up on, or
//! that were under way when who ran a model was lost.
//!
//! A machine whose batches go to an engine once more needs it: they take another
//! course there, and a batch that killed the engine would kill it again.

use super::texts;
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
    /// The language models of the run, whose requests are answered piece by piece.
    generators: BTreeSet<ModelId>,
    /// Of texts that were there when the engine was given up on what was asked of their model in a tick, the piece that was
    /// ordered then.
    orders: BTreeMap<(AgentId, RequestId, Tick), Ordered>,
    /// Of texts that were under way then, the pieces that were, for each such tick.
    texts: BTreeMap<(AgentId, RequestId), Vec<PiecesUnderWay>>,
    /// Waits within steps that were answered with such a reason, by tick, agent and number.
    waits: BTreeMap<(Tick, AgentId, usize), Arc<Answer>>,
}

/// What was delivered of an order that the engine may have been given up on.
#[derive(Clone, Debug)]
enum Ordered {
    /// Nothing, or the text had no part in it.
    Nothing,
    /// What the engine said.
    Piece,
    /// That it was given up on.
    Reason(Arc<Answer>),
}

/// The pieces of a text that were ordered when who writes it was lost, or in that tick still.
#[derive(Clone, Debug)]
struct PiecesUnderWay {
    lost: Tick,
    /// When the last piece before them was delivered, or the text was asked for.
    since: Tick,
    /// The first of them, and the next one if the first came in that very tick: another was ordered at its end.
    pieces: Vec<(Tick, Arc<Answer>)>,
}

impl PiecesUnderWay {
    fn take(&mut self, tick: Tick, answer: &Arc<Answer>) {
        if tick < self.lost {
            self.since = tick;
        } else if self.pieces.iter().all(|(first, _)| *first == self.lost) && self.pieces.len() < 2
        {
            self.pieces.push((tick, Arc::clone(answer)));
        }
    }

    /// The piece that was ordered at the end of a tick.
    fn ordered(&self, tick: Tick) -> Option<Arc<Answer>> {
        if tick < self.since || tick > self.lost {
            return None;
        }
        let next = self.pieces.iter().find(|(delivered, _)| *delivered > tick);
        next.map(|(_, answer)| Arc::clone(answer))
    }
}

impl Foretold {
    /// Nothing yet of a run in which these models write texts.
    #[must_use]
    pub fn of(generators: BTreeSet<ModelId>) -> Foretold {
        Foretold {
            generators,
            ..Foretold::default()
        }
    }

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
        if self.is_empty() {
            return;
        }
        let made = outcomes.iter().flat_map(|outcome| {
            let effects = outcome.effects.iter();
            effects.map(move |effect| (outcome.agent, effect))
        });
        for (agent, effect) in made {
            if let Effect::Submit { request, model, .. } = effect {
                let losses = self.moved.range((*model, tick)..);
                let mut losses = losses.take_while(|(lost, _)| lost == model);
                if self.generators.contains(model) {
                    let given_up = self.given_up.range((*model, tick)..);
                    let given_up = given_up.take_while(|((of, _), _)| of == model);
                    let key = |(_, asked): &(ModelId, Tick)| (agent, *request, *asked);
                    let nothing = given_up.map(|(at, _)| (key(at), Ordered::Nothing));
                    self.orders.extend(nothing);
                    let pieces = |(_, lost): &(ModelId, Tick)| PiecesUnderWay {
                        lost: *lost,
                        since: tick,
                        pieces: Vec::new(),
                    };
                    let pieces: Vec<PiecesUnderWay> = losses.map(pieces).collect();
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
        let is_reason = match &*result.outcome {
            Err(reason) => self.reasons.contains(&(result.model, reason.clone())),
            Ok(_) => false,
        };
        let before = (request.0, request.1, Tick::ZERO)..(request.0, request.1, tick);
        for (_, ordered) in self.orders.range_mut(before) {
            if matches!(ordered, Ordered::Nothing) {
                *ordered = match is_reason {
                    true => Ordered::Reason(Arc::clone(&result.outcome)),
                    false => Ordered::Piece,
                };
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
        if is_reason {
            self.said.insert(request, Arc::clone(&result.outcome));
        } else if self
            .given_up
            .keys()
            .any(|(model, _)| *model == result.model)
        {
            self.answered.insert(request);
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

    /// What an order to a language model is answered, if the engine was given up on it. One of which a text got its piece
    /// is not: it is carried out, and the others are told what they were told.
    pub(super) fn of_order(
        &self,
        model: ModelId,
        asked: Tick,
        members: &[(AgentId, RequestId)],
    ) -> Option<Arc<Answer>> {
        let given_up = self.given_up.get(&(model, asked))?;
        let is_delivered = |(agent, request): &(AgentId, RequestId)| {
            let ordered = self.orders.get(&(*agent, *request, asked));
            matches!(ordered, Some(Ordered::Piece))
        };
        (!members.iter().any(is_delivered)).then(|| Arc::clone(given_up))
    }

    /// The piece of a text that is ordered at the end of a tick, whatever the engine says.
    pub(super) fn of_piece(
        &self,
        (agent, request): (AgentId, RequestId),
        tick: Tick,
    ) -> Option<Arc<Answer>> {
        if let Some(Ordered::Reason(reason)) = self.orders.get(&(agent, request, tick)) {
            return Some(Arc::clone(reason));
        }
        let text = self.texts.get(&(agent, request))?;
        text.iter().find_map(|pieces| pieces.ordered(tick))
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
