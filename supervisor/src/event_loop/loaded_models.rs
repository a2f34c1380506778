//! Versions of models in the inference host: they are loaded in the tick before
//! the first that asks for them, and let go once nothing is left to answer. Both
//! go through the ring, between batches, so that the order is that of the ring.

use super::host_slot::HostStage;
use super::model_changes::FileExtents;
use super::restart::LoadProgress;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::launch::{ReloadOutcome, found, version_title};
use crate::models::{ModelVersion, judge, versions};
use crate::planted::{Bug, planted};
use crate::record::{RunHeader, Verdict};
use crate::rundir::RunEvent;
use crate::tick::Input;
use shm_protocol::codec;
use shm_protocol::id::{HostId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{MODEL_LOADED, ModelLoaded};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{LOAD, LoadModel, UNLOAD};
use std::collections::{BTreeMap, BTreeSet};

/// What the loop knows of versions.
#[derive(Debug)]
pub(super) struct LoadedModels {
    /// What each is, by its number.
    all: Vec<ModelVersion>,
    /// How each is loaded; none where models are not run.
    loads: Vec<LoadModel>,
    /// Those that the inference host has, or is told to load.
    loaded: BTreeSet<VersionId>,
    /// How often it was told to load each that it has not answered.
    asked: BTreeMap<VersionId, usize>,
    /// Those that are run by somebody else since they were told to be loaded: they are loaded again.
    stale: BTreeSet<VersionId>,
    /// Whether models ever change.
    changes: bool,
    /// Whether they stay with whom they are run by, whatever verdicts say.
    stays: bool,
    /// The tick in which it was looked last what is needed.
    looked: Tick,
}

impl LoadedModels {
    pub(super) fn new(
        header: &RunHeader,
        verdicts: &[(Tick, Verdict)],
        loads: &[LoadModel],
        changes: bool,
    ) -> LoadedModels {
        let mut all = versions(header);
        judge(&mut all, verdicts.iter().map(|(_, verdict)| verdict));
        let kept = loads.iter().filter(|load| load.keep);
        LoadedModels {
            all,
            loads: loads.to_vec(),
            loaded: kept.map(|load| load.version).collect(),
            asked: BTreeMap::new(),
            stale: BTreeSet::new(),
            changes,
            stays: false,
            looked: Tick::ZERO,
        }
    }

    pub(super) fn elsewhere(self, present: &RunHeader) -> LoadedModels {
        LoadedModels {
            all: versions(present),
            stays: true,
            ..self
        }
    }

    /// Whether an answer to a load is due, which takes longer than a batch.
    pub(super) fn is_loading(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The inference host is gone, and with it what it had.
    pub(super) fn bereave(&mut self) {
        self.loaded.clear();
        self.asked.clear();
        self.stale.clear();
    }

    pub(super) fn judge(&mut self, verdict: &Verdict) {
        self.changes |= matches!(verdict, Verdict::Changed { .. });
        judge(&mut self.all, std::iter::once(verdict));
    }

    /// The number of a version that would come in now.
    pub(super) fn next_version(&self) -> VersionId {
        let all = self.all.len() - usize::from(planted(Bug::ReuseVersion));
        VersionId::from_index(all)
    }

    /// Says how a version that has come in is loaded, and from where all are.
    pub(super) fn arrange(
        &mut self,
        model: ModelId,
        version: Option<VersionId>,
        files: &FileExtents,
    ) {
        if let (Some(version), Some(first)) = (version, self.loads.get(model.index())) {
            let pin = &self.version(version).pin;
            let load = LoadModel {
                version,
                name: version_title(&pin.name, &pin.version),
                ..first.clone()
            };
            self.loads.push(load);
        }
        for (load, version) in self.loads.iter_mut().zip(&self.all) {
            if let Some(extent) = files.get(&version.pin.file) {
                load.artifact = *extent;
            }
        }
    }

    pub(super) fn version(&self, version: VersionId) -> &ModelVersion {
        &self.all[version.index()]
    }
}

impl EventLoop<'_> {
    /// Tells the inference host which versions to load and which to let go, once in every tick.
    pub(super) fn bring_versions(&mut self) -> Result<(), RunError> {
        let tick = self.machine.tick();
        let Some(host) = self.hosts.inference_host() else {
            return Ok(());
        };
        let is_serving = matches!(self.station(host).stage, HostStage::Serving);
        if !self.held.changes || self.held.looked == tick || !is_serving {
            return Ok(());
        }
        self.held.looked = tick;
        let needed = self.machine.needed();
        let told = self.tell_versions(host, &needed);
        self.handle_host_error(host, told)
    }

    fn tell_versions(
        &mut self,
        host: HostId,
        needed: &BTreeSet<VersionId>,
    ) -> Result<(), LoopError> {
        let idle: Vec<VersionId> = self.held.loaded.difference(needed).copied().collect();
        for version in idle {
            self.unload_version(host, version)?;
        }
        let missing: Vec<VersionId> = needed.difference(&self.held.loaded).copied().collect();
        missing
            .into_iter()
            .try_for_each(|version| self.load_version(host, version))
    }

    fn unload_version(&mut self, host: HostId, version: VersionId) -> Result<(), LoopError> {
        let mut header = RecordHeader::new(UNLOAD, self.machine.tick());
        header.subject = version.0;
        self.push(host, &header, 0, &mut std::iter::empty())?;
        self.held.loaded.remove(&version);
        Ok(())
    }

    /// Has a version loaded between two batches.
    pub(super) fn load_version(
        &mut self,
        host: HostId,
        version: VersionId,
    ) -> Result<(), LoopError> {
        let load = codec::encode(&self.load_of(version));
        let header = RecordHeader::new(LOAD, self.machine.tick());
        self.push(
            host,
            &header,
            load.len(),
            &mut std::iter::once(load.as_slice()),
        )?;
        self.station(host).expect_replies(1);
        self.hosts.notify(host);
        Ok(())
    }

    /// After a tick with these verdicts, versions are run by whom they say. In a run this is so already; where models are
    /// run again, they move now.
    pub(super) fn follow_moves(&mut self, verdicts: &[Verdict]) -> Result<(), RunError> {
        for verdict in verdicts {
            if matches!(verdict, Verdict::Changed { .. }) {
                self.held.judge(verdict);
            }
            let Verdict::ProviderLost {
                version, provider, ..
            } = verdict
            else {
                continue;
            };
            if self.held.stays || self.held.version(*version).pin.provider == *provider {
                continue;
            }
            self.held.judge(verdict);
            let Some(host) = self.hosts.inference_host() else {
                continue;
            };
            let is_serving = matches!(self.station(host).stage, HostStage::Serving);
            // Batches come behind it in the ring.
            if is_serving && self.has_version(*version) {
                let moved = self.load_version(host, *version);
                self.handle_host_error(host, moved)?;
            } else if self.has_version(*version) && self.held.asked.contains_key(version) {
                self.held.stale.insert(*version);
            } else if self.has_version(*version)
                && let HostStage::Loading(LoadProgress::Engine { left: Some(left) }) =
                    &mut self.station(host).stage
            {
                // It has been loaded, and others are still to be.
                left.push_back(*version);
            }
        }
        Ok(())
    }

    /// How a version is loaded to be kept.
    pub(super) fn load_of(&mut self, version: VersionId) -> LoadModel {
        self.held.loaded.insert(version);
        // It is told by whom it is run now.
        self.held.stale.remove(&version);
        *self.held.asked.entry(version).or_default() += 1;
        LoadModel {
            keep: true,
            providers: self.held.version(version).pin.providers.clone(),
            ..self.held.loads[version.index()].clone()
        }
    }

    /// Whether the inference host has a version.
    pub(super) fn has_version(&self, version: VersionId) -> bool {
        self.held.loaded.contains(&version)
    }

    /// The inference host says that a version is loaded while it serves.
    pub(super) fn on_version_loaded(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let loaded: ModelLoaded = self.expect(host, header, MODEL_LOADED)?;
        self.station(host).on_replies(1);
        match self.take_version(loaded)? {
            Some(again) => self.load_version(host, again),
            None => Ok(()),
        }
    }

    /// Takes in what was found about a version: it must be what it was, but for who runs it if that may change. Gives the
    /// version if it is to be loaded once more.
    pub(super) fn take_version(
        &mut self,
        loaded: ModelLoaded,
    ) -> Result<Option<VersionId>, LoopError> {
        let version = loaded.version;
        let Some(asked) = self.held.asked.get_mut(&version) else {
            return Err(LoopError::Host(format!(
                "it has loaded version {version}, which nobody asked for"
            )));
        };
        *asked -= 1;
        if *asked > 0 {
            // It was told to load it once more, and that is what counts.
            return Ok(None);
        }
        self.held.asked.remove(&version);
        let is_stale = self.held.stale.remove(&version);
        if !self.has_version(version) {
            // It was let go meanwhile: what it was says nothing about what it will be.
            return Ok(None);
        }
        if is_stale {
            return Ok(Some(version));
        }
        let expected = self.held.version(version);
        let name = expected.pin.name.clone();
        match found(version, expected, loaded.result, self.losing)? {
            ReloadOutcome::Refused(message) => return Err(LoopError::Host(message)),
            ReloadOutcome::Same => {}
            ReloadOutcome::Moved { verdict, refused } => {
                let event = |refused| RunEvent::provider_refused(&name, refused);
                for event in refused.iter().map(event) {
                    self.ledger.event(event)?;
                }
                self.held.judge(&verdict);
                self.apply(Input::Verdict(verdict))?;
            }
        }
        Ok(None)
    }
}
