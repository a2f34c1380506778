//! All versions of all models of a run, by their numbers.

use crate::record::{Become, ModelChange, ModelPin, RunHeader, Verdict, VersionPin};
use crate::tick::{VersionSpan, VersionTimeline};
use shm_protocol::id::{ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::Batching;
use std::collections::BTreeMap;

/// One version of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelVersion {
    /// The model.
    pub(crate) model: ModelId,
    /// What the model is as this version.
    pub(crate) pin: ModelPin,
    /// Providers that were asked for in the beginning.
    asked: Vec<String>,
}

impl ModelVersion {
    /// A version as it is when it is loaded again.
    fn again(model: ModelId, pin: ModelPin) -> ModelVersion {
        ModelVersion {
            model,
            asked: pin.providers.clone(),
            pin: again(pin),
        }
    }

    /// Another version of the same model.
    fn followed_by(&self, version: &VersionPin) -> ModelVersion {
        let first = ModelPin {
            providers: self.asked.clone(),
            ..self.pin.clone()
        };
        ModelVersion::again(self.model, as_version(&first, version))
    }
}

/// All versions, the first ones of all models before all others, each as it is when it is loaded again.
pub(crate) fn versions(header: &RunHeader) -> Vec<ModelVersion> {
    let first = |(number, pin): (usize, &ModelPin)| {
        ModelVersion::again(ModelId::from_index(number), pin.clone())
    };
    let later = |change: &ModelChange| match &change.to {
        Become::Version(version) => {
            let pin = header.models.get(change.model.index())?;
            Some(ModelVersion::again(change.model, as_version(pin, version)))
        }
        Become::Unloaded | Become::Loaded => None,
    };
    let firsts = header.models.iter().enumerate().map(first);
    firsts
        .chain(header.changes.iter().filter_map(later))
        .collect()
}

/// What a model is as another version of it.
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

/// A model as it is loaded again: providers that were refused before are not tried, even if they have come meanwhile.
/// Nothing would be bit for bit the same.
fn again(mut pin: ModelPin) -> ModelPin {
    let runs = pin.provider.split('+').next().unwrap_or_default();
    let gone = pin.providers.iter().take_while(|name| *name != runs);
    let gone = gone.count();
    if gone < pin.providers.len() {
        pin.providers.drain(..gone);
    }
    pin.refused.clear();
    pin
}

/// What verdicts have made of versions, and those that have come with them.
pub(crate) fn judge<'a>(
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
                    held.pin = again(held.pin.clone());
                }
            }
            // One that is known already has a number that is taken.
            Verdict::Changed {
                model,
                version: Some(number),
                to: Become::Version(version),
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

/// Which version of a model answers when.
pub(crate) fn lives(header: &RunHeader, model: ModelId) -> VersionTimeline {
    let pin = &header.models[model.index()];
    let joined = |batching: &Batching| *batching == Batching::Joined;
    let (mut version, mut joins) = (VersionId(model.0), joined(&pin.batching));
    let mut lives = VersionTimeline::of(version, joins);
    let mut later = (header.models.len()..).map(VersionId::from_index);
    for change in &header.changes {
        let number = match change.to {
            Become::Version(_) => later.next(),
            _ => None,
        };
        if change.model != model {
            continue;
        }
        if let (Become::Version(pin), Some(number)) = (&change.to, number) {
            (version, joins) = (number, joined(&pin.batching));
        }
        let is_loaded = change.to != Become::Unloaded;
        lives.change(VersionSpan {
            from: change.from,
            version: is_loaded.then_some(version),
            joined: joins,
        });
    }
    lives
}

/// What models were in a tick, after these verdicts: who has run each last.
pub(crate) fn as_of<'a>(
    header: &RunHeader,
    verdicts: impl Iterator<Item = &'a (Tick, Verdict)> + Clone,
    tick: Tick,
) -> RunHeader {
    let mut header = header.with(verdicts.clone());
    let mut all = versions(&header);
    let mut refused = BTreeMap::new();
    for (_, verdict) in verdicts {
        judge(&mut all, std::iter::once(verdict));
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
        let Some(version) = lives(&header, model).at(tick).version else {
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
