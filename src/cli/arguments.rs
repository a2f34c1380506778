//! What can be said on the command line.

use super::bounds::Bounds;
use super::file::{NamedFile, named_file};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use tracing_subscriber::filter::LevelFilter;

/// A local-first, deterministic multi-agent runtime.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    about,
    after_help = "Exit codes: 0 fine; 1 the answer is no; 2 bad input; 3 a strict demand is not met; 4 run directory in use; 5 the machine was too slow or gave too little, resume the run; 70 a bug of ours."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Arguments {
    pub(super) fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run an embedded fleet with real agents and a real model; needs no file.
    Demo(Demo),
    /// Run a fleet.
    Run(Run),
    /// Go on with a run that was killed or stopped.
    Resume(Resume),
    /// Change a model of a run that goes on.
    Change(Change),
    /// Re-execute a run and compare it tick by tick.
    Replay(Replay),
    /// Check a journal without executing anything.
    Verify(Verify),
    /// Show what happened in a run.
    Inspect(Inspect),
    /// Name the first difference between two runs.
    Diff(Diff),
    /// Run a fleet with injected faults and compare it with the fault-free run.
    Chaos(Chaos),
    /// Run a model once on arrays from files.
    Infer(Infer),
    /// Write text with a language model from a folder.
    Generate(Generate),
    /// Say what is wrong with a fleet.
    Check(Check),
    /// Say what this machine offers.
    Doctor(Doctor),
}

/// How a model alone is run.
#[derive(Debug, Args)]
pub(super) struct Engine {
    /// Providers to try, in order, as in cuda,cpu; `lockstep doctor` shows which there are.
    #[arg(long = "provider", value_name = "P", value_delimiter = ',')]
    pub(super) providers: Vec<String>,
    /// Refuse anything but the first provider.
    #[arg(long)]
    pub(super) strict_providers: bool,
    /// Threads inside one operator. A number of its own may give bits of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) intra_threads: u32,
}

#[derive(Debug, Args)]
pub(super) struct Infer {
    /// The ONNX file.
    #[arg(value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// An array for an input of the model, as numpy.save writes it. Without any, the model's inputs and outputs are shown.
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = named_file)]
    pub(super) inputs: Vec<NamedFile>,
    /// Where the outputs are put, each as NAME.npy; what is there under these names is replaced.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) engine: Engine,
    /// Most MiB of one input or output. Four times as much memory is taken for each direction, rounded up to a power of two.
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) tensor_mib: u32,
    /// How long the model may take to load, and to run.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) deadline_ms: u64,
    /// End with one JSON object on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("task").required(true).args(["prompt", "chat"])))]
pub(super) struct Generate {
    /// The folder of the model, or the .onnx file in it.
    #[arg(value_name = "MODEL_DIR")]
    pub(super) model: PathBuf,
    /// Go on with this text.
    #[arg(long, value_name = "TEXT")]
    pub(super) prompt: Option<String>,
    /// Answer this message, by the model's chat template.
    #[arg(long, value_name = "TEXT")]
    pub(super) chat: Option<String>,
    /// What the model is told before the message.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(super) system: Option<String>,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) max_tokens: u64,
    /// 0 for the most likely token each time; the model's own default without it.
    #[arg(long, value_name = "T", value_parser = finite, allow_negative_numbers = true)]
    pub(super) temperature: Option<f64>,
    /// Draw among the K most likely tokens.
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(super) top_k: Option<u64>,
    /// Draw among the most likely tokens with this share of the probability.
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub(super) top_p: Option<f64>,
    /// Draw among the tokens with this share of the most likely one's probability.
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub(super) min_p: Option<f64>,
    /// Seed of the random numbers. The same seed gives the same text.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// End the text before this string; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,
    /// Write JSON that this JSON schema admits.
    #[arg(long, value_name = "FILE")]
    pub(super) schema: Option<PathBuf>,
    /// Most tokens of prompt and text together, if that is less than the model's own limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(shm_protocol::generation::MAX_TOKENS)))]
    pub(super) context: Option<u32>,
    #[command(flatten)]
    pub(super) engine: Engine,
    /// How long the model may take to load, and for a few tokens.
    #[arg(long, value_name = "MS", default_value_t = 120_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) deadline_ms: u64,
    /// End with one JSON object on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

/// A name and a file, as in `x=array.npy`. The first `=` is between them.
/// What `demo` and `run` have in common.
#[derive(Debug, Args)]
pub(super) struct Launching {
    /// Where the run is kept; a new directory below `runs/` without it.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Ticks to run.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Seed of all randomness, in place of the fleet's.
    #[arg(long, value_name = "S", value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: Option<u64>,
    /// Agent-host processes, in place of the fleet's. No outcome depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(super) hosts: Option<u32>,
    /// When a tick counts as kept, in place of the fleet's: process, batch or sync.
    #[arg(long, value_name = "LEVEL", value_parser = durability)]
    pub(super) durability: Option<supervisor::fleet::Durability>,
    /// A plan of faults to inject, beside those of the fleet file; see docs/faults.md.
    #[arg(long, value_name = "PLAN")]
    pub(super) faults: Option<PathBuf>,
    /// Leave out the faults of the fleet file.
    #[arg(long)]
    pub(super) without_faults: bool,
    /// Milliseconds until a host that has not answered counts as hung, in place of the fleet's.
    #[arg(long, value_name = "MS", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) deadline_ms: Option<u64>,
    /// Milliseconds until a new host that says nothing counts as hung, in place of the fleet's.
    #[arg(long, value_name = "MS", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ready_ms: Option<u64>,
    /// Refuse to run on anything but each model's first provider.
    #[arg(long)]
    pub(super) strict_providers: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// A number that is one.
fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("it is no finite number".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "it is a whole number of at least 1".to_owned())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("it is a whole number from 0 to {}", u64::MAX))
}

