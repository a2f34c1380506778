//! Changes of models that somebody asks for: one at a time is taken in, as a
//! verdict about the open tick, and holds from the next one on.
//!
//! A version that comes in is in memory that the inference host does not have.
//! It is started anew with that once the verdict is committed, as after a loss.

use super::EventLoop;
use super::change_requests::{ChangeSource, PendingChange, ToBecome};
use super::restart::HostRestart;
use crate::error::RunError;
use crate::record::{Become, Digest, Verdict};
use crate::tick::{Input, VersionTimeline};
use shm_protocol::boot::Extent;
use shm_protocol::id::{ModelId, Tick, VersionId};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;

/// What the loop knows of who changes models.
#[derive(Default)]
pub(super) struct ModelChanges<'a> {
    operator: Option<&'a mut dyn ChangeSource>,
    /// The tick with whose commit the inference host is started anew, and with which memory if with another.
    renewal: Option<(Tick, Option<OwnedFd>)>,
    /// Who waits to hear that the verdict of a tick is durable.
    granted: Vec<(Tick, Sender<Result<Tick, String>>)>,
}

impl<'a> EventLoop<'a> {
    /// Lets somebody change models.
    #[must_use]
    pub fn with_change_source(mut self, operator: &'a mut dyn ChangeSource) -> EventLoop<'a> {
        self.changing.operator = Some(operator);
        self
    }

    /// After a commit: does what the verdicts of that tick ask for, and takes in what is asked for next.
    pub(super) fn take_change_requests(&mut self, committed: Tick) -> Result<(), RunError> {
        let is_due = |renewal: &mut (Tick, Option<OwnedFd>)| renewal.0 <= committed;
        if let Some((_, memory)) = self.changing.renewal.take_if(is_due) {
            self.restart_inference_host(memory)?;
        }
        self.acknowledge_durable_changes();
        let open = self.machine.tick();
        let Some(operator) = &mut self.changing.operator else {
            return Ok(());
        };
        let Some(asked) = operator.next(open) else {
            return Ok(());
        };
        let PendingChange { model, to, answer } = asked;
        let verdict = match self.machine.lives(model) {
            Some(lives) => self.verdict(model, lives, &to),
            None => Err("the run has no such model".to_owned()),
        };
        match verdict {
            Ok(verdict) => {
                self.changing.granted.push((open, answer));
                self.apply_change(verdict, to)
            }
            Err(reason) => {
                // Who asked may be gone.
                let _ = answer.send(Err(reason));
                Ok(())
            }
        }
    }

    /// Tells those whose verdicts are durable by now.
    pub(super) fn acknowledge_durable_changes(&mut self) {
        if self.changing.granted.is_empty() {
            return;
        }
        let durable = self.ledger.durable();
        let is_durable = |granted: &mut (Tick, _)| granted.0 <= durable;
        for (tick, answer) in self.changing.granted.extract_if(.., is_durable) {
            let _ = answer.send(Ok(tick.next()));
        }
    }

    /// The verdict that a change is, or why it cannot be made.
    fn verdict(
        &self,
        model: ModelId,
        lives: &VersionTimeline,
        to: &ToBecome,
    ) -> Result<Verdict, String> {
        let next = self.machine.tick().next();
        if let Some(tick) = lives.change_after(next) {
            return Err(format!(
                "the fleet itself changes the model in tick {tick}; ask again after that"
            ));
        }
        let now = lives.at(next).version;
        let (version, called, to) = match to {
            ToBecome::Unloaded if now.is_none() => return Err("it is not loaded".to_owned()),
            ToBecome::Unloaded => (None, None, Become::Unloaded),
            ToBecome::Loaded if now.is_some() => return Err("it is loaded already".to_owned()),
            ToBecome::Loaded => {
                let last = lives.last_version(next).unwrap_or(VersionId(model.0));
                let called = self.held.version(last).pin.version.clone();
                (Some(last), Some(called), Become::Loaded)
            }
            ToBecome::Version(arriving) => {
                let number = self.held.next_version();
                let pin = arriving.pin.clone();
                (
                    Some(number),
                    Some(pin.version.clone()),
                    Become::Version(pin),
                )
            }
        };
        Ok(Verdict::Changed {
            model,
            version,
            called,
            to,
        })
    }

    fn apply_change(&mut self, verdict: Verdict, to: ToBecome) -> Result<(), RunError> {
        let Verdict::Changed { model, version, .. } = &verdict else {
            unreachable!("it was made a moment ago");
        };
        let (model, version) = (*model, *version);
        self.held.judge(&verdict);
        let renewed = match to {
            ToBecome::Unloaded => None,
            // Its drivers may have to be loaded, which a host that works may not do.
            ToBecome::Loaded => {
                let pin = version.map(|version| &self.held.version(version).pin);
                pin.is_some_and(|pin| pin.provider != "cpu").then_some(None)
            }
            ToBecome::Version(arriving) => {
                self.held.arrange(model, version, &arriving.files);
                Some(Some(arriving.memory))
            }
        };
        self.changing.renewal = renewed.map(|memory| (self.machine.tick(), memory));
        self.apply(Input::Verdict(verdict))
    }

    /// Starts the inference host anew, with other memory if there is some.
    fn restart_inference_host(&mut self, memory: Option<OwnedFd>) -> Result<(), RunError> {
        let Some(host) = self.hosts.inference_host() else {
            return Ok(());
        };
        self.hosts.retire_engine(host, memory);
        let now = self.hosts.clock();
        let comeback = HostRestart::as_planned(now, "a model was changed");
        self.station(host).restart.get_or_insert(comeback);
        self.restart(host, now, false)
    }
}

/// Where a version and all others are after one has come.
pub(super) type FileExtents = BTreeMap<Digest, Extent>;
