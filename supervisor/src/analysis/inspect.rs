//! What happened in a run, as text for people.

mod header;
mod numbers;
mod summary;

pub use header::{ChangeText, HeaderText};
pub use numbers::Numbers;
pub use summary::Summary;

use crate::journal::frame::hex;
use crate::record::{ModelPin, ResultRecord, RunHeader, TickRecord};
pub(crate) use numbers::{element, number};
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, ModelId, Tick};
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Port, Tensor};
use std::fmt;

/// Most bytes of a payload that are shown.
const SHOWN_BYTES: usize = 96;

/// One tick of a run, or one agent's part of it.
pub struct TickText<'run> {
    /// The header of the run.
    pub header: &'run RunHeader,
    /// The number of the tick.
    pub tick: Tick,
    /// The tick.
    pub record: &'run TickRecord,
    /// Show what concerns this agent only.
    pub agent: Option<AgentId>,
}

/// The number of the agent with a name.
#[must_use]
pub fn agent_named(header: &RunHeader, name: &str) -> Option<AgentId> {
    header
        .agents
        .iter()
        .position(|agent| agent.name == name)
        .map(AgentId::from_index)
}

fn short(digest: &[u8]) -> String {
    hex(&digest[..8])
}

impl fmt::Display for TickText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |agent: AgentId| self.agent.is_none_or(|only| only == agent);
        writeln!(f, "tick {}", self.tick)?;
        for result in self
            .record
            .results
            .iter()
            .filter(|result| shown(result.agent))
        {
            self.result(f, result)?;
        }
        for outcome in self
            .record
            .outcomes
            .iter()
            .filter(|outcome| shown(outcome.agent))
        {
            self.outcome(f, outcome)?;
        }
        for dropped in self
            .record
            .dropped
            .iter()
            .filter(|dropped| shown(dropped.receiver))
        {
            writeln!(
                f,
                "  dropped: {} messages to {}",
                dropped.messages,
                self.agent_name(dropped.receiver)
            )?;
        }
        for verdict in &self.record.verdicts {
            writeln!(f, "  verdict: {}", verdict.text(self.header))?;
        }
        Ok(())
    }
}

impl TickText<'_> {
    fn result(&self, f: &mut fmt::Formatter<'_>, result: &ResultRecord) -> fmt::Result {
        let (agent, model) = (self.agent_name(result.agent), self.model(result.model));
        writeln!(
            f,
            "  result of request {} to {} for {agent}",
            result.request,
            model_name(model, result.model)
        )?;
        answer(f, model, &result.outcome)
    }

    fn outcome(&self, f: &mut fmt::Formatter<'_>, outcome: &Outcome) -> fmt::Result {
        write!(f, "  {}: ", self.agent_name(outcome.agent))?;
        match &outcome.status {
            Status::Completed => write!(f, "completed")?,
            Status::Trapped(reason) => write!(f, "trapped: {reason}")?,
            Status::OutOfFuel => write!(f, "out of fuel")?,
            Status::Mismatch(reason) => write!(f, "request does not fit: {reason}")?,
            Status::Halted(reason) => write!(f, "halted: {reason}")?,
        }
        writeln!(f, ", fuel {}", outcome.fuel_used)?;
        let mut answers = self
            .record
            .awaited
            .iter()
            .filter(|awaited| awaited.agent == outcome.agent);
        for effect in &outcome.effects {
            self.effect(f, effect)?;
            if let Effect::Infer { model, .. } = effect
                && let Some(awaited) = answers.next()
            {
                writeln!(f, "    answered:")?;
                answer(f, self.model(*model), &awaited.outcome)?;
            }
        }
        Ok(())
    }

    fn effect(&self, f: &mut fmt::Formatter<'_>, effect: &Effect) -> fmt::Result {
        match effect {
            Effect::Send { to, payload } => {
                writeln!(
                    f,
                    "    send to {}: {}",
                    self.agent_name(*to),
                    Payload(payload)
                )
            }
            Effect::Submit {
                request,
                model,
                inputs,
            } => {
                let pin = self.model(*model);
                let name = model_name(pin, *model);
                writeln!(f, "    submit request {request} to {name}")?;
                self::inputs(f, pin, inputs)
            }
            Effect::Infer { model, inputs } => {
                let pin = self.model(*model);
                writeln!(f, "    wait for {}", model_name(pin, *model))?;
                tensors(f, inputs, pin.map(|pin| pin.signature.inputs.as_slice()))
            }
            Effect::Emit { topic, payload } => {
                writeln!(f, "    emit {topic:?}: {}", Payload(payload))
            }
            Effect::Log(line) => writeln!(
                f,
                "    log {}: {:?}",
                format!("{:?}", line.level).to_lowercase(),
                line.text
            ),
        }
    }

    fn agent_name(&self, agent: AgentId) -> String {
        self.header
            .agents
            .get(agent.index())
            .map_or_else(|| format!("agent {agent}"), |pin| pin.name.clone())
    }

    fn model(&self, model: ModelId) -> Option<&ModelPin> {
        self.header.models.get(model.index())
    }
}

