//! Results on their way to the agents that asked for them.

use super::{Requests, within};
use crate::record::{RequestName, ResultRecord, Verdict};
use crate::tick::violation::Violation;
use shm_protocol::id::{AgentId, BatchId, Tick};

/// The results that are due for an agent.
pub(in crate::tick) struct Taken {
    /// In the order of its requests.
    pub(in crate::tick) results: Vec<ResultRecord>,
    /// One for each result of a request that was abandoned in this life of the supervisor.
    pub(in crate::tick) verdicts: Vec<Verdict>,
}

impl Requests {
    /// Whether an agent has results due in a tick that have not come yet.
    pub(in crate::tick) fn waits(&self, agent: AgentId, tick: Tick) -> bool {
        let late =
            |slot: &usize| self.slots[*slot].due <= tick && self.slots[*slot].answer.is_none();
        self.queues[agent.index()].iter().any(late) || self.texts.waits(agent, tick)
    }

    /// Takes the results that are due for an agent, in the order of its requests.
    ///
    /// What is over `most_bytes` in sum is replaced by an error, so that no step outgrows its record. With the result of
    /// a request that was abandoned comes its verdict.
    pub(in crate::tick) fn take(&mut self, agent: AgentId, tick: Tick, most_bytes: usize) -> Taken {
        let mut queue = std::mem::take(&mut self.queues[agent.index()]);
        let (mut results, mut verdicts, mut settled) = (Vec::new(), Vec::new(), Vec::new());
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
            let outcome = within(answer, &mut bytes, most_bytes);
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
                    asked: held.asked.0,
                    request: RequestName::Submitted(held.request),
                });
                abandoned.push(held.asked);
            }
            settled.push((held.asked, held.batch.take()));
            self.free.push(*slot);
            false
        });
        self.queues[agent.index()] = queue;
        for (asked, position) in abandoned {
            let source = self.sources.get_mut(&asked);
            source.map(|source| source.abandoned.insert(position));
        }
        for (asked, batch) in settled {
            self.settle(asked);
            self.deliver(batch);
        }
        let fits = |answer| within(answer, &mut bytes, most_bytes);
        for piece in self.texts.take(agent, tick, fits) {
            self.deliver(piece.batch);
            if let Some(asked) = piece.abandoned {
                verdicts.push(Verdict::RequestAbandoned {
                    agent,
                    model: piece.model,
                    asked,
                    request: RequestName::Submitted(piece.request),
                });
            }
            results.push(ResultRecord {
                agent,
                request: piece.request,
                model: piece.model,
                outcome: piece.answer,
            });
        }
        Taken { results, verdicts }
    }

    /// Takes in a result from the journal.
    pub(in crate::tick) fn journaled(
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
            .texts
            .journaled(tick, (agent, request, model), &outcome)
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
                // What was answered without the engine has the answer of the journal.
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

    /// A result of a batch is delivered. One that is still running was answered by a journal, and the engine need not
    /// answer it once all are.
    pub(super) fn deliver(&mut self, batch: Option<BatchId>) {
        let Some(batch) = batch else {
            return;
        };
        if let Some(running) = self.running.get_mut(&batch) {
            running.left -= 1;
            if running.left == 0 {
                self.running.remove(&batch);
            }
        }
    }

    /// A request is delivered, or nobody waits for it any more.
    pub(super) fn settle(&mut self, (tick, position): (Tick, usize)) {
        let Some(source) = self.sources.get_mut(&tick) else {
            return;
        };
        if source.slots[position].take().is_some() {
            source.open -= 1;
        }
        if source.open == 0 {
            self.sources.remove(&tick);
        }
    }
}
