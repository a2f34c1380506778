//! Versions of models in the inference host: they are loaded in the tick before
//! the first that asks for them, and let go once nothing is left to answer. Both
//! go through the ring, between batches, so that the order is that of the ring.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slot::HostStage;
use super::host_slots::HostSlots;
use super::restart::LoadProgress;
use crate::fleet::OnProviderLost;
use crate::launch::{ReloadOutcome, compare_version, version_title};
use crate::models::{ModelVersion, apply_verdicts, versions};
use crate::planted::{Bug, planted};
use crate::record::{Digest, RunHeader, Verdict};
use crate::rundir::RunEvent;
use crate::tick::TickInput;
use shm_protocol::boot::Extent;
use shm_protocol::codec;
use shm_protocol::id::{HostId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{MODEL_LOADED, ModelLoaded};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{LOAD, LoadModel, UNLOAD};
use std::collections::{BTreeMap, BTreeSet};

/// The place of each file in the memory that a version has come in.
pub(super) type FileExtents = BTreeMap<Digest, Extent>;

/// The versions of models that the inference host has, or is told to load.
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
    /// True if the inference host is to be started anew, and the living incarnation was there when that was asked for.
    awaits_restart: bool,
    /// The places of files in the memory of the next incarnation, if it has another one.
    next_files: FileExtents,
    /// Whether models ever change.
    changes: bool,
    /// Whether they stay with whom they are run by, whatever verdicts say.
    stays: bool,
    /// The tick in which it was looked last what is needed.
    looked: Tick,
    /// What becomes of the run when the provider of a version is gone.
    pub(super) on_lost: OnProviderLost,
}

impl LoadedModels {
    pub(super) fn new(
        header: &RunHeader,
        verdicts: &[(Tick, Verdict)],
        loads: &[LoadModel],
        changes: bool,
    ) -> LoadedModels {
        let mut all = versions(header);
        apply_verdicts(&mut all, verdicts.iter().map(|(_, verdict)| verdict));
        let kept = loads.iter().filter(|load| load.keep);
        LoadedModels {
            all,
            loads: loads.to_vec(),
            loaded: kept.map(|load| load.version).collect(),
            asked: BTreeMap::new(),
            stale: BTreeSet::new(),
            awaits_restart: false,
            next_files: FileExtents::new(),
            changes,
            stays: false,
            looked: Tick::ZERO,
            on_lost: OnProviderLost::default(),
        }
    }

