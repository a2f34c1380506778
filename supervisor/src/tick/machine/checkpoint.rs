//! Saving a machine between two ticks, and restoring it.

use crate::planted::{Bug, planted};
use crate::tick::inbox::Inbox;
use crate::tick::machine::TickMachine;
use crate::tick::plan::RunPlan;
use crate::tick::requests::Requests;
use crate::tick::saved::{SavedAgent, SavedMachine};
use shm_protocol::id::Tick;
use thiserror::Error;

/// Saved bytes that are not those of a machine with this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the saved state of the schedule does not fit this fleet")]
pub struct PlanMismatch;

impl TickMachine {
    /// A machine as it was at [`crate::tick::TickAction::Checkpoint`]; [`crate::tick::TickInput::Begin`] opens the tick
    /// after that.
    ///
    /// # Errors
    /// When the bytes are not those of a machine with this plan.
    pub fn restore(
        plan: RunPlan,
        until: Option<Tick>,
        saved: &[u8],
    ) -> Result<TickMachine, PlanMismatch> {
        let saved = SavedMachine::decode(saved).ok_or(PlanMismatch)?;
        if saved.agents.len() != plan.agents() {
            return Err(PlanMismatch);
        }
        let mut machine = TickMachine::new(plan, until);
        machine.tick = saved.tick;
        for (tick, verdict) in saved.plan_changes {
            if !planted(Bug::ForgetChanged) {
                machine.change_plan(tick, &verdict);
            }
        }
        for (agent, saved) in machine.agents.iter_mut().zip(saved.agents) {
            (agent.halted, agent.next_request) = (saved.halted, saved.next_request);
            agent.abandoned = saved.abandoned;
            agent.inbox = Inbox::with_events(saved.inbox);
        }
        machine.requests = Requests::restore(&machine.plan, saved.requests).ok_or(PlanMismatch)?;
        // A machine that had decided to end made no checkpoint after that, but the requested end may be earlier now.
        machine.decide_end();
        Ok(machine)
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let agents = self.agents.iter().map(|agent| SavedAgent {
            halted: agent.halted,
            next_request: agent.next_request,
            abandoned: agent.abandoned,
            inbox: agent.inbox.events().to_vec(),
        });
        SavedMachine {
            tick: self.tick,
            agents: agents.collect(),
            requests: self.requests.save(),
            plan_changes: self.plan_changes.clone(),
        }
        .encode()
    }
}
