//! The parts of a run, from a fleet file or from the journal of an earlier run.

use crate::error::RunError;
use crate::fleet::{Fleet, Nan, Source};
use crate::models::{external_data, read_folder, read_model};
use crate::record::{AgentPin, Digest, ModelDefinition, NewVersion, RunHeader, ScheduledChange};
use crate::rundir::RunDir;
use shm_protocol::id::ModelId;
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::limit;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Finds a part of the binary by its name.
pub type Builtin<'a> = &'a dyn Fn(&str) -> Option<&'static [u8]>;

/// The parts of a run.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Name of the fleet.
    pub fleet: String,
    /// Seed of the run.
    pub seed: u64,
    /// True if NaN results of floating-point operations get canonical bits.
    pub canonical_nan: bool,
    /// Limit of everything that one step does, and of the results that reach it, in bytes.
    pub max_step_bytes: u64,
    /// Threads inside one operator of a model.
    pub intra_op_threads: u32,
    /// The agents; the position is the agent's number.
    pub agents: Vec<AgentPin>,
    /// For each agent, true if it has its own host process.
    pub isolated: Vec<bool>,
    /// The models; the position is the model's number.
    pub models: Vec<ModelDefinition<Digest>>,
    /// Changes of the models during the run, in the order of the ticks.
    pub changes: Vec<ScheduledChange<NewVersion<Digest>>>,
    /// The bytes of components and models by their digests.
    pub objects: BTreeMap<Digest, Vec<u8>>,
}

impl Manifest {
    /// Reads the components and models of a fleet.
    ///
    /// # Errors
    /// [`RunError::Source`] when a component or model cannot be read.
    pub fn from_fleet(fleet: &Fleet, builtin: Builtin<'_>) -> Result<Manifest, RunError> {
        let mut reader = SourceReader {
            builtin,
            known: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        let mut agents = Vec::with_capacity(fleet.agents.len());
        for agent in &fleet.agents {
            agents.push(AgentPin {
                name: agent.name.clone(),
                component: reader.read(&agent.component)?,
                settings: agent.settings.clone(),
                fuel: agent.fuel,
                memory_bytes: agent.memory_bytes,
                priority: agent.priority,
                every: agent.every,
                on_failure: agent.on_failure,
                may_finish: agent.may_finish,
            });
        }
        let mut models = Vec::with_capacity(fleet.models.len());
        for model in &fleet.models {
            let file = reader.read_any(&model.file, model.is_generator())?;
            models.push(model.with_file(file));
        }
        let mut changes = Vec::with_capacity(fleet.changes.len());
        for change in &fleet.changes {
            let is_folder = fleet.models[change.model.index()].is_generator();
            changes.push(change.try_map(|NewVersion { version, file }| {
                Ok::<_, RunError>(NewVersion {
                    version: version.clone(),
                    file: reader.read_any(file, is_folder)?,
                })
            })?);
        }
        Ok(Manifest {
            fleet: fleet.name.clone(),
            seed: fleet.seed,
            canonical_nan: fleet.nan == Nan::Canonical,
            max_step_bytes: fleet.max_step_bytes,
            intra_op_threads: fleet.intra_op_threads,
            isolated: fleet.agents.iter().map(|agent| agent.isolate).collect(),
            agents,
            models,
            changes,
            objects: reader.objects,
        })
    }

    /// The parts of a run by its journal, with the objects in its run directory. Models are read only where they are
    /// run again.
    ///
    /// # Errors
    /// [`RunError::RunDir`] when an object is missing or damaged.
    pub fn from_run(
        header: &RunHeader,
        run: &RunDir,
        isolated: &[String],
        with_models: bool,
    ) -> Result<Manifest, RunError> {
        let mut objects = BTreeMap::new();
        let files = header.model_files().filter(|_| with_models);
        for digest in header
            .agents
            .iter()
            .map(|agent| agent.component)
            .chain(files)
        {
            if let Entry::Vacant(vacant) = objects.entry(digest) {
                vacant.insert(run.object(&digest)?);
            }
        }
        let models = header.models.iter().map(|pin| ModelDefinition {
            version: pin.version.clone(),
            providers: pin.providers.clone(),
            may_batch: pin.batching != Batching::Unwanted,
            settings: pin.settings,
            ..ModelDefinition::new(&pin.name, pin.file)
        });
        let changes = header.changes.iter().map(|change| {
            change.map(|pin| NewVersion {
                version: pin.version.clone(),
                file: pin.file,
            })
        });
        Ok(Manifest {
            fleet: header.fleet.clone(),
            seed: header.seed,
            canonical_nan: header.canonical_nan,
            max_step_bytes: header.max_step_bytes,
            intra_op_threads: header
                .engine
                .as_ref()
                .map_or(1, |engine| engine.intra_op_threads),
            isolated: header
                .agents
                .iter()
                .map(|agent| isolated.contains(&agent.name))
                .collect(),
            models: models.collect(),
            changes: changes.collect(),
            agents: header.agents.clone(),
            objects,
        })
    }

    /// The first part in which a run of this manifest would compute something else than a run of the other one.
    #[must_use]
    pub fn difference(&self, other: &Manifest) -> Option<String> {
        let named = |kind: &str, name: &str| Some(format!("{kind} `{name}`"));
        let differs = |what: &str| Some(what.to_owned());
        if self.fleet != other.fleet {
            return differs("its `name`");
        }
        if self.seed != other.seed {
            return differs("its `seed`");
        }
        if self.canonical_nan != other.canonical_nan {
            return differs("its `nan`");
        }
        if self.max_step_bytes != other.max_step_bytes {
            return differs("its `max_step_bytes`");
        }
        if !self.models.is_empty() && self.intra_op_threads != other.intra_op_threads {
            return differs("its `intra_op_threads`");
        }
        if self.agents.len() != other.agents.len() || self.models.len() != other.models.len() {
            return differs("the number of its agents or models");
        }
        let mut agents = self.agents.iter().zip(&other.agents);
        if let Some((agent, _)) = agents.find(|(one, two)| one != two) {
            return named("agent", &agent.name);
        }
        // The ports that a fleet demands were those of the model when the run began.
        let portless = |model: &ModelDefinition<Digest>| ModelDefinition {
            inputs: Vec::new(),
            outputs: Vec::new(),
            ..model.clone()
        };
        let mut models = self.models.iter().zip(&other.models);
        if let Some((model, _)) = models.find(|(one, two)| portless(one) != portless(two)) {
            return named("model", &model.name);
        }
        match self.changes == other.changes {
            true => None,
            false => differs("what stands under `[[changes]]`"),
        }
    }

    /// The model and the file of every version, by the number of the version.
    pub fn versions(&self) -> impl Iterator<Item = (ModelId, &Digest)> {
        let numbers = (0..).map(ModelId);
        let firsts = numbers.zip(self.models.iter().map(|model| &model.file));
        firsts.chain(self.later_versions().map(|(model, new)| (model, &new.file)))
    }

    /// The model and the description of every version after the first ones.
    pub fn later_versions(&self) -> impl Iterator<Item = (ModelId, &NewVersion<Digest>)> {
        let changes = self.changes.iter();
        changes.filter_map(|scheduled| Some((scheduled.model, scheduled.change.new_version()?)))
    }

    /// Limit of everything that one step does, in memory.
    #[must_use]
    pub fn step_size(&self) -> usize {
        usize::try_from(self.max_step_bytes).unwrap_or(limit::MAX_STEP_BYTES)
    }

    /// The bytes of an object.
    ///
    /// # Panics
    /// When the manifest does not name it.
    #[must_use]
    pub fn object(&self, digest: &Digest) -> &[u8] {
        &self.objects[digest]
    }
}

/// Reads every source once.
struct SourceReader<'a> {
    builtin: Builtin<'a>,
    known: BTreeMap<Source, Digest>,
    objects: BTreeMap<Digest, Vec<u8>>,
}

