//! What a run is, as text for people.

use super::{model_name, short};
use crate::record::{AgentPin, Become, ModelChange, ModelPin, RunHeader, VersionPin};
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::tensor::Port;
use std::fmt;

/// The header of a run.
pub struct HeaderText<'run>(pub &'run RunHeader);

impl fmt::Display for HeaderText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.0;
        writeln!(f, "fleet     {} with seed {}", header.fleet, header.seed)?;
        writeln!(
            f,
            "lockstep  {}, wasmtime {}",
            header.lockstep, header.wasmtime
        )?;
        writeln!(
            f,
            "nan       {}",
            if header.canonical_nan {
                "canonical"
            } else {
                "native"
            }
        )?;
        writeln!(f, "step      {} bytes at most", header.step_bytes)?;
        if let Some(engine) = &header.engine {
            let threads = engine.intra_threads;
            writeln!(
                f,
                "engine    {}, threads per operator {threads}, library {}",
                engine.name,
                short(&engine.library)
            )?;
        }
        header
            .models
            .iter()
            .try_for_each(|model| model_text(f, model))?;
        header
            .changes
            .iter()
            .try_for_each(|change| writeln!(f, "change    {}", ChangeText { header, change }))?;
        grouped(&header.agents)
            .into_iter()
            .try_for_each(|(first, last, pin)| agent_text(f, first, last, pin))
    }
}

/// Agents next to each other that differ in name and settings only, as the first, the last and what they share.
fn grouped(agents: &[AgentPin]) -> Vec<(AgentId, AgentId, &AgentPin)> {
    let mut groups: Vec<(AgentId, AgentId, &AgentPin)> = Vec::new();
    for (index, pin) in agents.iter().enumerate() {
        let id = AgentId::from_index(index);
        match groups.last_mut().filter(|(_, _, first)| alike(first, pin)) {
            Some((_, last, _)) => *last = id,
            None => groups.push((id, id, pin)),
        }
    }
    groups
}

fn alike(left: &AgentPin, right: &AgentPin) -> bool {
    let bare = |pin: &AgentPin| AgentPin {
        name: String::new(),
        settings: Vec::new(),
        ..pin.clone()
    };
    bare(left) == bare(right)
}

fn agent_text(
    f: &mut fmt::Formatter<'_>,
    first: AgentId,
    last: AgentId,
    pin: &AgentPin,
) -> fmt::Result {
    let AgentPin {
        name,
        component,
        fuel,
        memory_bytes,
        priority,
        every,
        ..
    } = pin;
    match first == last {
        true => write!(f, "agent     {first} {name}: ")?,
        false => write!(f, "agents    {first} to {last}, as {name}: ")?,
    }
    writeln!(
        f,
        "component {}, fuel {fuel}, memory {memory_bytes} bytes, priority {priority}, every {every}",
        short(component)
    )
}

fn model_text(f: &mut fmt::Formatter<'_>, model: &ModelPin) -> fmt::Result {
    let ports = |ports: &[Port]| {
        ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let ModelPin {
        name,
        version,
        file,
        provider,
        max_batch,
        latency_ticks,
        ..
    } = model;
    writeln!(
        f,
        "model     {name} version {version} on {provider}, latency {latency_ticks} ticks, file {}",
        short(file)
    )?;
    let (inputs, outputs) = (
        ports(&model.signature.inputs),
        ports(&model.signature.outputs),
    );
    writeln!(f, "          {inputs} -> {outputs}")?;
    if let Some(generator) = &model.generator {
        writeln!(
            f,
            "          {} texts at once, {} tokens in a tick",
            generator.sequences, generator.tokens_per_tick
        )?;
    }
    match &model.batching {
        Batching::Joined if model.generator.is_some() => {
            writeln!(f, "          texts share runs")?;
        }
        Batching::Joined => writeln!(f, "          requests are joined, up to {max_batch} rows")?,
        Batching::Alone(_) | Batching::Untried(_) | Batching::Unwanted => writeln!(
            f,
            "          requests run alone: {}",
            model.batching.reason().unwrap_or_default()
        )?,
    }
    model.refused.iter().try_for_each(|(provider, reason)| {
        writeln!(f, "          {provider} was refused: {reason}")
    })
}

/// What becomes of a model, for people.
pub struct ChangeText<'run> {
    /// The header of the run.
    pub header: &'run RunHeader,
    /// The change.
    pub change: &'run ModelChange,
}

impl fmt::Display for ChangeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelChange { from, model, to } = self.change;
        let name = model_name(self.header.models.get(model.index()), *model);
        write!(f, "from tick {from} on, model {name} is ")?;
        match to {
            Become::Unloaded if *from <= Tick(1) => write!(f, "not loaded"),
            Become::Unloaded => write!(f, "unloaded"),
            Become::Loaded => write!(f, "loaded again"),
            Become::Version(pin) => {
                let VersionPin {
                    version,
                    file,
                    provider,
                    refused,
                    batching,
                } = pin;
                write!(f, "version {version} on {provider}, file {}", short(file))?;
                match batching.reason() {
                    None => write!(f, "; requests are joined")?,
                    Some(reason) => write!(f, "; requests run alone: {reason}")?,
                }
                refused.iter().try_for_each(|(provider, reason)| {
                    write!(f, "; {provider} was refused: {reason}")
                })
            }
        }
    }
}
