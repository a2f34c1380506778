//! Agents without host, rings or supervisor, for measurements: what remains is
//! the call into wasmtime and the functions that an agent imports.

use crate::agent::Stepped;
use crate::agents::Agents;
use crate::error::HostError;
use shm_protocol::agent_to_supervisor::{AwaitRequest, Outcome};
use shm_protocol::id::Tick;
use shm_protocol::supervisor_to_agent::{
    AgentSetup, AwaitResult, LoadAgent, ModelPorts, RequestResult, Step,
};
use std::sync::Arc;

/// Agents in this process.
pub struct BareAgents(Agents);

impl BareAgents {
    /// Instantiates agents out of compiled components, one after the other in `artifacts`, and tells them of the models.
    ///
    /// # Errors
    /// When this machine cannot run them, or an `init` refuses.
    pub fn new(
        setup: AgentSetup,
        loads: Vec<LoadAgent>,
        artifacts: &[u8],
        models: Vec<ModelPorts>,
    ) -> Result<BareAgents, String> {
        let said = |error: HostError| error.to_string();
        let mut agents = Agents::new(setup).map_err(said)?;
        for load in loads {
            agents.load(load, artifacts).map_err(said)?.result?;
        }
        agents.start(models);
        Ok(BareAgents(agents))
    }

    /// Takes a step of an agent that does not wait.
    ///
    /// # Errors
    /// When there is no such agent, it waits, or the machine is at its end.
    pub fn step(&mut self, tick: Tick, step: Step) -> Result<Outcome, String> {
        match self.0.step(tick, step).map_err(|error| error.to_string())? {
            Stepped::Done(outcome) => Ok(outcome),
            Stepped::Waits(wait) => Err(format!("agent {} waits", wait.agent)),
        }
    }

    /// Takes a step. What it waits for is answered by `answer`.
    ///
    /// # Errors
    /// When there is no such agent, or the machine is at its end.
    pub fn step_answered(
        &mut self,
        tick: Tick,
        step: Step,
        mut answer: impl FnMut(&AwaitRequest) -> RequestResult,
    ) -> Result<Outcome, String> {
        let said = |error: HostError| error.to_string();
        let mut stepped = self.0.step(tick, step).map_err(said)?;
        loop {
            let wait = match stepped {
                Stepped::Done(outcome) => return Ok(outcome),
                Stepped::Waits(wait) => wait,
            };
            let answered = AwaitResult {
                agent: wait.agent,
                number: wait.number,
                outcome: Arc::new(answer(&wait)),
            };
            let gone_on = self.0.answer(tick, answered).map_err(said)?;
            stepped = gone_on.ok_or_else(|| "it did not wait".to_owned())?;
        }
    }
}
