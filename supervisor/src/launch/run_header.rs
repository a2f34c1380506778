//! The first record of a journal, from what was asked for and what was found.

use super::load::LoadReport;
use super::manifest::{AskedToBecome, ChangeAsked, Manifest, ModelSource};
use super::placement::Placement;
use crate::error::RunError;
use crate::models::lives;
use crate::record::{Become, EnginePin, ModelChange, ModelPin, RunHeader, VersionPin};
use crate::tick::{PlannedAgent, PlannedGenerator, PlannedModel, RunPlan};
use shm_protocol::id::ModelId;
use shm_protocol::inference_to_supervisor::{ModelInfo, RefusalReason};
use shm_protocol::limit;
use shm_protocol::tensor::Port;

/// What a run is, once the models are loaded.
pub(crate) fn run_header(
    manifest: &Manifest,
    facts: &LoadReport,
    lockstep: &str,
    wasmtime: &str,
) -> RunHeader {
    let pin = |(asked, found): (&ModelSource, &ModelInfo)| ModelPin {
        name: asked.name.clone(),
        version: asked.version.clone(),
        file: asked.file,
        providers: asked.providers.clone(),
        provider: found.provider.clone(),
        refused: reasons(found),
        signature: found.signature.clone(),
        batching: found.batching.journaled(),
        max_batch: asked.max_batch,
        latency_ticks: asked.latency_ticks,
        on_mismatch: asked.on_mismatch,
        rejects_nonfinite: asked.rejects_nonfinite,
        memory_bytes: asked.memory_bytes,
        generator: asked.generator,
    };
    // Versions after the first come in the order of the changes that bring them in.
    let mut later = facts.models.iter().skip(manifest.models.len());
    let change = |asked: &ChangeAsked| ModelChange {
        from: asked.from,
        model: asked.model,
        to: match &asked.to {
            AskedToBecome::Unloaded => Become::Unloaded,
            AskedToBecome::Loaded => Become::Loaded,
            AskedToBecome::Version { version, file } => {
                let found = later.next().expect("every version is loaded once");
                Become::Version(VersionPin {
                    version: version.clone(),
                    file: *file,
                    provider: found.provider.clone(),
                    refused: reasons(found),
                    batching: found.batching.journaled(),
                })
            }
        },
    };
    let changes = manifest.changes.iter().map(change).collect();
    RunHeader {
        lockstep: lockstep.to_owned(),
        wasmtime: wasmtime.to_owned(),
        fleet: manifest.fleet.clone(),
        seed: manifest.seed,
        canonical_nan: manifest.canonical_nan,
        step_bytes: manifest.step_bytes,
        agents: manifest.agents.clone(),
        models: manifest.models.iter().zip(&facts.models).map(pin).collect(),
        changes,
        engine: facts.engine.as_ref().map(|engine| EnginePin {
            name: engine.engine.clone(),
            library: engine.library_digest,
            intra_threads: manifest.intra_threads,
        }),
    }
}

/// The providers that were refused, as they are journaled.
pub(crate) fn reasons(found: &ModelInfo) -> Vec<(String, RefusalReason)> {
    let refused = found.refused.iter();
    refused
        .map(|refused| (refused.provider.clone(), refused.reason))
        .collect()
}

/// What a model is that was loaded again.
pub(crate) fn pin(before: &ModelPin, found: &ModelInfo) -> ModelPin {
    ModelPin {
        provider: found.provider.clone(),
        refused: reasons(found),
        signature: found.signature.clone(),
        batching: found.batching.journaled(),
        ..before.clone()
    }
}

/// Refuses models that are not what the fleet says they are.
pub(crate) fn check_signatures(manifest: &Manifest, facts: &LoadReport) -> Result<(), RunError> {
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
    let later = facts.models.iter().skip(manifest.models.len());
    for ((model, version), found) in manifest.later_versions().zip(later) {
        let name = &manifest.models[model.index()].name;
        check_version((name, version), &facts.models[model.index()], found)?;
    }
    Ok(())
}

/// Refuses another version of a model that does not take and give what the first one does: agents know the ports of a
/// model, whichever version answers.
pub(crate) fn check_version(
    (model, version): (&str, &str),
    first: &ModelInfo,
    found: &ModelInfo,
) -> Result<(), RunError> {
    let other = |what, asked, found| RunError::OtherVersion {
        model: model.to_owned(),
        version: version.to_owned(),
        what,
        asked,
        found,
    };
    let kind = |facts: &ModelInfo| match facts.is_encoder {
        true => "embeddings".to_owned(),
        false => "texts".to_owned(),
    };
    if first.is_encoder != found.is_encoder {
        return Err(other("answers", kind(first), kind(found)));
    }
    let (first, found) = (&first.signature, &found.signature);
    let pairs = [
        ("inputs", &first.inputs, &found.inputs),
        ("outputs", &first.outputs, &found.outputs),
    ];
    match pairs.into_iter().find(|(_, one, other)| one != other) {
        Some((what, asked, found)) => Err(other(what, listed(asked), listed(found))),
        None => Ok(()),
    }
}

fn listed(ports: &[Port]) -> String {
    ports
        .iter()
        .map(Port::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What the machine needs of a run.
pub(crate) fn plan(header: &RunHeader, layout: &Placement) -> RunPlan {
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
    let planned = |(number, model): (usize, &ModelPin)| PlannedModel {
        name: model.name.clone(),
        signature: model.signature.clone(),
        lives: lives(header, ModelId::from_index(number)),
        max_batch: model.max_batch,
        latency_ticks: model.latency_ticks,
        rejects_nonfinite: model.rejects_nonfinite,
        generator: model.generator.map(|how| PlannedGenerator {
            how,
            seed: header.seed,
        }),
    };
    let models = header.models.iter().enumerate().map(planned);
    let step_bytes = usize::try_from(header.step_bytes).unwrap_or(limit::MOST_STEP_BYTES);
    RunPlan::new(agents.collect(), models.collect(), step_bytes)
}
