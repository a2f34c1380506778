//! Checks of decoded records beyond their encoding, so that a reader may use their numbers as positions in the tables
//! of the header.

use super::error::RecordFault;
use crate::record::{RunHeader, TickRecord, Verdict};
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::{AgentId, ModelId};
use shm_protocol::limit;
use shm_protocol::tensor::Tensor;

/// Checks the header of a run.
pub(super) fn header(header: &RunHeader) -> Result<(), RecordFault> {
    let (agents, models) = (header.agents.len(), header.models.len());
    if agents > limit::AGENTS || models > limit::MODELS {
        return Err(RecordFault::Content(format!(
            "{agents} agents and {models} models are over the limits"
        )));
    }
    Ok(())
}

/// Checks a tick of a run with these numbers of agents and models.
pub(crate) fn record(record: &TickRecord, agents: usize, models: usize) -> Result<(), RecordFault> {
    let tables = Tables { agents, models };
    for result in &record.results {
        tables.agent(result.agent)?;
        tables.model(result.model)?;
        result.outcome.iter().flatten().try_for_each(tensor)?;
    }
    for outcome in &record.outcomes {
        tables.agent(outcome.agent)?;
        outcome
            .effects
            .iter()
            .try_for_each(|effect| tables.effect(effect))?;
    }
    record
        .dropped
        .iter()
        .try_for_each(|dropped| tables.agent(dropped.receiver))?;
    record
        .verdicts
        .iter()
        .try_for_each(|verdict| match verdict {
            Verdict::Quarantined { agent, .. } => tables.agent(*agent),
            Verdict::RequestAbandoned { agent, model, .. } => {
                tables.agent(*agent)?;
                tables.model(*model)
            }
            Verdict::ProviderLost { model, .. } | Verdict::Changed { model, .. } => {
                tables.model(*model)
            }
        })?;
    awaited(record)
}

/// There is one answer for each await of the outcomes, in their order.
fn awaited(record: &TickRecord) -> Result<(), RecordFault> {
    let waits = record.outcomes.iter().flat_map(|outcome| {
        let model = |effect: &Effect| match effect {
            Effect::Infer { model, .. } => Some((outcome.agent, *model)),
            _ => None,
        };
        outcome.effects.iter().filter_map(model)
    });
    let answers = record.awaited.iter();
    if !waits.eq(answers.map(|answer| (answer.agent, answer.model))) {
        let reason = "the results of awaits do not match the outcomes";
        return Err(RecordFault::Content(reason.to_owned()));
    }
    let outputs = record
        .awaited
        .iter()
        .filter_map(|answer| answer.outcome.as_ref().as_ref().ok());
    outputs.flatten().try_for_each(tensor)
}

struct Tables {
    agents: usize,
    models: usize,
}

impl Tables {
    fn effect(&self, effect: &Effect) -> Result<(), RecordFault> {
        match effect {
            Effect::Send { to, .. } => self.agent(*to),
            Effect::Submit { model, inputs, .. } => {
                self.model(*model)?;
                inputs.iter().try_for_each(tensor)
            }
            Effect::Infer { model, inputs } => {
                self.model(*model)?;
                inputs.iter().try_for_each(tensor)
            }
            Effect::Emit { .. } | Effect::Log(_) | Effect::Finish { .. } => Ok(()),
        }
    }

    fn agent(&self, agent: AgentId) -> Result<(), RecordFault> {
        if agent.index() < self.agents {
            return Ok(());
        }
        Err(RecordFault::Content(format!(
            "agent {agent} is named, and the run has {} agents",
            self.agents
        )))
    }

    fn model(&self, model: ModelId) -> Result<(), RecordFault> {
        if model.index() < self.models {
            return Ok(());
        }
        Err(RecordFault::Content(format!(
            "model {model} is named, and the run has {} models",
            self.models
        )))
    }
}

fn tensor(tensor: &Tensor) -> Result<(), RecordFault> {
    tensor
        .check()
        .map_err(|error| RecordFault::Content(error.to_string()))
}