impl SourceReader<'_> {
    /// Reads a file once, and gives its digest.
    fn read(&mut self, source: &Source) -> Result<Digest, RunError> {
        match self.known.get(source) {
            Some(digest) => Ok(*digest),
            None => Ok(self.keep(source, source.read(self.builtin)?)),
        }
    }

    /// A model: a folder or an ONNX file.
    fn read_any(&mut self, source: &Source, is_folder: bool) -> Result<Digest, RunError> {
        match is_folder {
            true => self.read_folder(source),
            false => self.read_model(source),
        }
    }

    /// An ONNX file, with its external data if it has some.
    fn read_model(&mut self, source: &Source) -> Result<Digest, RunError> {
        if let Some(digest) = self.known.get(source) {
            return Ok(*digest);
        }
        let file = source.read(self.builtin)?;
        let bytes = match source {
            Source::Path(path) if !external_data::locations(&file).is_empty() => read_model(path)?,
            _ => file,
        };
        Ok(self.keep(source, bytes))
    }

    /// A folder with a language model, as one bundle.
    fn read_folder(&mut self, source: &Source) -> Result<Digest, RunError> {
        let Source::Path(path) = source else {
            return self.read(source);
        };
        match self.known.get(source) {
            Some(digest) => Ok(*digest),
            None => Ok(self.keep(source, read_folder(path)?)),
        }
    }

    fn keep(&mut self, source: &Source, bytes: Vec<u8>) -> Digest {
        let digest = *blake3::hash(&bytes).as_bytes();
        self.known.insert(source.clone(), digest);
        self.objects.insert(digest, bytes);
        digest
    }
}
