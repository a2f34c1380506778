//! What is found when a version of a model is loaded again: that it is what it
//! was, or that who ran it is gone.

use super::error::RunError;
use super::header::pin;
use super::load::Facts;
use super::versions::Version;
use crate::fleet::OnLost;
use crate::journal::record::{ModelPin, Verdict};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::id::VersionId;
use shm_protocol::inference_to_supervisor::{LoadRefused, ModelFacts};

/// What is found of a version that is loaded again.
#[derive(Debug)]
pub(super) enum Found {
    /// What it was.
    Same,
    /// It is run by another provider, and may be.
    Moved(Verdict),
    /// It cannot be loaded this time.
    Refused(String),
}

/// Compares what was found of a version with what it was.
///
/// # Errors
/// When the run cannot go on with it.
pub(super) fn found(
    number: VersionId,
    version: &Version,
    result: Result<ModelFacts, LoadRefused>,
    losing: OnLost,
) -> Result<Found, RunError> {
    let before = &version.pin;
    let lost = |reasons: String| RunError::ProviderLost {
        model: before.name.clone(),
        provider: before.provider.clone(),
        reasons,
        asks: losing == OnLost::Ask,
    };
    let facts = match result {
        Ok(facts) => facts,
        Err(refused) if refused.blame == Blame::Demand => return Err(lost(refused.message)),
        Err(refused) => return Ok(Found::Refused(refused.message)),
    };
    let present = pin(before, &facts);
    if *before == present {
        return Ok(Found::Same);
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
            before: format!("{before:?}"),
            now: format!("{present:?}"),
        });
    }
    if losing != OnLost::Degrade {
        let reasons = present.refused.iter();
        let reasons: Vec<String> = reasons
            .map(|(provider, reason)| format!("{provider}: {reason}"))
            .collect();
        return Err(lost(reasons.join("; ")));
    }
    Ok(Found::Moved(Verdict::ProviderLost {
        version: number,
        model: version.model,
        provider: present.provider,
        refused: present.refused,
        batching: present.batching,
    }))
}

/// What is lost of all versions that were loaded when a run is taken up again.
///
/// # Errors
/// When the run cannot go on with what was found.
pub(super) fn moved(
    expected: &[Version],
    facts: &Facts,
    losing: OnLost,
) -> Result<Vec<Verdict>, RunError> {
    let mut verdicts = Vec::new();
    for (number, (version, facts)) in expected.iter().zip(&facts.models).enumerate() {
        let number = VersionId::from_index(number);
        if let Found::Moved(verdict) = found(number, version, Ok(facts.clone()), losing)? {
            verdicts.push(verdict);
        }
    }
    Ok(verdicts)
}
