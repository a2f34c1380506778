//! The search for the request that crashes the inference host.
//!
//! A batch over which the host has crashed twice is divided into halves, and each half is tried alone, until a request
//! crashes it alone. That one is abandoned, and the others are answered: an answer does not depend on who else was in
//! the batch. Halves count the crashes of the whole as their own.

use super::{RequestSlot, Requests, RunningBatch};
use crate::planted::{Bug, planted};
use crate::record::ABANDONED;
use crate::tick::batch::{Batch, Member};
use shm_protocol::id::{AgentId, BatchId};
use std::sync::Arc;

/// Crashes over a batch of several requests until it is divided.
const CRASHES_UNTIL_DIVIDED: u32 = 2;

/// The next step of the search, after a crash over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tick) enum Next {
    /// The batch is tried again, alone.
    Retry,
    /// The batch is divided.
    Divide,
    /// The one request of the batch is abandoned.
    Abandon,
}

impl Next {
    /// The step after so many crashes over a batch with so many members. One request is abandoned after `most`.
    pub(in crate::tick) fn after(crashes: u32, members: usize, most: u32) -> Next {
        if members > 1 && crashes >= CRASHES_UNTIL_DIVIDED {
            match planted(Bug::AbandonWholeBatch) {
                true => Next::Abandon,
                false => Next::Divide,
            }
        } else if members <= 1 && crashes >= most {
            Next::Abandon
        } else {
            Next::Retry
        }
    }
}

impl Requests {
    /// The host has crashed over a batch; a request that does so alone is abandoned after `most` crashes. Gives the
    /// agents whose requests are answered by that.
    pub(in crate::tick) fn crashed(&mut self, batch: BatchId, most: u32) -> Vec<AgentId> {
        let Some(running) = self.running.get_mut(&batch) else {
            return Vec::new();
        };
        running.crashes += 1;
        let crashes = running.crashes;
        match Next::after(crashes, self.members(batch), most) {
            Next::Retry => Vec::new(),
            Next::Divide => {
                self.divide(batch);
                Vec::new()
            }
            Next::Abandon => self.abandon(batch),
        }
    }

    /// Drops the batches for which nobody waits: they are not submitted again.
    pub(in crate::tick) fn drop_unwanted(&mut self) {
        let running = self.running.keys().copied();
        let unwanted: Vec<BatchId> = running.filter(|batch| !self.is_wanted(*batch)).collect();
        for batch in unwanted {
            self.abandon(batch);
        }
    }

    /// Whether somebody waits for a batch.
    fn is_wanted(&self, batch: BatchId) -> bool {
        let Some(running) = self.running.get(&batch) else {
            return false;
        };
        if running.batch.is_order() {
            return self.texts.wants(batch);
        }
        let mut slots = running
            .batch
            .members
            .iter()
            .map(|member| &self.slots[member.slot]);
        slots.any(|held| held.batch == Some(batch) && !held.orphaned)
    }

    /// A batch that is not answered.
    pub(in crate::tick) fn batch(&self, batch: BatchId) -> Option<&Batch> {
        Some(&self.running.get(&batch)?.batch)
    }

    /// Requests of a batch, or texts of an order.
    pub(in crate::tick) fn members(&self, batch: BatchId) -> usize {
        let order = self.texts.members(batch).map(<[_]>::len);
        let plain = || {
            let running = self.running.get(&batch);
            running.map_or(0, |running| running.batch.members.len())
        };
        order.unwrap_or_else(plain)
    }

    /// Replaces a batch by its halves, without the members for which nobody waits.
    pub(in crate::tick) fn divide(&mut self, batch: BatchId) -> Vec<Batch> {
        let Some(RunningBatch { batch, crashes, .. }) = self.running.remove(&batch) else {
            return Vec::new();
        };
        let halves = match batch.is_order() {
            true => self.texts.divide(batch.id, &mut self.next_batch),
            false => self.halves(&batch),
        };
        for (batch, left) in &halves {
            let running = RunningBatch {
                batch: batch.clone(),
                left: *left,
                crashes,
            };
            self.running.insert(batch.id, running);
        }
        halves.into_iter().map(|(batch, _)| batch).collect()
    }

    fn halves(&mut self, batch: &Batch) -> Vec<(Batch, usize)> {
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
        let counted = |half: Batch| {
            let left = half.members.len();
            (half, left)
        };
        halves.into_iter().map(counted).collect()
    }

    /// Answers what is left of a batch without the engine. The verdict is told with the result.
    fn abandon(&mut self, batch: BatchId) -> Vec<AgentId> {
        let Some(RunningBatch { batch, .. }) = self.running.remove(&batch) else {
            return Vec::new();
        };
        if batch.is_order() {
            return self.texts.abandon(batch.id);
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

    /// A member leaves its batch. Its slot is free if nobody waits for it.
    pub(super) fn release(&mut self, batch: BatchId, member: Member) {
        let held: &mut RequestSlot = &mut self.slots[member.slot];
        if held.orphaned && held.batch == Some(batch) {
            held.batch = None;
            self.free.push(member.slot);
        }
    }

    /// Whether the host has crashed over a batch that is not answered: batches are then tried one at a time.
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
        let steps = |members, most| (1..=4).map(move |crashes| Next::after(crashes, members, most));
        let (retry, divide, abandon) = (Next::Retry, Next::Divide, Next::Abandon);
        assert!(steps(8, 3).eq([retry, divide, divide, divide]));
        assert!(steps(1, 3).eq([retry, retry, abandon, abandon]));
        assert!(steps(1, 1).eq([abandon; 4]));
    }
}
