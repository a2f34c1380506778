//! Requests that verdicts have told to be abandoned, and answers that a journal has told: neither goes to the engine
//! again.

use super::Requests;
use crate::record::RequestName;
use crate::tick::recorded_answers::RecordedAnswers;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use std::sync::Arc;

impl Requests {
    /// Tells the answers of a journal, before the first tick.
    pub(in crate::tick) fn foretell(&mut self, foretold: RecordedAnswers) {
        self.foretold = foretold;
    }

    /// The answer that a journal has told for an await within a step.
    pub(in crate::tick) fn foretold_wait(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<RequestResult>> {
        self.foretold.of_wait(tick, agent, number)
    }

    /// Takes a request out of its batch, which may be submitted again. Its result comes from a journal.
    pub(in crate::tick) fn exclude(&mut self, agent: AgentId, name: RequestName) {
        let RequestName::Submitted(request) = name else {
            return;
        };
        if let Some((batch, order)) = self.texts.exclude((agent, request)) {
            match (order, self.running.get_mut(&batch)) {
                (Some(order), Some(running)) => {
                    (running.batch, running.left) = (order, running.left - 1);
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
        let ((tick, position), batch) = (held.asked, held.batch.take());
        if let Some(source) = self.sources.get_mut(&tick) {
            source.abandoned.insert(position);
        }
        if let Some(batch) = batch
            && let Some(running) = self.running.get_mut(&batch)
        {
            running.batch.remove(slot);
            self.deliver(Some(batch));
        }
    }
}
