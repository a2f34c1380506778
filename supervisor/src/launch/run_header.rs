//! Makes the first record of a journal from a manifest and the report of its loading.

use super::load::LoadReport;
use super::manifest::Manifest;
use super::placement::Placement;
use crate::error::RunError;
use crate::models::timeline;
use crate::record::{
    Digest, EnginePin, ModelDefinition, ModelPin, NewVersion, RunHeader, VersionPin,
};
use crate::tick::{PlannedAgent, PlannedModel, RunPlan};
use shm_protocol::id::ModelId;
use shm_protocol::inference_to_supervisor::{ModelInfo, RefusalReason};
use shm_protocol::limit;
use shm_protocol::tensor::Port;

/// The header of a run, once the models are loaded.
pub(crate) fn run_header(
    manifest: &Manifest,
    report: &LoadReport,
    lockstep: &str,
    wasmtime: &str,
) -> RunHeader {
    let pin = |(requested, found): (&ModelDefinition<Digest>, &ModelInfo)| ModelPin {
        name: requested.name.clone(),
        version: requested.version.clone(),
        file: requested.file,
        providers: requested.providers.clone(),
        provider: found.provider.clone(),
        refused: refusal_reasons(found),
        signature: found.signature.clone(),
        batching: found.batching.journaled(),
        settings: requested.settings,
    };
    // Versions after the first come in the order of the changes that bring them in.
    let mut later = report.models.iter().skip(manifest.models.len());
    let mut pin_version = |new: &NewVersion<Digest>| {
        let found = later.next().expect("every version is loaded once");
        VersionPin {
            version: new.version.clone(),
            file: new.file,
            provider: found.provider.clone(),
            refused: refusal_reasons(found),
            batching: found.batching.journaled(),
        }
    };
    let changes = manifest.changes.iter();
    let changes = changes.map(|change| change.map(&mut pin_version)).collect();
    RunHeader {
        lockstep: lockstep.to_owned(),
        wasmtime: wasmtime.to_owned(),
        fleet: manifest.fleet.clone(),
        seed: manifest.seed,
        canonical_nan: manifest.canonical_nan,
        max_step_bytes: manifest.max_step_bytes,
        agents: manifest.agents.clone(),
        models: manifest
            .models
            .iter()
            .zip(&report.models)
            .map(pin)
            .collect(),
        changes,
        engine: report.engine.as_ref().map(|engine| EnginePin {
            name: engine.engine.clone(),
            library: engine.library_digest,
            intra_op_threads: manifest.intra_op_threads,
        }),
    }
}

/// The providers that were refused, as they are journaled.
pub(crate) fn refusal_reasons(found: &ModelInfo) -> Vec<(String, RefusalReason)> {
    let refused = found.refused.iter();
    refused
        .map(|refused| (refused.provider.clone(), refused.reason))
        .collect()
}

/// The pin of a model that was loaded again.
pub(crate) fn reloaded_pin(before: &ModelPin, found: &ModelInfo) -> ModelPin {
    ModelPin {
        provider: found.provider.clone(),
        refused: refusal_reasons(found),
        signature: found.signature.clone(),
        batching: found.batching.journaled(),
        ..before.clone()
    }
}

/// Refuses models whose inputs or outputs are not those of the fleet.
pub(crate) fn check_signatures(manifest: &Manifest, report: &LoadReport) -> Result<(), RunError> {
    for (requested, found) in manifest.models.iter().zip(&report.models) {
        let pairs = [
            ("inputs", &requested.inputs, &found.signature.inputs),
            ("outputs", &requested.outputs, &found.signature.outputs),
        ];
        for (what, asked_ports, found_ports) in pairs {
            if !asked_ports.is_empty() && asked_ports != found_ports {
                let (model, asked, found) = (
                    requested.name.clone(),
                    listed(asked_ports),
                    listed(found_ports),
                );
                return Err(RunError::Signature {
                    model,
                    what,
                    asked,
                    found,
                });
            }
        }
    }
    let later = report.models.iter().skip(manifest.models.len());
    for ((model, new), found) in manifest.later_versions().zip(later) {
        let name = &manifest.models[model.index()].name;
        check_version((name, &new.version), &report.models[model.index()], found)?;
    }
    Ok(())
}

/// Refuses another version of a model whose inputs and outputs are not those of the first one: agents know the ports of
/// a model, whichever version answers.
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
    let kind = |info: &ModelInfo| match info.is_encoder {
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
        Some((what, requested, found)) => Err(other(what, listed(requested), listed(found))),
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

/// The plan of a run.
pub(crate) fn plan(header: &RunHeader, placement: &Placement) -> RunPlan {
    let agents = header
        .agents
        .iter()
        .zip(&placement.host_of)
        .map(|(agent, host)| PlannedAgent {
            host: *host,
            priority: agent.priority,
            every: agent.every,
            on_failure: agent.on_failure,
            may_finish: agent.may_finish,
        });
    let planned = |(number, model): (usize, &ModelPin)| PlannedModel {
        name: model.name.clone(),
        signature: model.signature.clone(),
        timeline: timeline(header, ModelId::from_index(number)),
        settings: model.settings,
        seed: header.seed,
    };
    let models = header.models.iter().enumerate().map(planned);
    let max_step_bytes = usize::try_from(header.max_step_bytes).unwrap_or(limit::MAX_STEP_BYTES);
    RunPlan::new(agents.collect(), models.collect(), max_step_bytes)
}
