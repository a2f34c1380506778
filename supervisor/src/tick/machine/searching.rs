//! Requests that crash the inference host: the search for them, and the verdicts
//! in the ticks in which their agents are told.

use super::TickMachine;
use crate::record::{QuarantineReason, RequestName, Verdict};
use crate::tick::action::Action;
use crate::tick::requests::is_for_nobody;
use shm_protocol::id::{AgentId, BatchId};
use shm_protocol::supervisor_to_agent::RequestResult;

impl TickMachine {
    /// The inference host has crashed while it worked on a batch.
    pub(super) fn search(&mut self, batch: BatchId, actions: &mut Vec<Action>) {
        let most = self.quarantine_after;
        let next = &mut self.requests.next_batch;
        let round = self.round.as_mut().filter(|round| round.has(batch));
        let Some(round) = round else {
            let answered = self.requests.crashed(batch, most);
            self.ask_ready(&answered, actions);
            return;
        };
        for (agent, model) in round.crashed(batch, most, next) {
            // One that was quarantined meanwhile waits for nothing.
            if !self.is_parked(agent) {
                continue;
            }
            let number = self.agents[agent.index()].waits.answers.len();
            self.judge(Verdict::RequestAbandoned {
                agent,
                model,
                asked: self.tick,
                request: RequestName::Awaited(u32::try_from(number).expect("few")),
            });
        }
        self.proceed(actions);
    }

    /// Whether an answer to a batch of several requests cannot be given to each of them.
    pub(super) fn is_for_nobody(&self, batch: BatchId, outputs: &RequestResult) -> bool {
        let round = || self.round.as_ref()?.batch(batch);
        let held = self.requests.batch(batch).or_else(round);
        let is_order = outputs.is_err() && self.requests.members(batch) > 1;
        is_order || held.is_some_and(|held| is_for_nobody(held, outputs))
    }

    /// Divides such a batch, so that no request fails with another.
    pub(super) fn divide_refused(&mut self, batch: BatchId, actions: &mut Vec<Action>) {
        let next = &mut self.requests.next_batch;
        let halves = match self.round.as_mut().filter(|round| round.has(batch)) {
            Some(round) => round.divide(batch, next),
            None => self.requests.divide(batch),
        };
        actions.extend(halves.into_iter().map(Action::Infer));
    }

    /// Verdicts on the agents of which too many requests were abandoned.
    pub(super) fn quarantines(&self) -> Vec<Verdict> {
        let agents = self.agents.iter().enumerate();
        let guilty =
            agents.filter(|(_, held)| !held.halted && held.abandoned >= self.quarantine_after);
        guilty
            .map(|(number, held)| Verdict::Quarantined {
                agent: AgentId::from_index(number),
                reason: QuarantineReason::RequestsAbandoned(held.abandoned),
            })
            .collect()
    }
}
