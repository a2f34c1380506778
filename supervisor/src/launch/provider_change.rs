//! What is found when a version of a model is loaded again: that it is what it
//! was, or that who ran it is gone.

use super::load::LoadReport;
use super::run_header::pin;
use crate::error::RunError;
use crate::fleet::OnLost;
use crate::models::ModelVersion;
use crate::record::{ModelPin, Verdict};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::id::VersionId;
use shm_protocol::inference_to_supervisor::{LoadRefused, ModelInfo, RefusedProvider};
use shm_protocol::tensor::Port;
use std::collections::BTreeSet;

/// What is found of a version that is loaded again.
#[derive(Debug)]
pub(crate) enum ReloadOutcome {
    /// What it was.
    Same,
    /// It is run by another provider, and may be.
    Moved {
        /// The verdict.
        verdict: Verdict,
        /// The providers that were refused.
        refused: Vec<RefusedProvider>,
    },
    /// It cannot be loaded this time.
    Refused(String),
}

/// Compares what was found of a version with what it was.
///
/// # Errors
/// When the run cannot go on with it.
pub(crate) fn found(
    number: VersionId,
    version: &ModelVersion,
    result: Result<ModelInfo, LoadRefused>,
    losing: OnLost,
) -> Result<ReloadOutcome, RunError> {
    let before = &version.pin;
    let lost = |reasons: String, has_next: bool| RunError::ProviderLost {
        model: before.name.clone(),
        provider: before.provider.clone(),
        reasons,
        has_next,
        asks: losing == OnLost::Ask,
    };
    let facts = match result {
        Ok(facts) => facts,
        Err(refused) if refused.blame == Blame::Demand => return Err(lost(refused.message, false)),
        Err(refused) => return Ok(ReloadOutcome::Refused(refused.message)),
    };
    let present = pin(before, &facts);
    let is_same = *before
        == ModelPin {
            batching: before.batching.clone(),
            ..present.clone()
        };
    if is_same && facts.batching.agrees_with(&before.batching) {
        return Ok(ReloadOutcome::Same);
    }
    let is_moved = present.provider != before.provider
        && *before
            == ModelPin {
                provider: before.provider.clone(),
                refused: before.refused.clone(),
                batching: before.batching.clone(),
                ..present.clone()
            };
    if !is_moved {
        return Err(RunError::EngineChanged {
            before: described(before),
            now: described(&present),
        });
    }
    if losing != OnLost::Degrade {
        let reasons = facts.refused.iter();
        let reasons: Vec<String> = reasons
            .map(|refused| format!("{}: {}", refused.provider, refused.detail))
            .collect();
        return Err(lost(reasons.join("; "), true));
    }
    let verdict = Verdict::ProviderLost {
        version: number,
        called: version.pin.version.clone(),
        model: version.model,
        provider: present.provider,
        refused: present.refused,
        batching: present.batching,
    };
    Ok(ReloadOutcome::Moved {
        verdict,
        refused: facts.refused,
    })
}

/// A version of a model, for people.
fn described(pin: &ModelPin) -> String {
    let ports = |ports: &[Port]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    };
    let batching = match pin.batching.reason() {
        None => "requests are joined".to_owned(),
        Some(reason) => format!("requests run alone: {reason}"),
    };
    format!(
        "model {}, version {}, {} -> {} on {} ({batching})",
        pin.name,
        pin.version,
        ports(&pin.signature.inputs),
        ports(&pin.signature.outputs),
        pin.provider
    )
}

/// What is lost of all versions that were loaded when a run is taken up again.
///
/// # Errors
/// When the run cannot go on with what was found.
pub(crate) fn moved(
    expected: &[ModelVersion],
    facts: &LoadReport,
    needed: &BTreeSet<VersionId>,
    losing: OnLost,
) -> Result<Vec<Verdict>, RunError> {
    let mut verdicts = Vec::new();
    for (number, (version, facts)) in expected.iter().zip(&facts.models).enumerate() {
        let number = VersionId::from_index(number);
        // Who runs a version that answers nothing now is found out when it is loaded.
        if !needed.contains(&number) {
            continue;
        }
        if let ReloadOutcome::Moved { verdict, .. } =
            found(number, version, Ok(facts.clone()), losing)?
        {
            verdicts.push(verdict);
        }
    }
    Ok(verdicts)
}
