//! All versions of all models of a run, by their numbers.

use crate::record::{ModelChange, ModelPin, RunHeader, ScheduledChange, Verdict, VersionPin};
use crate::tick::{VersionSpan, VersionTimeline};
use shm_protocol::id::{ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::Batching;
use std::collections::BTreeMap;

/// One version of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelVersion {
    /// The model.
    pub(crate) model: ModelId,
    /// The pin of the model as this version.
    pub(crate) pin: ModelPin,
    /// Requested providers at the start of the run.
    requested_providers: Vec<String>,
}

impl ModelVersion {
    /// A version as it is loaded again.
    fn reloaded(model: ModelId, pin: ModelPin) -> ModelVersion {
        ModelVersion {
            model,
            requested_providers: pin.providers.clone(),
            pin: as_reloaded(pin),
        }
    }

    /// Another version of the same model.
    fn followed_by(&self, version: &VersionPin) -> ModelVersion {
        let first = ModelPin {
            providers: self.requested_providers.clone(),
            ..self.pin.clone()
        };
        ModelVersion::reloaded(self.model, as_version(&first, version))
    }
}

/// All versions, the first ones of all models before all others, each as it is when it is loaded again.
pub(crate) fn versions(header: &RunHeader) -> Vec<ModelVersion> {
    let first = |(number, pin): (usize, &ModelPin)| {
        ModelVersion::reloaded(ModelId::from_index(number), pin.clone())
    };
    let later = |scheduled: &ScheduledChange<VersionPin>| {
        let version = scheduled.change.new_version()?;
        let pin = as_version(header.models.get(scheduled.model.index())?, version);
        Some(ModelVersion::reloaded(scheduled.model, pin))
    };
    let firsts = header.models.iter().enumerate().map(first);
    firsts
        .chain(header.changes.iter().filter_map(later))
        .collect()
}

/// The pin of a model as another version of it.
fn as_version(pin: &ModelPin, version: &VersionPin) -> ModelPin {
    let version = version.clone();
    ModelPin {
        version: version.version,
        file: version.file,
        provider: version.provider,
        refused: version.refused,
        batching: version.batching,
        ..pin.clone()
    }
}

/// A model as it is loaded again: providers that were refused before are not tried, even if they are available now,
/// because results would not be bit for bit the same.
fn as_reloaded(mut pin: ModelPin) -> ModelPin {
    let runs = pin.provider.split('+').next().unwrap_or_default();
    let dropped = pin.providers.iter().take_while(|name| *name != runs);
    let dropped = dropped.count();
    if dropped < pin.providers.len() {
        pin.providers.drain(..dropped);
    }
    pin.refused.clear();
    pin
}

/// Applies verdicts to versions, and adds the versions that they brought in.
pub(crate) fn apply_verdicts<'a>(
    versions: &mut Vec<ModelVersion>,
    verdicts: impl Iterator<Item = &'a Verdict>,
) {
    for verdict in verdicts {
        match verdict {
            Verdict::ProviderLost {
                version,
                provider,
                batching,
                ..
            } => {
                if let Some(held) = versions.get_mut(version.index()) {
                    held.pin.provider.clone_from(provider);
                    held.pin.batching.clone_from(batching);
                    held.pin = as_reloaded(held.pin.clone());
                }
            }
            // A known version has a number that is taken.
            Verdict::Changed {
                model,
                version: Some(number),
                change: ModelChange::Replace(version),
                ..
            } if number.index() == versions.len() => {
                let first = versions.get(model.index());
                versions.extend(first.map(|first| first.followed_by(version)));
            }
            Verdict::Changed { .. }
            | Verdict::Quarantined { .. }
            | Verdict::RequestAbandoned { .. } => {}
        }
    }
}

/// The timeline of a model.
pub(crate) fn timeline(header: &RunHeader, model: ModelId) -> VersionTimeline {
    let pin = &header.models[model.index()];
    let joined = |batching: &Batching| *batching == Batching::Joined;
    let (mut version, mut is_batched) = (VersionId(model.0), joined(&pin.batching));
    let mut timeline = VersionTimeline::new(version, is_batched);
    let mut later = (header.models.len()..).map(VersionId::from_index);
    for scheduled in &header.changes {
        let pin = scheduled.change.new_version();
        // Versions are numbered over all models.
        let number = pin.and_then(|_| later.next());
        if scheduled.model != model {
            continue;
        }
        if let (Some(pin), Some(number)) = (pin, number) {
            (version, is_batched) = (number, joined(&pin.batching));
        }
        let is_loaded = scheduled.change != ModelChange::Unload;
        timeline.insert(VersionSpan {
            from: scheduled.from,
            version: is_loaded.then_some(version),
            is_batched,
        });
    }
    timeline
}

/// The header with the models as they were in a tick, after these verdicts: each with its last provider.
pub(crate) fn header_at<'a>(
    header: &RunHeader,
    verdicts: impl Iterator<Item = &'a (Tick, Verdict)> + Clone,
    tick: Tick,
) -> RunHeader {
    let mut header = header.with(verdicts.clone());
    let mut all = versions(&header);
    let mut refused = BTreeMap::new();
    for (_, verdict) in verdicts {
        apply_verdicts(&mut all, std::iter::once(verdict));
        if let Verdict::ProviderLost {
            version,
            refused: reasons,
            ..
        } = verdict
        {
            refused.insert(*version, reasons.clone());
        }
    }
    for number in 0..header.models.len() {
        let model = ModelId::from_index(number);
        let Some(version) = timeline(&header, model).at(tick).version else {
            continue;
        };
        let pin = &mut header.models[number];
        pin.provider.clone_from(&all[version.index()].pin.provider);
        if let Some(reasons) = refused.remove(&version) {
            pin.refused = reasons;
        }
    }
    header
}
