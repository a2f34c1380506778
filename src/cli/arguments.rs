//! The grammar of the command line.

mod model;

use super::bounds::{Bounds, pace};
use super::read_file::{NamedFile, named_file};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use supervisor::fleet::{Fleet, Pace};
use tracing_subscriber::filter::LevelFilter;

pub(super) use model::{FormerChangeArguments, ModelArguments, ModelSubcommand, ModelTarget};

/// A local-first, deterministic multi-agent runtime.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    about,
    after_help = "Exit codes: 0 success; 1 negative result (diverged, not verified); 2 bad input (usage, fleet, agent, model); 3 a strict demand is not met; 4 run directory in use; 5 the machine failed (disk, memory, process limits, time), resume the run; 70 internal error."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: CliCommand,
    /// Log more to standard error: information, with -vv debugging, with -vvv traces.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Cli {
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
pub(super) enum CliCommand {
    /// Run an embedded fleet with real agents and a real model.
    Demo(DemoArguments),
    /// Run a fleet.
    Run(RunArguments),
    /// Resume a run that was killed or stopped.
    Resume(ResumeArguments),
    /// Replace, unload or load a model of an active run.
    Model(ModelArguments),
    /// The former name of `model`, refused with the new one.
    #[command(hide = true, disable_help_flag = true)]
    Change(FormerChangeArguments),
    /// Re-execute a run and compare it with its journal, tick by tick.
    Replay(ReplayArguments),
    /// Check a run directory without executing anything.
    Verify(VerifyArguments),
    /// Show what happened in a run.
    Inspect(InspectArguments),
    /// Find the first difference between two runs.
    Diff(DiffArguments),
    /// Run a fleet with injected faults and compare it with the fault-free run.
    Chaos(ChaosArguments),
    /// Run a model once on arrays from files.
    Infer(InferArguments),
    /// Generate text with a language model from a folder.
    Generate(GenerateArguments),
    /// Check a fleet, its agents and its models without running it.
    Check(CheckArguments),
    /// Report engines, providers and sandbox layers of this machine.
    Doctor(DoctorArguments),
}

/// Engine options of commands that run a single model.
#[derive(Debug, Args)]
pub(super) struct EngineOptions {
    /// Execution providers to try, in order, such as cuda,cpu; `lockstep doctor` lists them.
    #[arg(long = "provider", value_name = "P", value_delimiter = ',')]
    pub(super) providers: Vec<String>,
    /// Refuse to run on any other than the first provider.
    #[arg(long)]
    pub(super) strict_providers: bool,
    /// Threads within one operator. Another number may change the bits of results.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) intra_op_threads: u32,
}

#[derive(Debug, Args)]
pub(super) struct InferArguments {
    /// The ONNX file.
    #[arg(value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// An input array, as numpy.save writes it; repeat for each input. Without any, the model's inputs and outputs are shown.
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = named_file)]
    pub(super) inputs: Vec<NamedFile>,
    /// Folder for the outputs, each as NAME.npy; existing files are overwritten.
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) engine: EngineOptions,
    /// Maximum MiB of one input or output. Each direction allocates four times as much, rounded up to a power of two.
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) tensor_mib: u32,
    /// Milliseconds that the model may take to load, and to run.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) deadline_ms: u64,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("task").required(true).args(["prompt", "chat"])))]
