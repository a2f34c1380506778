//! The beginning of a tick: the agents that are due, and their steps once their results are there.

use crate::tick::action::TickAction;
use crate::tick::machine::{AgentPhase, TickMachine};
use crate::tick::order::is_due;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::supervisor_to_agent::{AgentEvent, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

impl TickMachine {
    pub(super) fn open(&mut self, tick: Tick, actions: &mut Vec<TickAction>) {
        self.tick = tick;
        // By the requests abandoned until now: preloaded verdicts abandon those of this tick.
        let quarantines = self.quarantines();
        for verdict in self.preloaded_verdicts.remove(&tick).unwrap_or_default() {
            self.apply_verdict(verdict);
        }
        for verdict in quarantines {
            if !self.is_halted(verdict.order().1) {
                self.apply_verdict(verdict);
            }
        }
        let mut due = Vec::with_capacity(self.agents.len());
        for agent in self.plan.order() {
            let held = &mut self.agents[agent.index()];
            held.phase = AgentPhase::Idle;
            if !held.halted && is_due(self.plan.agent(*agent), tick) {
                held.phase = AgentPhase::Waiting;
                due.push(*agent);
            }
        }
        self.missing = due.len();
        self.step_ready(&due, actions);
        if due.is_empty() {
            actions.push(TickAction::Proceed);
        }
    }

    /// Asks the hosts to step those of these agents that are due and whose results are there.
    pub(super) fn step_ready(&mut self, agents: &[AgentId], actions: &mut Vec<TickAction>) {
        let mut steps: BTreeMap<HostId, Vec<Step>> = BTreeMap::new();
        for agent in agents {
            let held = &mut self.agents[agent.index()];
            if held.phase != AgentPhase::Waiting || self.requests.is_awaiting(*agent, self.tick) {
                continue;
            }
            held.phase = AgentPhase::Stepping;
            let due_results = self
                .requests
                .take(*agent, self.tick, self.plan.max_step_bytes());
            held.results = due_results.results;
            for verdict in due_results.verdicts {
                self.apply_verdict(verdict);
            }
            let held = &mut self.agents[agent.index()];
            let mut events = held.inbox.take();
            events.extend(held.results.iter().map(|result| AgentEvent::Inference {
                request: result.request,
                model: result.model,
                outcome: Arc::clone(&result.outcome),
            }));
            let host = self.plan.agent(*agent).host;
            steps.entry(host).or_default().push(Step {
                agent: *agent,
                events,
            });
        }
        let tick = self.tick;
        actions.extend(steps.into_iter().map(|(host, steps)| TickAction::Step {
            host,
            tick,
            steps,
        }));
    }
}
