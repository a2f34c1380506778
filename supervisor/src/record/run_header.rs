//! What is journaled: one [`RunHeader`], then one [`TickRecord`] for each tick.
//!
//! Everything here is a function of the fleet, its files and the seed. What
//! depends on the machine or on a launch (how many hosts, how long, how
//! durable, where) stands beside the journal, never in it: two runs of one
//! fleet with one seed write the same journal, byte for byte.

use super::verdict::Verdict;
use bincode::{Decode, Encode};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::generation::Generator;
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::inference_to_supervisor::{Batching, RefusalReason};
use shm_protocol::supervisor_to_agent::{OnFailure, OnMismatch, RequestResult};
use shm_protocol::tensor::Signature;
use std::fmt;
use std::sync::Arc;

/// A BLAKE3 digest.
pub type Digest = [u8; 32];

/// What a run is: the first record of its journal.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RunHeader {
    /// Version of Lockstep.
    pub lockstep: String,
    /// Version of wasmtime, on which fuel and traps depend.
    pub wasmtime: String,
    /// Name of the fleet.
    pub fleet: String,
    /// Seed of the run.
    pub seed: u64,
    /// Whether floating-point results that are not numbers get canonical bits.
    pub canonical_nan: bool,
    /// Most bytes of everything that one step does, and of the results that reach it.
    pub step_bytes: u64,
    /// The agents; the position is the agent's number.
    pub agents: Vec<AgentPin>,
    /// The models; the position is the model's number.
    pub models: Vec<ModelPin>,
    /// What becomes of models while the run goes on, in the order of the ticks.
    pub changes: Vec<ModelChange>,
    /// The inference engine, if the fleet has models.
    pub engine: Option<EnginePin>,
}

impl RunHeader {
    /// BLAKE3 of the files of all versions of all models, by the numbers of the versions.
    pub fn model_files(&self) -> impl Iterator<Item = Digest> + '_ {
        let firsts = self.models.iter().map(|model| model.file);
        let later = self.changes.iter().filter_map(|change| match &change.to {
            Become::Version(pin) => Some(pin.file),
            Become::Unloaded | Become::Loaded => None,
        });
        firsts.chain(later)
    }

    /// The versions of a model after its first one.
    pub fn versions_of(&self, model: ModelId) -> impl Iterator<Item = &VersionPin> {
        let of_model = self
            .changes
            .iter()
            .filter(move |change| change.model == model);
        of_model.filter_map(|change| match &change.to {
            Become::Version(pin) => Some(pin),
            Become::Unloaded | Become::Loaded => None,
        })
    }

    /// The name of an agent, for messages.
    #[must_use]
    pub fn agent_name(&self, agent: AgentId) -> &str {
        let pin = self.agents.get(agent.index());
        pin.map_or("?", |pin| &pin.name)
    }

    /// The name of a model, for messages.
    #[must_use]
    pub fn model_name(&self, model: ModelId) -> &str {
        let pin = self.models.get(model.index());
        pin.map_or("?", |pin| &pin.name)
    }

    /// The header of a run whose fleet had named the changes from the beginning that these verdicts have made.
    #[must_use]
    pub fn with<'a>(&self, verdicts: impl IntoIterator<Item = &'a (Tick, Verdict)>) -> RunHeader {
        let mut header = self.clone();
        let changes = verdicts
            .into_iter()
            .filter_map(|(tick, verdict)| match verdict {
                Verdict::Changed { model, to, .. } => Some(ModelChange {
                    from: tick.next(),
                    model: *model,
                    to: to.clone(),
                }),
                _ => None,
            });
        header.changes.extend(changes);
        header
    }
}

