//! Abandoned requests and recorded answers: neither goes to the engine again.

use super::Requests;
use crate::record::RequestName;
use crate::tick::recorded_answers::RecordedAnswers;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::sync::Arc;

impl Requests {
    /// Preloads the answers of a journal, before the first tick.
    pub(in crate::tick) fn preload_answers(&mut self, recorded: RecordedAnswers) {
        self.recorded = recorded;
    }

    /// The recorded answer of an await within a step.
    pub(in crate::tick) fn recorded_await(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<RequestResult>> {
        self.recorded.await_answer(tick, agent, number)
    }

    /// Takes an abandoned request out of its batch, which may be submitted again. Its result comes from a journal.
    pub(in crate::tick) fn exclude(&mut self, agent: AgentId, name: RequestName) {
        let RequestName::Submitted(request) = name else {
            return;
        };
        if let Some((batch, rest)) = self.generations.exclude((agent, request)) {
            match (rest, self.running.get_mut(&batch)) {
                (Some(rest), Some(running)) => {
                    (running.batch, running.undelivered) = (rest, running.undelivered - 1);
                }
                _ => drop(self.running.remove(&batch)),
            }
            return;
        }
        let mut slots = self.queues[agent.index()].iter().copied();
        let Some(slot) = slots.find(|slot| self.slots[*slot].request == request) else {
            return;
        };
        let held = &mut self.slots[slot];
        let ((tick, position), batch) = (held.origin, held.batch.take());
        if let Some(source) = self.ticks.get_mut(&tick) {
            source.abandoned.insert(position);
        }
        if let Some(batch) = batch
            && let Some(running) = self.running.get_mut(&batch)
        {
            running.batch.remove(slot);
            self.count_delivery(Some(batch));
        }
    }
}