    pub(super) fn with_header_override(self, present: &RunHeader) -> LoadedModels {
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
    pub(super) fn reset_after_crash(&mut self) {
        self.loaded.clear();
        self.asked.clear();
        self.stale.clear();
        self.awaits_restart = false;
        self.use_next_files();
    }

    /// Notes that the inference host is to be started anew.
    pub(super) fn await_restart(&mut self) {
        self.awaits_restart = true;
    }

    pub(super) fn awaits_restart(&self) -> bool {
        self.awaits_restart
    }

    pub(super) fn apply_verdict(&mut self, verdict: &Verdict) {
        self.changes |= matches!(verdict, Verdict::Changed { .. });
        apply_verdicts(&mut self.all, std::iter::once(verdict));
    }

    /// The number of a version that would come in now.
    pub(super) fn next_version(&self) -> VersionId {
        let all = self.all.len() - usize::from(planted(Bug::ReuseVersion));
        VersionId::from_index(all)
    }

    /// Takes in a new version, and the places of all files in the memory of the next incarnation.
    pub(super) fn arrange(
        &mut self,
        model: ModelId,
        version: Option<VersionId>,
        files: FileExtents,
    ) {
        if let (Some(version), Some(first)) = (version, self.loads.get(model.index())) {
            let pin = &self.version(version).pin;
            let load = LoadModel {
                version,
                name: version_title(&pin.name, &pin.version),
                artifact: files[&pin.file],
                ..first.clone()
            };
            self.loads.push(load);
        }
        self.next_files = files;
        if planted(Bug::PlaceTooEarly) {
            self.use_next_files();
        }
    }

    fn use_next_files(&mut self) {
        let files = std::mem::take(&mut self.next_files);
        for (load, version) in self.loads.iter_mut().zip(&self.all) {
            if let Some(extent) = files.get(&version.pin.file) {
                load.artifact = *extent;
            }
        }
    }

    pub(super) fn version(&self, version: VersionId) -> &ModelVersion {
        &self.all[version.index()]
    }

    /// Whether the inference host has a version.
    pub(super) fn has(&self, version: VersionId) -> bool {
        self.loaded.contains(&version)
    }

    /// Tells the inference host which versions to load and which to let go, once in every tick.
    pub(super) fn update(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
    ) -> Result<(), LoopError> {
        let tick = context.machine.tick();
        if !self.changes || self.looked == tick || !slots.is_serving(host) {
            return Ok(());
        }
        self.looked = tick;
        let needed = context.machine.needed_versions();
        let idle: Vec<VersionId> = self.loaded.difference(&needed).copied().collect();
        for version in idle {
            let mut header = RecordHeader::new(UNLOAD, tick);
            header.subject = version.0;
            slots.push(context, host, &header, 0, &mut std::iter::empty())?;
            self.loaded.remove(&version);
        }
        let missing: Vec<VersionId> = needed.difference(&self.loaded).copied().collect();
        missing
            .into_iter()
            .try_for_each(|version| self.load(context, slots, host, version))
    }

    /// Has a version loaded between two batches.
    pub(super) fn load(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
        version: VersionId,
    ) -> Result<(), LoopError> {
        let load = codec::encode(&self.load_command(version));
        let header = RecordHeader::new(LOAD, context.machine.tick());
        slots.push_bytes(context, host, &header, &load)?;
        slots.get_mut(host).expect_replies(1);
        context.hosts.notify(host);
        Ok(())
    }

    /// How a version is loaded to be kept.
    pub(super) fn load_command(&mut self, version: VersionId) -> LoadModel {
        self.loaded.insert(version);
        // It is told with the provider of now.
        self.stale.remove(&version);
        *self.asked.entry(version).or_default() += 1;
        LoadModel {
            keep: true,
            providers: self.version(version).pin.providers.clone(),
            ..self.loads[version.index()].clone()
        }
    }

    /// After a tick with this verdict, a version has the provider that it names. In a run this is so already; where
    /// models are run again, it moves now. An error is one of the inference host.
    pub(super) fn follow_verdict(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        verdict: &Verdict,
    ) -> Result<(), LoopError> {
        if matches!(verdict, Verdict::Changed { .. }) {
            self.apply_verdict(verdict);
        }
        let Verdict::ProviderLost {
            version, provider, ..
        } = verdict
        else {
            return Ok(());
        };
        if self.stays || self.version(*version).pin.provider == *provider {
            return Ok(());
        }
        self.apply_verdict(verdict);
        let Some(host) = context.hosts.inference_host() else {
            return Ok(());
        };
        if !self.has(*version) {
            return Ok(());
        }
        // Batches come behind it in the ring.
        if slots.is_serving(host) {
            return self.load(context, slots, host, *version);
        }
        if self.asked.contains_key(version) {
            self.stale.insert(*version);
        } else if let HostStage::Loading(LoadProgress::Engine(Some(loads))) =
            &mut slots.get_mut(host).stage
        {
            // It has been loaded, and others are still to be.
            loads.extend([*version]);
        }
        Ok(())
    }

    /// A version is loaded while the inference host serves.
    pub(super) fn on_loaded(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let loaded: ModelLoaded = context.decode(host, header, MODEL_LOADED)?;
        slots.get_mut(host).on_replies(1);
        match self.take_loaded(context, loaded)? {
            Some(again) => self.load(context, slots, host, again),
            None => Ok(()),
        }
    }

    /// Takes in what was found about a version: it must be what it was, but for its provider if that may change. Gives
    /// the version if it is to be loaded once more.
    pub(super) fn take_loaded(
        &mut self,
        context: &mut RunContext<'_>,
        loaded: ModelLoaded,
    ) -> Result<Option<VersionId>, LoopError> {
        let version = loaded.version;
        let Some(asked) = self.asked.get_mut(&version) else {
            return Err(LoopError::Host(format!(
                "it loaded version {version}, which was not requested"
            )));
        };
        *asked -= 1;
        if *asked > 0 {
            // It was told to load it once more, and that is what counts.
            return Ok(None);
        }
        self.asked.remove(&version);
        let is_stale = self.stale.remove(&version);
        if !self.has(version) {
            // It was let go meanwhile: what it was says nothing about what it will be.
            return Ok(None);
        }
        if is_stale {
            return Ok(Some(version));
        }
        let expected = self.version(version);
        let name = expected.pin.name.clone();
        match compare_version(version, expected, loaded.result, self.on_lost)? {
            ReloadOutcome::Refused(message) => return Err(LoopError::Host(message)),
            ReloadOutcome::Same => {}
            ReloadOutcome::ProviderChanged { verdict, refused } => {
                for refused in &refused {
                    let event = RunEvent::provider_refused(&name, refused);
                    context.ledger.event(event)?;
                }
                self.apply_verdict(&verdict);
                context.apply_own(TickInput::Verdict(verdict))?;
            }
        }
        Ok(None)
    }
}