/// What an agent is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AgentPin {
    /// Its name.
    pub name: String,
    /// BLAKE3 of its component.
    pub component: Digest,
    /// Its settings, in the order of their keys.
    pub settings: Vec<(String, String)>,
    /// Fuel of one step.
    pub fuel: u64,
    /// Most bytes of its linear memory.
    pub memory_bytes: u64,
    /// Higher goes earlier in the schedule order.
    pub priority: i32,
    /// It is due in every tick that this divides.
    pub every: u64,
    /// What becomes of it when a step fails.
    pub on_failure: OnFailure,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelPin {
    /// Its name.
    pub name: String,
    /// What its first version is called.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// Providers that were asked for, in order.
    pub providers: Vec<String>,
    /// The provider that really runs it.
    pub provider: String,
    /// Providers that were refused, each with its reason.
    pub refused: Vec<(String, RefusalReason)>,
    /// Its inputs and outputs.
    pub signature: Signature,
    /// Whether requests are joined to batches.
    pub batching: Batching,
    /// Most rows of one batch.
    pub max_batch: u64,
    /// A request of tick `t` is answered in tick `t + latency_ticks`.
    pub latency_ticks: u64,
    /// What becomes of a request that does not fit.
    pub on_mismatch: OnMismatch,
    /// Whether numbers that are not finite are refused, on the way there and back.
    pub rejects_nonfinite: bool,
    /// Most bytes of memory that it may take; zero for no limit.
    pub memory_bytes: u64,
    /// How it writes, if it is a language model.
    pub generator: Option<Generator>,
}

/// What becomes of a model from a tick on: of everything that is asked of it in that tick or later. What was asked
/// before is answered as it would have been.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ModelChange {
    /// The tick.
    pub from: Tick,
    /// The model.
    pub model: ModelId,
    /// What becomes of it.
    pub to: Become,
}

/// What becomes of a model.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Become {
    /// It answers no requests.
    Unloaded,
    /// It answers requests again, as the version that it was last.
    Loaded,
    /// It is another version.
    Version(VersionPin),
}

/// Another version of a model, which takes and gives the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VersionPin {
    /// What it is called.
    pub version: String,
    /// BLAKE3 of its file.
    pub file: Digest,
    /// The provider that really runs it.
    pub provider: String,
    /// Providers that were refused, each with its reason.
    pub refused: Vec<(String, RefusalReason)>,
    /// Whether requests are joined to batches.
    pub batching: Batching,
}

/// What the inference engine is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EnginePin {
    /// Name and version, as in `onnxruntime 1.31.1`.
    pub name: String,
    /// BLAKE3 of its library.
    pub library: Digest,
    /// Threads inside one operator.
    pub intra_threads: u32,
}

impl fmt::Display for EnginePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = u64::from_be_bytes(*self.library.first_chunk().expect("32 bytes"));
        let threads = self.intra_threads;
        write!(
            f,
            "{} (library {library:016x}, threads per operator {threads})",
            self.name
        )
    }
}

/// One committed tick. Its number is in the record around it.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct TickRecord {
    /// Inference results that reached agents in this tick, in the order of their requests.
    pub results: Vec<ResultRecord>,
    /// One outcome for each agent that was due, in schedule order.
    pub outcomes: Vec<Outcome>,
    /// Messages of this tick that found their receiver's queue full.
    pub dropped: Vec<DroppedMessages>,
    /// What was decided about this tick from outside: inputs of it, as results are.
    pub verdicts: Vec<Verdict>,
    /// What agents waited for within their steps, by agents in schedule order, and of each in the order in which it waited:
    /// one for each [`shm_protocol::agent_to_supervisor::Effect::Infer`] of the outcomes, which have the inputs.
    pub awaited: Vec<AwaitedRecord>,
}

/// An inference result that reached an agent.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ResultRecord {
    /// Who asked.
    pub agent: AgentId,
    /// The agent's number for the request.
    pub request: RequestId,
    /// The model.
    pub model: ModelId,
    /// The outputs in the model's order, or why there are none.
    pub outcome: Arc<RequestResult>,
}

/// The answer for which a step has waited.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AwaitedRecord {
    /// Who waited.
    pub agent: AgentId,
    /// The model.
    pub model: ModelId,
    /// The outputs in the model's order, or why there are none.
    pub outcome: Arc<RequestResult>,
}

/// Messages that found their receiver's queue full, or their receiver halted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DroppedMessages {
    /// Who would have got them.
    pub receiver: AgentId,
    /// How many.
    pub messages: u64,
}

/// The last record of a run that ended in good order. A run that goes on later
/// takes it away again, so it is no part of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seal {
    /// Committed ticks.
    pub ticks: u64,
    /// Why the run ended.
    pub reason: SealReason,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SealReason {
    /// All ticks that were asked for are done.
    Finished,
    /// Somebody asked it to stop.
    Stopped,
    /// A host died or an agent or model was at fault; see the message of that launch.
    Failed,
}
