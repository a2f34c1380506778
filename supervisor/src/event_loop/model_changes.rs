//! Changes of models that somebody asks for: one at a time is taken in, as a verdict about the open tick, and holds from
//! the next one on.
//!
//! A version that comes in is in memory that the inference host does not have: the next incarnation has it, and it is
//! started once the verdict is committed, or earlier if the living one is lost.

use super::change_requests::{ChangeSource, PendingChange, ProbedVersion};
use super::context::RunContext;
use super::loaded_models::LoadedModels;
use crate::error::RunError;
use crate::record::{ModelChange, Verdict};
use crate::tick::{TickInput, VersionTimeline};
use shm_protocol::id::{ModelId, Tick, VersionId};
use std::sync::mpsc::Sender;

/// Changes of models that somebody asks for.
#[derive(Default)]
pub(super) struct ModelChanges<'a> {
    pub(super) source: Option<&'a mut dyn ChangeSource>,
    /// The tick with whose commit the inference host is started anew.
    engine_restart: Option<Tick>,
    /// The verdicts that are not durable yet, by their tick, with where that is told.
    unacknowledged: Vec<(Tick, Sender<Result<Tick, String>>)>,
}

impl ModelChanges<'_> {
    /// True if the inference host is to be started anew for the verdicts of a committed tick.
    pub(super) fn is_restart_due(&mut self, committed: Tick) -> bool {
        let due = self.engine_restart.take_if(|tick| *tick <= committed);
        due.is_some()
    }

    /// Acknowledges the changes whose verdicts are durable by now.
    pub(super) fn acknowledge_durable(&mut self, durable: Tick) {
        let is_durable = |change: &mut (Tick, _)| change.0 <= durable;
        for (tick, answer) in self.unacknowledged.extract_if(.., is_durable) {
            // Whoever asked may be gone.
            let _ = answer.send(Ok(tick.next()));
        }
    }

    /// Whether somebody waits for an acknowledgement.
    pub(super) fn awaits_durability(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Takes in the change that is asked for next, as a verdict about the open tick.
    ///
    /// # Errors
    /// When the journal does not fit the fleet.
    pub(super) fn take_next(
        &mut self,
        context: &mut RunContext<'_>,
        models: &mut LoadedModels,
    ) -> Result<(), RunError> {
        let open = context.machine.tick();
        let source = self.source.as_mut();
        let Some(change) = source.and_then(|source| source.next(open)) else {
            return Ok(());
        };
        let PendingChange {
            model,
            change,
            answer,
        } = change;
        let verdict = match context.machine.timeline(model) {
            Some(timeline) => verdict(open, models, model, timeline, &change),
            None => Err("the run has no such model".to_owned()),
        };
        match verdict {
            Ok(verdict) => {
                self.unacknowledged.push((open, answer));
                self.apply(context, models, verdict, change)
            }
            Err(reason) => {
                let _ = answer.send(Err(reason));
                Ok(())
            }
        }
    }

    fn apply(
        &mut self,
        context: &mut RunContext<'_>,
        models: &mut LoadedModels,
        verdict: Verdict,
        change: ModelChange<Box<ProbedVersion>>,
    ) -> Result<(), RunError> {
        let Verdict::Changed { model, version, .. } = &verdict else {
            unreachable!("it was made a moment ago");
        };
        let (model, version) = (*model, *version);
        models.apply_verdict(&verdict);
        let needs_restart = match change {
            ModelChange::Unload => false,
            // Its drivers may have to be loaded, which a host that works may not do.
            ModelChange::Load => {
                let pin = version.map(|version| &models.version(version).pin);
                pin.is_some_and(|pin| pin.provider != "cpu")
            }
            ModelChange::Replace(probed) => {
                models.arrange(model, version, probed.files);
                context.hosts.set_models(probed.memory);
                true
            }
        };
        if needs_restart {
            models.await_restart();
            self.engine_restart = Some(context.machine.tick());
        }
        context.apply_own(TickInput::Verdict(verdict))
    }
}

/// The verdict that a change is, or why it cannot be made.
fn verdict(
    open: Tick,
    models: &LoadedModels,
    model: ModelId,
    timeline: &VersionTimeline,
    change: &ModelChange<Box<ProbedVersion>>,
) -> Result<Verdict, String> {
    let next = open.next();
    if let Some(tick) = timeline.change_after(next) {
        return Err(format!(
            "the fleet changes the model in tick {tick}; try again after that"
        ));
    }
    let now = timeline.at(next).version;
    let (version, called) = match change {
        ModelChange::Unload if now.is_none() => return Err("it is not loaded".to_owned()),
        ModelChange::Unload => (None, None),
        ModelChange::Load if now.is_some() => return Err("it is already loaded".to_owned()),
        ModelChange::Load => {
            let last = timeline.last_version(next).unwrap_or(VersionId(model.0));
            let called = models.version(last).pin.version.clone();
            (Some(last), Some(called))
        }
        ModelChange::Replace(probed) => {
            let called = probed.pin.version.clone();
            (Some(models.next_version()), Some(called))
        }
    };
    Ok(Verdict::Changed {
        model,
        version,
        called,
        change: change.map(|probed| probed.pin.clone()),
    })
}
