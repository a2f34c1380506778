//! The first record of a journal, from what was asked for and what was found.

use super::error::RunError;
use super::layout::Layout;
use super::load::Facts;
use super::manifest::{Manifest, ModelAsked};
use crate::journal::record::{EnginePin, ModelPin, RunHeader};
use crate::tick::{Plan, PlannedAgent, PlannedGenerator, PlannedModel};
use shm_protocol::inference_to_supervisor::{Batching, ModelFacts};
use shm_protocol::limit;
use shm_protocol::tensor::Port;

/// What a run is, once the models are loaded.
pub(super) fn run_header(
    manifest: &Manifest,
    facts: &Facts,
    lockstep: &str,
    wasmtime: &str,
) -> RunHeader {
    let pin = |(asked, found): (&ModelAsked, &ModelFacts)| ModelPin {
        name: asked.name.clone(),
        file: asked.file,
        providers: asked.providers.clone(),
        provider: found.provider.clone(),
        refused: found.refused.clone(),
        signature: found.signature.clone(),
        batching: found.batching.clone(),
        max_batch: asked.max_batch,
        latency_ticks: asked.latency_ticks,
        on_mismatch: asked.on_mismatch,
        rejects_nonfinite: asked.rejects_nonfinite,
        generator: asked.generator,
    };
    RunHeader {
        lockstep: lockstep.to_owned(),
        wasmtime: wasmtime.to_owned(),
        fleet: manifest.fleet.clone(),
        seed: manifest.seed,
        canonical_nan: manifest.canonical_nan,
        agents: manifest.agents.clone(),
        models: manifest.models.iter().zip(&facts.models).map(pin).collect(),
        engine: facts.engine.as_ref().map(|engine| EnginePin {
            name: engine.engine.clone(),
            library: engine.library_digest,
            intra_threads: manifest.intra_threads,
        }),
    }
}

/// What a model is that was loaded again.
pub(super) fn pin(before: &ModelPin, found: &ModelFacts) -> ModelPin {
    ModelPin {
        provider: found.provider.clone(),
        refused: found.refused.clone(),
        signature: found.signature.clone(),
        batching: found.batching.clone(),
        ..before.clone()
    }
}

/// Refuses models that are not what the fleet says they are.
pub(super) fn check_signatures(manifest: &Manifest, facts: &Facts) -> Result<(), RunError> {
    for (asked, found) in manifest.models.iter().zip(&facts.models) {
        let pairs = [
            ("inputs", &asked.inputs, &found.signature.inputs),
            ("outputs", &asked.outputs, &found.signature.outputs),
        ];
        for (what, asked_ports, found_ports) in pairs {
            if !asked_ports.is_empty() && asked_ports != found_ports {
                let (model, asked, found) =
                    (asked.name.clone(), listed(asked_ports), listed(found_ports));
                return Err(RunError::Signature {
                    model,
                    what,
                    asked,
                    found,
                });
            }
        }
    }
    Ok(())
}

fn listed(ports: &[Port]) -> String {
    ports
        .iter()
        .map(Port::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What the machine needs of a run.
pub(super) fn plan(header: &RunHeader, layout: &Layout) -> Plan {
    let agents = header
        .agents
        .iter()
        .zip(&layout.host_of)
        .map(|(agent, host)| PlannedAgent {
            host: *host,
            priority: agent.priority,
            every: agent.every,
            on_failure: agent.on_failure,
        });
    let models = header.models.iter().map(|model| PlannedModel {
        name: model.name.clone(),
        signature: model.signature.clone(),
        joined: model.batching == Batching::Joined,
        max_batch: model.max_batch,
        latency_ticks: model.latency_ticks,
        rejects_nonfinite: model.rejects_nonfinite,
        generator: model.generator.map(|how| PlannedGenerator {
            how,
            seed: header.seed,
        }),
    });
    Plan::new(agents.collect(), models.collect(), limit::STEP_BYTES)
}
