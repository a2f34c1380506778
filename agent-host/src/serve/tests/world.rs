//! A minimal environment of agents: it delivers messages and answers requests, independently of the agents' hosts.

use super::supervisor::{Host, numbered};
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::AgentId;
use shm_protocol::supervisor_to_agent::{AgentEvent, ModelPorts};
use shm_protocol::tensor::{Shape, Tensor};

/// The events for the next step of each agent.
#[derive(Clone)]
pub(super) struct World {
    inboxes: Vec<Vec<AgentEvent>>,
    models: Vec<ModelPorts>,
}

impl World {
    pub(super) fn new(agents: usize, models: Vec<ModelPorts>) -> World {
        World {
            inboxes: vec![Vec::new(); agents],
            models,
        }
    }

    /// Steps all agents once.
    pub(super) fn tick(&mut self, host: &mut Host, tick: u64) -> Vec<Outcome> {
        let agents = self.inboxes.len();
        let mut inboxes = std::mem::replace(&mut self.inboxes, vec![Vec::new(); agents]);
        for (agent, inbox) in inboxes.iter_mut().enumerate() {
            // Some news from outside, more in some ticks than in others.
            for number in 0..(tick * 7 + agent as u64) % 5 {
                let bytes = (tick * (number + 1) * 37) % 300;
                inbox.push(AgentEvent::Message {
                    sender: AgentId(0),
                    payload: (0..bytes)
                        .map(|byte| (byte * tick).to_le_bytes()[0])
                        .collect(),
                });
            }
        }
        let steps = inboxes.into_iter().enumerate().map(numbered).collect();
        let outcomes = host.step(tick, steps);
        for outcome in &outcomes {
            for effect in &outcome.effects {
                self.take(tick, outcome.agent, effect);
            }
        }
        outcomes
    }

    fn take(&mut self, tick: u64, agent: AgentId, effect: &Effect) {
        match effect {
            Effect::Send { to, payload } => self.inboxes[to.index()].push(AgentEvent::Message {
                sender: agent,
                payload: payload.clone(),
            }),
            Effect::Submit { request, model, .. } => {
                let answer = |port: &shm_protocol::tensor::Port| {
                    let dims: Vec<u64> = port.dims.iter().map(|dim| dim.unwrap_or(1)).collect();
                    let bytes = 4 * dims.iter().product::<u64>();
                    // Small numbers: the exponents of all elements are those of 1.
                    let byte = |at: u64| match at % 4 {
                        3 => 0x3f,
                        2 => 0x80,
                        _ => (at * tick + request.0).to_le_bytes()[0],
                    };
                    Tensor {
                        dtype: port.dtype,
                        shape: Shape::new(&dims).expect("few dimensions"),
                        data: (0..bytes).map(byte).collect(),
                    }
                };
                let outputs = &self.models[model.index()].signature.outputs;
                self.inboxes[agent.index()].push(AgentEvent::Inference {
                    request: *request,
                    model: *model,
                    outcome: Ok(outputs.iter().map(answer).collect()).into(),
                });
            }
            Effect::Emit { .. } | Effect::Log(_) | Effect::Infer { .. } | Effect::Finish { .. } => {
            }
        }
    }
}
