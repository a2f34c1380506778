//! Requests that the engine is given up on: they are answered without it.

use super::{Requests, Slot, release};
use crate::tick::batch::{Batch, Member};
use crate::tick::foretold::Foretold;
use shm_protocol::id::{AgentId, ModelId, Tick};
use shm_protocol::supervisor_to_agent::Answer;
use std::sync::Arc;

impl Requests {
    /// Answers everything that was asked of a model in a tick and is not delivered, answered or not: what was answered is
    /// not in the journal, and whoever goes on must come to the same. Gives the agents that wait for it.
    pub(in crate::tick) fn give_up(
        &mut self,
        model: ModelId,
        asked: Tick,
        reason: &str,
    ) -> Vec<AgentId> {
        let answer: Arc<Answer> = Arc::new(Err(reason.to_owned()));
        let mut agents = Vec::new();
        for slot in self.queues.iter().flatten() {
            let held = &mut self.slots[*slot];
            if held.model == model && held.asked.0 == asked {
                (held.answer, held.given_up, held.batch) = (Some(Arc::clone(&answer)), true, None);
                agents.push(held.agent);
            }
        }
        agents.extend(self.texts.give_up(model, asked, &answer));
        let (slots, free) = (&mut self.slots, &mut self.free);
        let unwanted = &mut self.unwanted;
        self.running.retain(|_, running| {
            let is_other = running.batch.model != model || running.batch.tick != asked;
            if !is_other {
                release(&running.batch, slots, free);
                unwanted.insert(running.batch.id);
            }
            is_other
        });
        agents
    }

    /// Tells what is known of batches that were given up.
    pub(in crate::tick) fn foretell(&mut self, foretold: Foretold) {
        self.foretold = foretold;
    }

    /// What a wait within a step is answered, whatever the engine says.
    pub(in crate::tick) fn foretold_wait(
        &self,
        tick: Tick,
        agent: AgentId,
        number: usize,
    ) -> Option<Arc<Answer>> {
        self.foretold.of_wait(tick, agent, number)
    }

    /// Whether a batch is known to be given up; its requests are answered then.
    pub(super) fn is_given_up(&mut self, batch: &Batch) -> bool {
        if self.foretold.is_empty() {
            return false;
        }
        let asked = |member: &Member| {
            let Slot { agent, request, .. } = &self.slots[member.slot];
            (*agent, *request)
        };
        let members = batch.members.iter().map(asked);
        let Some(answer) = self.foretold.of_batch(batch.model, batch.tick, members) else {
            return false;
        };
        for member in &batch.members {
            self.fill(member.slot, Arc::clone(&answer));
        }
        true
    }
}
