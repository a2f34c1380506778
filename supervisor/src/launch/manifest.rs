//! The parts of a run, from a fleet file or from the journal of an earlier run.

use crate::error::RunError;
use crate::fleet::{ChangeTo, Fleet, Nan, Source};
use crate::models::{external_data, read_folder, read_model};
use crate::record::{AgentPin, Become, Digest, RunHeader};
use crate::rundir::RunDir;
use shm_protocol::generation::Generator;
use shm_protocol::id::{ModelId, Tick};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnMismatch;
use shm_protocol::tensor::Port;
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
    pub models: Vec<ModelSource>,
    /// Changes of the models during the run, in the order of the ticks.
    pub changes: Vec<ChangeAsked>,
    /// The bytes of components and models by their digests.
    pub objects: BTreeMap<Digest, Vec<u8>>,
}

/// A requested change of a model.
#[derive(Clone, Debug)]
pub struct ChangeAsked {
    /// The first tick in which it holds.
    pub from: Tick,
    /// The model.
    pub model: ModelId,
    /// The requested state of the model.
    pub to: AskedToBecome,
}

/// The requested state of a model.
#[derive(Clone, Debug)]
pub enum AskedToBecome {
    /// It answers no requests.
    Unloaded,
    /// It answers requests again.
    Loaded,
    /// It is another version.
    Version {
        /// The name of the version.
        version: String,
        /// BLAKE3 of its file.
        file: Digest,
    },
}

/// A requested model.
#[derive(Clone, Debug)]
pub struct ModelSource {
    /// Its name.
    pub name: String,
    /// The name of its first version.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// Providers to try, in order.
    pub providers: Vec<String>,
    /// True if requests may be batched.
    pub may_batch: bool,
    /// Limit of the rows of one batch.
    pub max_batch: u64,
    /// Ticks from request to result.
    pub latency_ticks: u64,
    /// The fate of a request that does not fit.
    pub on_mismatch: OnMismatch,
    /// Inputs that the model must have, if the fleet lists them.
    pub inputs: Vec<Port>,
    /// Outputs that the model must have, if the fleet lists them.
    pub outputs: Vec<Port>,
    /// True if numbers that are not finite are refused, in inputs and outputs.
    pub rejects_nonfinite: bool,
    /// Limit of its memory, in bytes; zero for no limit.
    pub memory_bytes: u64,
    /// Decoding settings of a language model.
    pub generator: Option<Generator>,
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
            });
        }
        let mut models = Vec::with_capacity(fleet.models.len());
        for model in &fleet.models {
            models.push(ModelSource {
                name: model.name.clone(),
                version: model.version.clone(),
                file: reader.read_any(&model.file, model.generator.is_some())?,
                providers: model.providers.clone(),
                may_batch: model.batch,
                max_batch: model.max_batch,
                latency_ticks: model.latency_ticks,
                on_mismatch: model.on_mismatch,
                inputs: model.inputs.clone(),
                outputs: model.outputs.clone(),
                rejects_nonfinite: model.rejects_nonfinite,
                memory_bytes: model.memory_bytes,
                generator: model.generator,
            });
        }
        let mut changes = Vec::with_capacity(fleet.changes.len());
        for change in &fleet.changes {
            let is_folder = fleet.models[change.model.index()].generator.is_some();
            changes.push(ChangeAsked {
                from: change.from,
                model: change.model,
                to: match &change.to {
                    ChangeTo::Unloaded => AskedToBecome::Unloaded,
                    ChangeTo::Loaded => AskedToBecome::Loaded,
                    ChangeTo::Version { version, file } => AskedToBecome::Version {
                        version: version.clone(),
                        file: reader.read_any(file, is_folder)?,
                    },
                },
            });
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
        let asked = header.models.iter().map(|model| ModelSource {
            name: model.name.clone(),
            version: model.version.clone(),
            file: model.file,
            providers: model.providers.clone(),
            may_batch: model.batching != Batching::Unwanted,
            max_batch: model.max_batch,
            latency_ticks: model.latency_ticks,
            on_mismatch: model.on_mismatch,
            inputs: Vec::new(),
            outputs: Vec::new(),
            rejects_nonfinite: model.rejects_nonfinite,
            memory_bytes: model.memory_bytes,
            generator: model.generator,
        });
        let changes = header.changes.iter().map(|change| ChangeAsked {
            from: change.from,
            model: change.model,
            to: match &change.to {
                Become::Unloaded => AskedToBecome::Unloaded,
                Become::Loaded => AskedToBecome::Loaded,
                Become::Version(pin) => AskedToBecome::Version {
                    version: pin.version.clone(),
                    file: pin.file,
                },
            },
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
            models: asked.collect(),
            changes: changes.collect(),
            agents: header.agents.clone(),
            objects,
        })
    }

    /// The model and the file of every version, by the number of the version.
    pub fn versions(&self) -> impl Iterator<Item = (ModelId, &Digest)> {
        let numbers = (0..).map(ModelId);
        let firsts = numbers.zip(self.models.iter().map(|model| &model.file));
        let later = self.changes.iter().filter_map(|change| match &change.to {
            AskedToBecome::Version { file, .. } => Some((change.model, file)),
            _ => None,
        });
        firsts.chain(later)
    }

    /// The model and the name of every version after the first ones.
    pub fn later_versions(&self) -> impl Iterator<Item = (ModelId, &str)> {
        self.changes.iter().filter_map(|change| match &change.to {
            AskedToBecome::Version { version, .. } => Some((change.model, version.as_str())),
            _ => None,
        })
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