pub(super) struct GenerateArguments {
    /// The folder of the model, or the .onnx file in it.
    #[arg(value_name = "MODEL_DIR")]
    pub(super) model: PathBuf,
    /// The text to continue.
    #[arg(long, value_name = "TEXT")]
    pub(super) prompt: Option<String>,
    /// A user message to answer, formatted with the model's chat template.
    #[arg(long, value_name = "TEXT")]
    pub(super) chat: Option<String>,
    /// The system message before it.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(super) system: Option<String>,
    /// Maximum tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) max_tokens: u64,
    /// Sampling temperature, 0 for greedy decoding; the default is the model's own.
    #[arg(long, value_name = "T", value_parser = finite, allow_negative_numbers = true)]
    pub(super) temperature: Option<f64>,
    /// Top-k sampling: sample from the K most likely tokens.
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(super) top_k: Option<u64>,
    /// Top-p (nucleus) sampling: sample from the most likely tokens that together have this probability.
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub(super) top_p: Option<f64>,
    /// Min-p sampling: sample from tokens with at least this fraction of the most likely token's probability.
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub(super) min_p: Option<f64>,
    /// Seed of sampling. The same seed gives the same text.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// Stop string: end the text before it; may be repeated.
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,
    /// Constrain the text to JSON that is valid for this JSON schema.
    #[arg(long, value_name = "FILE")]
    pub(super) schema: Option<PathBuf>,
    /// Maximum tokens of prompt and text together, if that is less than the model's own limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(shm_protocol::generation::MAX_TOKENS)))]
    pub(super) context_length: Option<u32>,
    #[command(flatten)]
    pub(super) engine: EngineOptions,
    /// Milliseconds that the model may take to load, and for a few tokens.
    #[arg(long, value_name = "MS", default_value_t = 120_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub(super) deadline_ms: u64,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of commands that launch a run.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// The run directory; by default a new one below `runs/`.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Ticks to run, instead of the fleet's.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Seed of all randomness, instead of the fleet's.
    #[arg(long, value_name = "S", value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: Option<u64>,
    /// Number of agent hosts, instead of the fleet's. No outcome depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(super) hosts: Option<u32>,
    /// Durability of a tick, instead of the fleet's: process, batch or sync.
    #[arg(long, value_name = "LEVEL", value_parser = durability)]
    pub(super) durability: Option<supervisor::fleet::Durability>,
    /// Pace of the ticks, instead of the fleet's: free, or a rate as in 100Hz. No outcome depends on it.
    #[arg(long, value_name = "PACE", value_parser = pace)]
    pub(super) pace: Option<Pace>,
    /// A fault plan to inject, in addition to the faults of the fleet file; see docs/faults.md.
    #[arg(long, value_name = "PLAN")]
    pub(super) faults: Option<PathBuf>,
    /// Ignore the faults of the fleet file.
    #[arg(long)]
    pub(super) without_faults: bool,
    /// Milliseconds without progress after which a host counts as hung, instead of the fleet's.
    #[arg(long, value_name = "MS", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) deadline_ms: Option<u64>,
    /// Milliseconds after which a new host that is not ready counts as hung, instead of the fleet's.
    #[arg(long, value_name = "MS", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ready_ms: Option<u64>,
    /// Refuse to run on any other than each model's first provider.
    #[arg(long)]
    pub(super) strict_providers: bool,
    /// End with exit code 1 if an agent has failed for good: its step failed, or it is quarantined.
    #[arg(long)]
    pub(super) fail_on_agent_failure: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Parses a number that is neither NaN nor infinite.
fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a finite number".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

fn durability(text: &str) -> Result<supervisor::fleet::Durability, String> {
    let mut levels = supervisor::fleet::Durability::NAMES.into_iter();
    let level = levels.find(|(name, _)| *name == text);
    level.map_or_else(
        || Err("expected process, batch or sync".to_owned()),
        |(_, level)| Ok(level),
    )
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Cart-poles to balance. The referee's report on more would exceed the size limit of an output.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000), allow_negative_numbers = true)]
    pub(super) agents: u32,
    /// Let two agents talk with each other instead, with a small language model.
    #[arg(long, conflicts_with = "agents")]
    pub(super) llm: bool,
    #[command(flatten)]
    pub(super) options: RunOptions,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The fleet file.
    pub(super) fleet: PathBuf,
    #[command(flatten)]
    pub(super) options: RunOptions,
    /// Resume the run in the directory, if there is one. It must be of this fleet, and keeps its hosts, durability and
    /// providers.
    #[arg(long, requires = "dir", conflicts_with = "faults")]
    pub(super) or_resume: bool,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(super) dir: PathBuf,
    /// Ticks of the whole run, instead of those that it was launched with.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Leave checkpoints aside and execute every tick again.
    #[arg(long)]
    pub(super) ignore_checkpoints: bool,
    /// Let a model whose provider is gone run on the next one of its list.
    #[arg(long)]
    pub(super) allow_next_provider: bool,
    /// End with exit code 1 if an agent has failed for good: its step failed, or it is quarantined.
    #[arg(long)]
    pub(super) fail_on_agent_failure: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) bounds: Bounds,
}

impl ResumeArguments {
    /// The arguments of the resume of a run that was begun with these options.
    pub(super) fn of_run(dir: &Path, fleet: &Fleet, options: &RunOptions) -> ResumeArguments {
        ResumeArguments {
            dir: dir.to_path_buf(),
            ticks: fleet.ticks,
            ignore_checkpoints: false,
            allow_next_provider: false,
            fail_on_agent_failure: options.fail_on_agent_failure,
            json: options.json,
            bounds: Bounds::of_launch(options.deadline_ms, options.pace),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ChaosArguments {
    /// The fleet file, or `demo` for the embedded fleet with 8 poles.
    pub(super) fleet: Option<String>,
    /// Faults to inject.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) faults: u64,
    /// Seed of the faults.
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// Ticks of each run; 300 by default.
    #[arg(long, value_name = "N", value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) ticks: Option<u64>,
    /// Number of agent hosts, instead of the fleet's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(super) hosts: Option<u32>,
    /// Inject the faults of this plan only. The faults of the fleet file are always ignored.
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["faults", "kinds"])]
    pub(super) plan: Option<PathBuf>,
    /// Inject these kinds of faults only.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = fault_kind)]
    pub(super) kinds: Vec<shm_protocol::fault::FaultKind>,
    /// Milliseconds without progress after which a host counts as hung.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = at_least_one, allow_negative_numbers = true)]
    pub(super) deadline_ms: u64,
    /// Folder in which all runs are kept.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Compare with this run instead of one without faults.
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) reference: Option<PathBuf>,
    /// List the points at which faults can be injected, and the kinds that fit them.
    #[arg(long)]
    pub(super) points: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

fn fault_kind(text: &str) -> Result<shm_protocol::fault::FaultKind, String> {
    use shm_protocol::fault::FaultKind;
    FaultKind::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(super) dir: PathBuf,
    /// Run the models again instead of using the results in the journal.
    #[arg(long)]
    pub(super) reinfer: bool,
    /// Run the models on these providers, in order, and report the distance of the results to the journal's.
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
pub(super) struct VerifyArguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(super) dir: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// The run directory.
    #[arg(value_name = "RUN")]
    pub(super) dir: PathBuf,
    /// Show one tick instead of the whole run.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) tick: Option<u64>,
    /// Show one agent instead of all, by name.
    #[arg(long, value_name = "A")]
    pub(super) agent: Option<String>,
    /// Show the provenance of every result: version of the model, provider, input and output.
    #[arg(long)]
    pub(super) provenance: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// The run directory on the left.
    pub(super) left: PathBuf,
    /// The run directory on the right.
    pub(super) right: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The fleet file.
    pub(super) fleet: PathBuf,
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// End standard output with one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}