fn model_name(pin: Option<&ModelPin>, model: ModelId) -> String {
    pin.map_or_else(|| format!("model {model}"), |pin| pin.name.clone())
}

/// What a model answered, or why it did not.
fn answer(
    f: &mut fmt::Formatter<'_>,
    pin: Option<&ModelPin>,
    answer: &RequestResult,
) -> fmt::Result {
    match answer {
        Ok(outputs) => {
            let ports = pin.map(|pin| pin.signature.outputs.as_slice());
            match pin.is_some_and(|pin| pin.generator.is_some()) {
                false => tensors(f, outputs, ports),
                true => words(f, outputs, ports.unwrap_or_default()),
            }
        }
        Err(reason) => writeln!(f, "    failed: {reason}"),
    }
}

fn inputs(f: &mut fmt::Formatter<'_>, pin: Option<&ModelPin>, inputs: &[Tensor]) -> fmt::Result {
    let ports = pin.map(|pin| pin.signature.inputs.as_slice());
    match pin.is_some_and(|pin| pin.generator.is_some()) {
        false => tensors(f, inputs, ports),
        true => words(f, inputs, ports.unwrap_or_default()),
    }
}

/// What a language model takes and gives: bytes are text, and what is empty says nothing.
fn words(f: &mut fmt::Formatter<'_>, outputs: &[Tensor], ports: &[Port]) -> fmt::Result {
    for (port, tensor) in ports.iter().zip(outputs) {
        match tensor.dtype {
            _ if tensor.data.is_empty() => {}
            DType::U8 => writeln!(f, "      {}: {}", port.name, Payload(&tensor.data))?,
            _ => writeln!(
                f,
                "      {} {}{:?}: {}",
                port.name,
                tensor.dtype,
                tensor.shape,
                Numbers(tensor)
            )?,
        }
    }
    Ok(())
}

fn tensors(f: &mut fmt::Formatter<'_>, tensors: &[Tensor], ports: Option<&[Port]>) -> fmt::Result {
    for (position, tensor) in tensors.iter().enumerate() {
        let named = ports.and_then(|ports| ports.get(position));
        let name = named.map_or_else(|| position.to_string(), |port| port.name.clone());
        writeln!(
            f,
            "      {name} {}{:?}: {}",
            tensor.dtype,
            tensor.shape,
            Numbers(tensor)
        )?;
    }
    Ok(())
}

/// Bytes as text where they are text, otherwise in hexadecimal digits; the beginning of them if there are many.
pub(crate) struct Payload<'bytes>(pub(crate) &'bytes [u8]);

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
        match std::str::from_utf8(bytes) {
            Ok(text) => write!(
                f,
                "{:?}",
                text.chars().take(SHOWN_BYTES).collect::<String>()
            )?,
            Err(_) => write!(f, "0x{}", hex(shown))?,
        }
        if bytes.len() > SHOWN_BYTES {
            write!(f, "... ({} bytes)", bytes.len())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
