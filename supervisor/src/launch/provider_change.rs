//! Detection of provider changes: a version of a model that is loaded again is compared with what it was.

use super::load::LoadReport;
use super::run_header::reloaded_pin;
use crate::error::RunError;
use crate::fleet::OnProviderLost;
use crate::models::ModelVersion;
use crate::record::{ModelPin, Verdict};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::id::VersionId;
use shm_protocol::inference_to_supervisor::{LoadRefused, ModelInfo, RefusedProvider};
use shm_protocol::tensor::Port;
use std::collections::BTreeSet;

/// The outcome of loading a version again.
#[derive(Debug)]
pub(crate) enum ReloadOutcome {
    /// It is unchanged.
    Same,
    /// Another provider runs it, which is allowed.
    ProviderChanged {
        /// The verdict.
        verdict: Verdict,
        /// The providers that were refused.
        refused: Vec<RefusedProvider>,
    },
    /// It cannot be loaded this time.
    Refused(String),
}

/// Compares a version that was loaded again with what it was.
///
/// # Errors
/// When the run cannot continue with it.
pub(crate) fn compare_version(
    number: VersionId,
    version: &ModelVersion,
    result: Result<ModelInfo, LoadRefused>,
    on_lost: OnProviderLost,
) -> Result<ReloadOutcome, RunError> {
    let before = &version.pin;
    let lost = |reasons: String, has_next: bool| RunError::ProviderLost {
        model: before.name.clone(),
        provider: before.provider.clone(),
        reasons,
        has_next,
        asks: on_lost == OnProviderLost::Ask,
    };
    let info = match result {
        Ok(info) => info,
        Err(refused) if refused.blame == Blame::Demand => return Err(lost(refused.message, false)),
        Err(refused) => return Ok(ReloadOutcome::Refused(refused.message)),
    };
    let present = reloaded_pin(before, &info);
    let is_same = *before
        == ModelPin {
            batching: before.batching.clone(),
            ..present.clone()
        };
    if is_same && info.batching.agrees_with(&before.batching) {
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
    if on_lost != OnProviderLost::Fallback {
        let reasons = info.refused.iter();
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
    Ok(ReloadOutcome::ProviderChanged {
        verdict,
        refused: info.refused,
    })
}

/// A version of a model, for messages.
fn described(pin: &ModelPin) -> String {
    let ports = |ports: &[Port]| {
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        ports.join(", ")
    };
    let batching = match pin.batching.reason() {
        None => "requests are batched".to_owned(),
        Some(reason) => format!("requests are not batched: {reason}"),
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

/// The verdicts on versions that lost their provider before a run is resumed.
///
/// # Errors
/// When the run cannot continue with what was found.
pub(crate) fn provider_changes(
    expected: &[ModelVersion],
    report: &LoadReport,
    needed: &BTreeSet<VersionId>,
    on_lost: OnProviderLost,
) -> Result<Vec<Verdict>, RunError> {
    let mut verdicts = Vec::new();
    for (number, (version, info)) in expected.iter().zip(&report.models).enumerate() {
        let number = VersionId::from_index(number);
        // The provider of a version that answers nothing now is compared when it is loaded.
        if !needed.contains(&number) {
            continue;
        }
        if let ReloadOutcome::ProviderChanged { verdict, .. } =
            compare_version(number, version, Ok(info.clone()), on_lost)?
        {
            verdicts.push(verdict);
        }
    }
    Ok(verdicts)
}
