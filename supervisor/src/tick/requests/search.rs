//! The search for the request that crashes the inference host.
//!
//! A batch over which the host has crashed twice is divided into halves, and each half is tried alone, until a request
//! crashes it alone. That one is abandoned, and the others are answered: an answer does not depend on the rest of the
//! batch. Halves count the crashes of the whole as their own.

use super::{RequestSlot, Requests, RunningBatch};
use crate::planted::{Bug, planted};
use crate::record::ABANDONED;
use crate::tick::batch::{InferenceBatch, Member};
use shm_protocol::id::{AgentId, BatchId};
use std::sync::Arc;

/// Crashes over a batch of several requests until it is divided.
const CRASHES_UNTIL_DIVIDED: u32 = 2;

/// The next step of the search, after a crash over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tick) enum SearchStep {
    /// The batch is tried again, alone.
    Retry,
    /// The batch is divided.
    Divide,
    /// The one request of the batch is abandoned.
    Abandon,
}

impl SearchStep {
    /// The step after this number of crashes over a batch. A single request is abandoned after `max_crashes`.
    pub(in crate::tick) fn after(crashes: u32, members: usize, max_crashes: u32) -> SearchStep {
        if members > 1 && crashes >= CRASHES_UNTIL_DIVIDED {
            match planted(Bug::AbandonWholeBatch) {
                true => SearchStep::Abandon,
                false => SearchStep::Divide,
            }
        } else if members <= 1 && crashes >= max_crashes {
            SearchStep::Abandon
        } else {
            SearchStep::Retry
        }
    }
}

impl Requests {
    /// Counts a crash of the host over a batch; a request that crashes it alone is abandoned after `max_crashes`. Gives
    /// the agents whose requests are answered by that.
    pub(in crate::tick) fn count_crash(
        &mut self,
        batch: BatchId,
        max_crashes: u32,
    ) -> Vec<AgentId> {
        let Some(running) = self.running.get_mut(&batch) else {
            return Vec::new();
        };
        running.crashes += 1;
        let crashes = running.crashes;
        match SearchStep::after(crashes, self.requests_in(batch), max_crashes) {
            SearchStep::Retry => Vec::new(),
            SearchStep::Divide => {
                self.divide(batch);
                Vec::new()
            }
            SearchStep::Abandon => self.abandon(batch),
        }
    }

    /// Drops the batches that are not awaited any more: they are not submitted again.
    pub(in crate::tick) fn drop_unwanted(&mut self) {
        let running = self.running.keys().copied();
        let unwanted: Vec<BatchId> = running.filter(|batch| !self.is_wanted(*batch)).collect();
        for batch in unwanted {
            self.abandon(batch);
        }
    }

    /// True if a batch is awaited.
    fn is_wanted(&self, batch: BatchId) -> bool {
        let Some(running) = self.running.get(&batch) else {
            return false;
        };
        if running.batch.is_decode_request() {
            return self.generations.awaits(batch);
        }
        let mut slots = running
            .batch
            .members
            .iter()
            .map(|member| &self.slots[member.slot]);
        slots.any(|held| held.batch == Some(batch) && !held.orphaned)
    }

    /// An unanswered batch.
    pub(in crate::tick) fn batch(&self, batch: BatchId) -> Option<&InferenceBatch> {
        Some(&self.running.get(&batch)?.batch)
    }

    /// The number of requests of a batch, or of generations of a decode request.
    pub(in crate::tick) fn requests_in(&self, batch: BatchId) -> usize {
        let order = self.generations.members(batch).map(<[_]>::len);
        let plain = || {
            let running = self.running.get(&batch);
            running.map_or(0, |running| running.batch.members.len())
        };
        order.unwrap_or_else(plain)
    }

    /// Replaces a batch by its halves, without the members that are not awaited any more.
    pub(in crate::tick) fn divide(&mut self, batch: BatchId) -> Vec<InferenceBatch> {
        let Some(RunningBatch { batch, crashes, .. }) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let halves = match batch.is_decode_request() {
            true => self.generations.divide(batch.id, &mut self.next_batch),
            false => self.halves(&batch),
        };
        for (batch, left) in &halves {
            let running = RunningBatch {
                batch: batch.clone(),
                undelivered: *left,
                crashes,
            };
            self.running.insert(batch.id, running);
        }
        halves.into_iter().map(|(batch, _)| batch).collect()
    }

    fn halves(&mut self, batch: &InferenceBatch) -> Vec<(InferenceBatch, usize)> {
        let slots = &mut self.slots;
        let (waiting, others): (Vec<Member>, Vec<Member>) =
            batch.members.iter().partition(|member| {
                let held = &slots[member.slot];
                held.batch == Some(batch.id) && !held.orphaned
            });
        for member in others {
            self.release(batch.id, member);
        }
        let halves = batch.halves(waiting, &mut self.next_batch);
        for half in &halves {
            for member in &half.members {
                self.slots[member.slot].batch = Some(half.id);
            }
        }
        let counted = |half: InferenceBatch| {
            let left = half.members.len();
            (half, left)
        };
        halves.into_iter().map(counted).collect()
    }

    /// Answers the rest of a batch without the engine. The verdict comes with the result.
    fn abandon(&mut self, batch: BatchId) -> Vec<AgentId> {
        let Some(RunningBatch { batch, .. }) = self.running.remove(&batch) else {
            return Vec::new();
        };
        if batch.is_decode_request() {
            return self.generations.abandon(batch.id);
        }
        let mut agents = Vec::new();
        for member in &batch.members {
            let held = &mut self.slots[member.slot];
            if held.batch == Some(batch.id) && !held.orphaned {
                (held.answer, held.abandoned, held.batch) =
                    (Some(Arc::new(Err(ABANDONED.to_owned()))), true, None);
                agents.push(held.agent);
            } else {
                self.release(batch.id, *member);
            }
        }
        agents
    }

    /// A member leaves its batch. Its slot is freed if its result is not awaited.
    pub(super) fn release(&mut self, batch: BatchId, member: Member) {
        let held: &mut RequestSlot = &mut self.slots[member.slot];
        if held.orphaned && held.batch == Some(batch) {
            held.batch = None;
            self.free.push(member.slot);
        }
    }

    /// True if the host has crashed over an unanswered batch: batches are then submitted one at a time.
    pub(in crate::tick) fn is_searching(&self) -> bool {
        self.running.values().any(|running| running.crashes > 0)
    }

    /// Crashes over a batch that is not answered.
    pub(in crate::tick) fn crashes(&self, batch: BatchId) -> Option<u32> {
        Some(self.running.get(&batch)?.crashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_divided_and_a_single_request_is_abandoned() {
        let steps = |members, max_crashes| {
            (1..=4).map(move |crashes| SearchStep::after(crashes, members, max_crashes))
        };
        let (retry, divide, abandon) = (SearchStep::Retry, SearchStep::Divide, SearchStep::Abandon);
        assert!(steps(8, 3).eq([retry, divide, divide, divide]));
        assert!(steps(1, 3).eq([retry, retry, abandon, abandon]));
        assert!(steps(1, 1).eq([abandon; 4]));
    }
}
