//! Checks of outcomes against the plan. A sound host makes the same checks first; these hold against one that does not.

use super::plan::RunPlan;
use super::violation::Violation;
use shm_protocol::agent_to_supervisor::{Effect, Outcome};
use shm_protocol::id::{RequestId, Tick};
use shm_protocol::tensor::{Port, Tensor};

/// Checks the effects of an outcome against the plan. `next_request` is the agent's next one.
pub(super) fn check_effects(
    plan: &RunPlan,
    tick: Tick,
    outcome: &Outcome,
    next_request: RequestId,
) -> Result<(), Violation> {
    let (agent, agents) = (outcome.agent, plan.agents());
    let mut expected = next_request;
    for effect in &outcome.effects {
        match effect {
            Effect::Send { to, .. } if to.index() >= agents => {
                let to = *to;
                return Err(Violation::NoSuchReceiver {
                    agent,
                    to,
                    agents,
                    tick,
                });
            }
            Effect::Submit {
                request,
                model,
                inputs,
            } => {
                let (request, model) = (*request, *model);
                if request != expected {
                    return Err(Violation::RequestOrder {
                        agent,
                        request,
                        expected,
                        tick,
                    });
                }
                expected = RequestId(expected.0 + 1);
                let missing = Violation::NoSuchModel { agent, model, tick };
                let planned = plan.model(model).ok_or(missing)?;
                check_inputs(&planned.signature.inputs, inputs).map_err(|reason| {
                    let model = planned.name.clone();
                    Violation::BadRequest {
                        agent,
                        tick,
                        model,
                        reason,
                    }
                })?;
            }
            Effect::Finish { .. } if !plan.agent(agent).may_finish => {
                return Err(Violation::FinishNotGranted { agent, tick });
            }
            // Awaited requests are compared with the awaits of the step, which were checked.
            Effect::Send { .. }
            | Effect::Emit { .. }
            | Effect::Log(_)
            | Effect::Infer { .. }
            | Effect::Finish { .. } => {}
        }
    }
    Ok(())
}

/// Checks that the inputs of a request fit the model.
pub(super) fn check_inputs(ports: &[Port], inputs: &[Tensor]) -> Result<(), String> {
    if ports.len() != inputs.len() {
        return Err(format!(
            "it takes {} inputs, got {}",
            ports.len(),
            inputs.len()
        ));
    }
    for (port, tensor) in ports.iter().zip(inputs) {
        tensor.check().map_err(|error| error.to_string())?;
        if !port.admits(tensor.dtype, &tensor.shape) {
            return Err(format!(
                "input {port}, got {}{:?}",
                tensor.dtype, tensor.shape
            ));
        }
    }
    Ok(())
}
