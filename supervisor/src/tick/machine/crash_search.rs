//! Requests that crash the inference host: the search for them, and the verdicts in the ticks of their results.

use super::TickMachine;
use crate::record::{QuarantineReason, RequestName, Verdict};
use crate::tick::action::TickAction;
use crate::tick::requests::is_indivisible;
use shm_protocol::id::{AgentId, BatchId};
use shm_protocol::supervisor_to_agent::RequestResult;

impl TickMachine {
    /// Handles a crash of the inference host over a batch.
    pub(super) fn handle_engine_crash(&mut self, batch: BatchId, actions: &mut Vec<TickAction>) {
        let max_crashes = self.quarantine_after;
        let next = &mut self.requests.next_batch;
        let round = self.round.as_mut().filter(|round| round.has(batch));
        let Some(round) = round else {
            let answered = self.requests.count_crash(batch, max_crashes);
            self.step_ready(&answered, actions);
            return;
        };
        for (agent, model) in round.count_crash(batch, max_crashes, next) {
            // An agent that was quarantined meanwhile awaits nothing.
            if !self.is_parked(agent) {
                continue;
            }
            let number = self.agents[agent.index()].awaits.answers.len();
            self.apply_verdict(Verdict::RequestAbandoned {
                agent,
                model,
                asked: self.tick,
                request: RequestName::Awaited(u32::try_from(number).expect("few")),
            });
        }
        self.proceed(actions);
    }

    /// True if an answer to a batch of several requests cannot be divided among them.
    pub(super) fn is_indivisible(&self, batch: BatchId, outputs: &RequestResult) -> bool {
        let round = || self.round.as_ref()?.batch(batch);
        let held = self.requests.batch(batch).or_else(round);
        let is_decode_request = outputs.is_err() && self.requests.requests_in(batch) > 1;
        is_decode_request || held.is_some_and(|held| is_indivisible(held, outputs))
    }

    /// Divides such a batch, so that no request fails with another.
    pub(super) fn divide_batch(&mut self, batch: BatchId, actions: &mut Vec<TickAction>) {
        let next = &mut self.requests.next_batch;
        let halves = match self.round.as_mut().filter(|round| round.has(batch)) {
            Some(round) => round.divide(batch, next),
            None => self.requests.divide(batch),
        };
        actions.extend(halves.into_iter().map(TickAction::Infer));
    }

    /// Quarantine verdicts on the agents with too many abandoned requests.
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