fn durability(text: &str) -> Result<supervisor::fleet::Durability, String> {
    use supervisor::fleet::Durability;
    match text {
        "process" => Ok(Durability::Process),
        "batch" => Ok(Durability::Batch),
        "sync" => Ok(Durability::Sync),
        _ => Err("it is one of process, batch and sync".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Cart-poles to balance. The referee's report of more would be over the size of an output.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000), allow_negative_numbers = true)]
    pub(super) agents: u32,
    /// Let two agents talk with each other instead, in the words of a small language model.
    #[arg(long, conflicts_with = "agents")]
    pub(super) llm: bool,
    #[command(flatten)]
    pub(super) launching: Launching,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The fleet file.
    pub(super) fleet: PathBuf,
    #[command(flatten)]
    pub(super) launching: Launching,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// The run.
    pub(super) dir: PathBuf,
    /// Ticks of the whole run, in place of those that it was launched with.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Leave checkpoints aside and execute every tick again.
    #[arg(long)]
    pub(super) from_genesis: bool,
    /// Let a model whose provider is gone go on with the next one of its list.
    #[arg(long)]
    pub(super) degrade: bool,
    #[command(flatten)]
    pub(super) bounds: Bounds,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Change {
    /// The run.
    pub(super) dir: PathBuf,
    /// The name of the model.
    pub(super) model: String,
    /// What is to become of it, from the next tick but one on.
    #[command(subcommand)]
    pub(super) to: ToBecome,
    /// End standard output with one JSON object.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What is to become of a model.
#[derive(Debug, Subcommand)]
pub(super) enum ToBecome {
    /// Make it another version, and load it if it was not.
    Replace {
        /// The ONNX file, or the folder of a language model.
        file: PathBuf,
        /// What this version is called.
        #[arg(long = "version", value_name = "NAME")]
        name: String,
    },
    /// Let it go: what is asked from then on is answered with an error that says so.
    Unload,
    /// Bring back the version that it was.
    Load,
}

#[derive(Debug, Args)]
pub(super) struct Chaos {
    /// The fleet file, or `demo` for the embedded fleet with 8 poles.
    pub(super) fleet: Option<String>,
    /// Faults to inject.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) faults: u64,
    /// Seed of the faults.
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// Ticks of each run; 300 without it.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Agent-host processes, in place of the fleet's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(super) hosts: Option<u32>,
    /// Inject what this plan says, and nothing else. The faults of the fleet file are left out in any case.
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["faults", "kinds"])]
    pub(super) plan: Option<PathBuf>,
    /// Inject these kinds of faults alone.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = fault_kind)]
    pub(super) kinds: Vec<shm_protocol::fault::FaultKind>,
    /// Milliseconds until a host that has not answered counts as hung.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) deadline_ms: u64,
    /// Keep all runs here.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Compare with this run instead of one without faults.
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) reference: Option<PathBuf>,
    /// Say at which points which faults can be injected, and do nothing else.
    #[arg(long)]
    pub(super) phases: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

fn fault_kind(text: &str) -> Result<shm_protocol::fault::FaultKind, String> {
    use shm_protocol::fault::FaultKind;
    FaultKind::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("it is one of {}", names.join(", "))
    })
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The run.
    pub(super) dir: PathBuf,
    /// Run the models again instead of taking their results from the journal.
    #[arg(long)]
    pub(super) reinfer: bool,
    /// Run the models on these providers instead, in order, and say how far the results are from the journal's.
    #[arg(
        long = "provider",
        value_name = "P",
        value_delimiter = ',',
        requires = "reinfer"
    )]
    pub(super) providers: Vec<String>,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The run.
    pub(super) dir: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The run.
    pub(super) dir: PathBuf,
    /// One tick instead of the whole run.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) tick: Option<u64>,
    /// One agent instead of all, by name.
    #[arg(long, value_name = "A")]
    pub(super) agent: Option<String>,
    /// Show of every result of a model which version made it, run by whom, of what.
    #[arg(long)]
    pub(super) provenance: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The one run.
    pub(super) left: PathBuf,
    /// The other run.
    pub(super) right: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The fleet file.
    pub(super) fleet: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}
