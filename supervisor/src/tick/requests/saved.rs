//! Requests in a checkpoint.

use super::{Requests, RunningBatch, TickRequests};
use crate::record::TickRecord;
use crate::tick::generations::Generations;
use crate::tick::plan::RunPlan;
use crate::tick::saved::{SavedRequests, SavedTickRequests};
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::Tick;
use std::sync::Arc;

impl Requests {
    /// The state from which [`Requests::restore`] makes these requests again.
    pub(in crate::tick) fn save(&self) -> SavedRequests {
        let source = |(tick, source): (&Tick, &TickRequests)| SavedTickRequests {
            tick: *tick,
            outcomes: requests_alone(&source.record),
            open: source.slots.iter().map(Option::is_some).collect(),
            abandoned: source.abandoned.iter().map(|at| *at as u64).collect(),
        };
        SavedRequests {
            ticks: self.ticks.iter().map(source).collect(),
            generations: self.generations.save(),
        }
    }

    /// Requests as they were saved, all unanswered: their batches have the same members as before. None when they do
    /// not fit the plan.
    pub(in crate::tick) fn restore(plan: &RunPlan, saved: SavedRequests) -> Option<Requests> {
        let mut requests = Requests::new(plan.agents());
        for source in saved.ticks {
            let record = Arc::new(TickRecord {
                outcomes: source.outcomes,
                ..TickRecord::default()
            });
            if !fits(plan, &record) {
                return None;
            }
            let abandoned = source.abandoned.iter().copied().map(usize::try_from);
            let abandoned = abandoned.collect::<Result<_, _>>().ok()?;
            requests.submit_requests(plan, source.tick, &record, abandoned);
            let slots = requests.ticks.get(&source.tick)?.slots.clone();
            if slots.len() != source.open.len() {
                return None;
            }
            let dropped = slots
                .into_iter()
                .zip(source.open)
                .filter(|(_, open)| !open)
                .filter_map(|(slot, _)| slot);
            for slot in dropped {
                if requests.slots[slot].batch.is_none() {
                    requests.slots[slot].answer = None;
                    requests.free.push(slot);
                }
                let agent = requests.slots[slot].agent;
                requests.queues[agent.index()].retain(|held| *held != slot);
                requests.slots[slot].orphaned = true;
                requests.release_request(requests.slots[slot].origin);
            }
        }
        let (generations, decode_batches) =
            Generations::restore(plan, saved.generations, &mut requests.next_batch)?;
        requests.generations = generations;
        for (batch, left) in decode_batches {
            requests
                .running
                .insert(batch.id, RunningBatch::new(batch, left));
        }
        // The answer to a batch without open members is not awaited.
        requests.drop_unwanted();
        Some(requests)
    }
}

/// The outcomes of a tick, reduced to their requests.
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

/// True if the agents and models of saved requests are those of the plan.
fn fits(plan: &RunPlan, record: &TickRecord) -> bool {
    record.outcomes.iter().all(|outcome| {
        outcome.agent.index() < plan.agents()
            && outcome.effects.iter().all(|effect| match effect {
                Effect::Submit { model, .. } => plan.model(*model).is_some(),
                _ => false,
            })
    })
}
