//! Delivery of results to the agents that requested them.

use super::{Requests, limit_answer};
use crate::record::{RequestName, ResultRecord, Verdict};
use crate::tick::violation::Violation;
use shm_protocol::id::{AgentId, BatchId, Tick};

/// The results that are due for an agent.
pub(in crate::tick) struct DueResults {
    /// In the order of its requests.
    pub(in crate::tick) results: Vec<ResultRecord>,
    /// One for each result of a request that was abandoned in this launch.
    pub(in crate::tick) verdicts: Vec<Verdict>,
}

impl Requests {
    /// True if an agent has due results that have not come yet.
    pub(in crate::tick) fn is_awaiting(&self, agent: AgentId, tick: Tick) -> bool {
        let late =
            |slot: &usize| self.slots[*slot].due <= tick && self.slots[*slot].answer.is_none();
        self.queues[agent.index()].iter().any(late) || self.generations.is_awaiting(agent, tick)
    }

    /// Takes the results that are due for an agent, in the order of its requests.
    ///
    /// Results over `max_bytes` in sum are replaced by an error, so that no step outgrows its record. With the result
    /// of an abandoned request comes its verdict.
    pub(in crate::tick) fn take(
        &mut self,
        agent: AgentId,
        tick: Tick,
        max_bytes: usize,
    ) -> DueResults {
        let mut queue = std::mem::take(&mut self.queues[agent.index()]);
        let (mut results, mut verdicts, mut released) = (Vec::new(), Vec::new(), Vec::new());
        let mut abandoned = Vec::new();
        let mut bytes = 0;
        queue.retain(|slot| {
            if self.slots[*slot].due > tick {
                return true;
            }
            let held = &mut self.slots[*slot];
            let answer = held
                .answer
                .take()
                .expect("a step is only taken up when its results are there");
            let outcome = limit_answer(answer, &mut bytes, max_bytes);
            results.push(ResultRecord {
                agent,
                request: held.request,
                model: held.model,
                outcome,
            });
            if held.abandoned {
                verdicts.push(Verdict::RequestAbandoned {
                    agent,
                    model: held.model,
                    asked: held.origin.0,
                    request: RequestName::Submitted(held.request),
                });
                abandoned.push(held.origin);
            }
            released.push((held.origin, held.batch.take()));
            self.free.push(*slot);
            false
        });
        self.queues[agent.index()] = queue;
        for (tick, position) in abandoned {
            let source = self.ticks.get_mut(&tick);
            source.map(|source| source.abandoned.insert(position));
        }
        for (origin, batch) in released {
            self.release_request(origin);
            self.count_delivery(batch);
        }
        let fits = |answer| limit_answer(answer, &mut bytes, max_bytes);
        for delta in self.generations.take(agent, tick, fits) {
            self.count_delivery(delta.batch);
            if let Some(asked) = delta.abandoned {
                verdicts.push(Verdict::RequestAbandoned {
                    agent,
                    model: delta.model,
                    asked,
                    request: RequestName::Submitted(delta.request),
                });
            }
            results.push(ResultRecord {
                agent,
                request: delta.request,
                model: delta.model,
                outcome: delta.answer,
            });
        }
        DueResults { results, verdicts }
    }

    /// Applies a result from the journal.
    pub(in crate::tick) fn accept_journaled(
        &mut self,
        tick: Tick,
        result: ResultRecord,
    ) -> Result<(), Violation> {
        let ResultRecord {
            agent,
            request,
            model,
            outcome,
        } = result;
        if self
            .generations
            .accept_journaled(tick, (agent, request, model), &outcome)
        {
            return Ok(());
        }
        let queue = self
            .queues
            .get(agent.index())
            .map_or(&[][..], Vec::as_slice);
        let wanted = |slot: &&usize| {
            let held = &self.slots[**slot];
            held.request == request
                && held.model == model
                && held.due <= tick
                // A result that was answered without the engine is the same in the journal.
                && held.answer.as_ref().is_none_or(|answer| *answer == outcome)
        };
        let slot = *queue.iter().find(wanted).ok_or(Violation::NotRequested {
            agent,
            request,
            tick,
        })?;
        self.slots[slot].answer = Some(outcome);
        Ok(())
    }

    /// Counts a delivered result of a batch. A batch that is still running was answered by a journal, and the engine
    /// need not answer it once all are.
    pub(super) fn count_delivery(&mut self, batch: Option<BatchId>) {
        let Some(batch) = batch else {
            return;
        };
        if let Some(running) = self.running.get_mut(&batch) {
            running.undelivered -= 1;
            if running.undelivered == 0 {
                self.running.remove(&batch);
            }
        }
    }

    /// Removes a request that is delivered or not awaited any more from its tick.
    pub(super) fn release_request(&mut self, (tick, position): (Tick, usize)) {
        let Some(source) = self.ticks.get_mut(&tick) else {
            return;
        };
        if source.slots[position].take().is_some() {
            source.undelivered -= 1;
        }
        if source.undelivered == 0 {
            self.ticks.remove(&tick);
        }
    }
}
