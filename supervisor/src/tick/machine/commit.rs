//! The end of a tick: its outcomes in schedule order, their effects, and the decision to end the run.

use crate::record::{DroppedMessages, TickRecord, Verdict};
use crate::tick::action::TickAction;
use crate::tick::machine::{AgentPhase, TickMachine};
use crate::tick::run_end::RunEnd;
use shm_protocol::agent_to_supervisor::{Effect, Status};
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnFailure;
use std::collections::BTreeMap;
use std::sync::Arc;

impl TickMachine {
    /// Closes the open tick: orders its outcomes, routes their messages and requests, and decides whether it was the
    /// last.
    pub(super) fn close(&mut self, actions: &mut Vec<TickAction>) -> TickAction {
        let mut record = TickRecord {
            verdicts: std::mem::take(&mut self.verdicts),
            ..TickRecord::default()
        };
        for agent in self.plan.order() {
            let held = &mut self.agents[agent.index()];
            record.results.append(&mut held.results);
            record.outcomes.extend(held.outcome.take());
            record.awaited.extend(held.awaits.take(*agent));
            held.phase = AgentPhase::Idle;
        }
        record.verdicts.sort_by_key(Verdict::order);
        self.handle_failures(&record);
        self.handle_finish(&record);
        record.dropped = self.route_messages(&record);
        self.count_requests(&record);
        let record = Arc::new(record);
        actions.extend(
            self.requests
                .submit(&self.plan, self.tick, &record)
                .into_iter()
                .map(TickAction::Infer),
        );
        // The batches of this tick are formed: changes of the plan hold from the next one on.
        for verdict in &record.verdicts {
            self.change_plan(self.tick, verdict);
        }
        self.decide_end();
        TickAction::Commit {
            tick: self.tick,
            record,
        }
    }

    /// Lets a verdict of a tick that closes change the plan after it.
    pub(super) fn change_plan(&mut self, tick: Tick, verdict: &Verdict) {
        match verdict {
            Verdict::ProviderLost {
                version,
                model,
                batching,
                ..
            } => {
                let is_batched = *batching == Batching::Joined;
                self.plan
                    .set_batching(*model, *version, tick.next(), is_batched);
            }
            Verdict::Changed {
                model,
                version,
                change,
                ..
            } => {
                let pin = change.new_version();
                let is_batched = pin.map(|pin| pin.batching == Batching::Joined);
                self.plan
                    .set_version(*model, *version, tick.next(), is_batched);
            }
            Verdict::Quarantined { .. } | Verdict::RequestAbandoned { .. } => return,
        }
        self.plan_changes.push((tick, verdict.clone()));
    }

    fn handle_failures(&mut self, record: &TickRecord) {
        for outcome in &record.outcomes {
            let agent = outcome.agent;
            if let Status::Mismatch(text) = &outcome.status
                && self.end.is_none()
            {
                self.end = Some(RunEnd::Mismatch {
                    agent,
                    tick: self.tick,
                    text: text.clone(),
                });
            }
            let halts = match outcome.status {
                Status::Completed => false,
                // The host could not restart it and would report this for ever.
                Status::Halted(_) => true,
                _ => self.plan.agent(agent).on_failure == OnFailure::Halt,
            };
            if halts {
                self.halt(agent);
            }
        }
    }

    fn route_messages(&mut self, record: &TickRecord) -> Vec<DroppedMessages> {
        let mut dropped: BTreeMap<AgentId, u64> = BTreeMap::new();
        let max_bytes = self.plan.max_step_bytes().min(limit::INBOX_BYTES);
        for outcome in &record.outcomes {
            for effect in &outcome.effects {
                let Effect::Send { to, payload } = effect else {
                    continue;
                };
                let receiver = &mut self.agents[to.index()];
                if receiver.halted || !receiver.inbox.accept(outcome.agent, payload, max_bytes) {
                    *dropped.entry(*to).or_default() += 1;
                }
            }
        }
        dropped
            .into_iter()
            .map(|(receiver, messages)| DroppedMessages { receiver, messages })
            .collect()
    }

    fn count_requests(&mut self, record: &TickRecord) {
        for outcome in &record.outcomes {
            let made = outcome
                .effects
                .iter()
                .filter(|effect| matches!(effect, Effect::Submit { .. }))
                .count();
            self.agents[outcome.agent.index()].next_request.0 += made as u64;
        }
    }

    /// The first agent in schedule order that ends the run.
    fn handle_finish(&mut self, record: &TickRecord) {
        let effects = record.outcomes.iter().flat_map(|outcome| {
            let agent = outcome.agent;
            outcome.effects.iter().map(move |effect| (agent, effect))
        });
        let mut finishes = effects.filter_map(|(agent, effect)| match effect {
            Effect::Finish { reason } => Some((agent, reason.clone())),
            _ => None,
        });
        if let (None, Some((agent, reason))) = (&self.end, finishes.next()) {
            self.end = Some(RunEnd::AgentFinished { agent, reason });
        }
    }

    pub(super) fn decide_end(&mut self) {
        if self.end.is_some() {
            return;
        }
        if self.until.is_some_and(|until| self.tick >= until) {
            self.end = Some(RunEnd::Finished);
        } else if self.agents.iter().all(|agent| agent.halted) {
            self.end = Some(RunEnd::AllHalted);
        } else if self.stop_requested {
            self.end = Some(RunEnd::Stopped);
        }
    }
}
