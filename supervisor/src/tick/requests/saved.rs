//! What of requests is kept with a checkpoint.

use super::{Requests, Running, Slot, Source, release};
use crate::journal::record::TickRecord;
use crate::tick::plan::Plan;
use crate::tick::saved::{SavedRequests, SavedSource};
use crate::tick::texts::Texts;
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::Tick;
use shm_protocol::supervisor_to_agent::Answer;
use std::sync::Arc;

impl Requests {
    /// Everything from which [`Requests::restore`] makes these requests again.
    pub(in crate::tick) fn save(&self) -> SavedRequests {
        let source = |(tick, source): (&Tick, &Source)| SavedSource {
            tick: *tick,
            outcomes: requests_alone(&source.record),
            open: source.slots.iter().map(Option::is_some).collect(),
            given_up: self.given_up_of(source),
        };
        SavedRequests {
            sources: self.sources.iter().map(source).collect(),
            texts: self.texts.save(),
        }
    }

    /// The requests of a tick that were given up, by their position, and why.
    fn given_up_of(&self, source: &Source) -> Vec<(u64, String)> {
        let slots = source.slots.iter().flatten();
        let given_up = slots
            .map(|slot| &self.slots[*slot])
            .filter(|held| held.given_up);
        let reason = |held: &Slot| match held.answer.as_deref() {
            Some(Err(reason)) => Some((held.asked.1 as u64, reason.clone())),
            _ => None,
        };
        given_up.filter_map(reason).collect()
    }

    /// Requests as they were saved, but that none is answered by the engine: their batches have the same members as before. None
    /// when they do not fit the plan.
    pub(in crate::tick) fn restore(plan: &Plan, saved: SavedRequests) -> Option<Requests> {
        let mut requests = Requests::new(plan.agents());
        for source in saved.sources {
            let record = Arc::new(TickRecord {
                outcomes: source.outcomes,
                ..TickRecord::default()
            });
            if !fits(plan, &record) {
                return None;
            }
            requests.submit_plain(plan, source.tick, &record);
            let slots = requests.sources.get(&source.tick)?.slots.clone();
            if slots.len() != source.open.len() {
                return None;
            }
            for (position, reason) in source.given_up {
                let slot = (*slots.get(usize::try_from(position).ok()?)?)?;
                let held = &mut requests.slots[slot];
                let answer: Arc<Answer> = Arc::new(Err(reason));
                (held.answer, held.given_up, held.batch) = (Some(answer), true, None);
            }
            let gone = slots
                .into_iter()
                .zip(source.open)
                .filter(|(_, open)| !open)
                .filter_map(|(slot, _)| slot);
            for slot in gone {
                let agent = requests.slots[slot].agent;
                requests.queues[agent.index()].retain(|held| *held != slot);
                requests.slots[slot].orphaned = true;
                requests.settle(requests.slots[slot].asked);
            }
        }
        let (texts, orders) = Texts::restore(plan, saved.texts, &mut requests.next_batch)?;
        requests.texts = texts;
        for (batch, left) in orders {
            requests.running.insert(batch.id, Running { batch, left });
        }
        // Nobody waits for what a batch without open members would give.
        let Requests {
            running,
            slots,
            free,
            texts,
            ..
        } = &mut requests;
        running.retain(|id, running| {
            if running.batch.is_order() {
                return texts.wants(*id);
            }
            let mut members = running.batch.members.iter();
            let is_open = members.any(|member| {
                let held = &slots[member.slot];
                !held.orphaned && !held.given_up
            });
            if !is_open {
                release(&running.batch, slots, free);
            }
            is_open
        });
        Some(requests)
    }
}

/// The outcomes of a tick, with nothing in them but requests.
fn requests_alone(record: &TickRecord) -> Vec<Outcome> {
    let is_request = |effect: &&Effect| matches!(effect, Effect::Submit { .. });
    let alone = |outcome: &Outcome| Outcome {
        effects: outcome.effects.iter().filter(is_request).cloned().collect(),
        status: Status::Completed,
        ..*outcome
    };
    record
        .outcomes
        .iter()
        .filter(|outcome| outcome.effects.iter().any(|effect| is_request(&effect)))
        .map(alone)
        .collect()
}

/// Whether the agents and models of saved requests are those of the plan.
fn fits(plan: &Plan, record: &TickRecord) -> bool {
    record.outcomes.iter().all(|outcome| {
        outcome.agent.index() < plan.agents()
            && outcome.effects.iter().all(|effect| match effect {
                Effect::Submit { model, .. } => plan.model(*model).is_some(),
                _ => false,
            })
    })
}
