//! Agents without host, rings or supervisor, for benchmarks. What remains is the call into wasmtime and the functions
//! that an agent imports.

use crate::agent::StepProgress;
use crate::agent_set::AgentSet;
use crate::error::AgentHostError;
use shm_protocol::agent_to_supervisor::{AwaitRequest, Outcome};
use shm_protocol::id::Tick;
use shm_protocol::supervisor_to_agent::{
    AgentSetup, AwaitResult, LoadAgent, ModelPorts, RequestResult, Step,
};
use std::sync::Arc;

/// Agents in this process.
pub struct BareAgents(AgentSet);

impl BareAgents {
    /// Instantiates agents of the compiled components in `artifacts`, and sets the models.
    ///
    /// # Errors
    /// When this machine cannot run them, or an `init` fails.
    pub fn new(
        setup: AgentSetup,
        loads: Vec<LoadAgent>,
        artifacts: &[u8],
        models: Vec<ModelPorts>,
    ) -> Result<BareAgents, String> {
        let mut agents = AgentSet::new(setup).map_err(message)?;
        for load in loads {
            agents.load(load, artifacts).map_err(message)?.result?;
        }
        agents.set_models(models);
        Ok(BareAgents(agents))
    }

    /// Takes a step without awaits.
    ///
    /// # Errors
    /// When there is no such agent, it awaits a result, or the machine lacks memory.
    pub fn step(&mut self, tick: Tick, step: Step) -> Result<Outcome, String> {
        match self.0.step(tick, step).map_err(message)? {
            StepProgress::Done(outcome) => Ok(outcome),
            StepProgress::Awaiting(request) => {
                Err(format!("agent {} awaits a result", request.agent))
            }
        }
    }

    /// Takes a step whose awaits are answered by `answer`.
    ///
    /// # Errors
    /// When there is no such agent, or the machine lacks memory.
    pub fn step_answered(
        &mut self,
        tick: Tick,
        step: Step,
        mut answer: impl FnMut(&AwaitRequest) -> RequestResult,
    ) -> Result<Outcome, String> {
        let mut progress = self.0.step(tick, step).map_err(message)?;
        loop {
            let request = match progress {
                StepProgress::Done(outcome) => return Ok(outcome),
                StepProgress::Awaiting(request) => request,
            };
            let result = AwaitResult {
                agent: request.agent,
                number: request.number,
                outcome: Arc::new(answer(&request)),
            };
            let resumed = self.0.resume(tick, result).map_err(message)?;
            progress = resumed.ok_or_else(|| "the step did not await this result".to_owned())?;
        }
    }
}

fn message(error: AgentHostError) -> String {
    error.to_string()
}
