//! Errors of a run and their classes. The class decides the exit code; the
//! messages name the thing, the place and the next step.

use crate::artifact::ArtifactError;
use crate::checkpoint::CheckpointError;
use crate::fleet::{FleetError, SourceError};
use crate::host::{HostSetError, is_crash};
use crate::journal::JournalError;
use crate::models::ModelFilesError;
use crate::recovery::StopReason;
use crate::rundir::RunDirError;
use crate::sys::is_symlink_loop;
use crate::tick::{PlanMismatch, Violation};
use serde::{Deserialize, Serialize};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::exit_code;
use shm_protocol::id::{HostId, Tick};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The class of an error: what caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// A negative result, as of a journal that does not verify.
    Negative,
    /// Bad input of the user: usage, paths, fleet, agent or model.
    BadInput,
    /// A strict demand that cannot be met.
    UnmetDemand,
    /// The run directory is in use.
    InUse,
    /// The user ended the command before the run began.
    Stopped,
    /// A failure of the machine: disk, memory, process limits or time. The run can be resumed.
    Machine,
    /// An internal error, or a host that crashed.
    Internal,
}

/// An error that keeps a run from starting or ends it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum RunError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("model {0}")]
    Folder(#[from] ModelFilesError),
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("agent {agent}: its component is refused: {source}")]
    Component {
        agent: String,
        source: ArtifactError,
    },
    #[error(transparent)]
    Crew(#[from] HostSetError),
    #[error("{0}")]
    AgentRefused(String),
    #[error(
        "the inference host failed while model `{model}` {what}: {source}; the file may be damaged, or the model too large for this machine"
    )]
    LostWithModel {
        model: String,
        what: &'static str,
        source: HostSetError,
    },
    #[error("{message}")]
    ModelRefused { blame: Blame, message: String },
    #[error(
        "model {model}: its {what} are {asked} in the fleet file and {found} in the model file; change `{what}` in the fleet file, or use another model file"
    )]
    Signature {
        model: String,
        what: &'static str,
        asked: String,
        found: String,
    },
    #[error(
        "{source}. The run has ended with {ticks} ticks in {run_dir:?}: `lockstep inspect` shows them, `lockstep resume` resumes the run"
    )]
    Ended {
        source: Box<RunError>,
        ticks: u64,
        run_dir: PathBuf,
    },
    #[error(
        "agent {agent}, tick {tick}: {text}. Fix the agent, or set `on_mismatch = \"reject\"` for the model so that the agent gets the error"
    )]
    Mismatch {
        agent: String,
        tick: Tick,
        text: String,
    },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "the journal does not match the fleet in its header: {0}; check it with `lockstep verify`"
    )]
    Journaled(Violation),
    #[error("{0}; `lockstep resume --ignore-checkpoints` uses no checkpoint")]
    SavedMachine(#[from] PlanMismatch),
    #[error(
        "agent {agent} is not deterministic: re-executing a tick gave a different outcome: {what} (left: the journal, right: now)"
    )]
    Nondeterminism { agent: String, what: String },
    #[error("tick {tick}, {kind} {host}: {}", at_limit(stop, *key, cause))]
    LimitReached {
        stop: StopReason,
        kind: String,
        host: HostId,
        tick: Tick,
        /// The deadline that was missed last, if one was.
        key: Option<&'static str>,
        cause: String,
    },
    #[error("the run already has {committed} ticks; --ticks {ticks} must be larger than that")]
    AlreadyFurther { ticks: u64, committed: Tick },
    #[error(
        "cannot resume: the configuration differs (left: at the start of the run, right: now): {difference}; restore it, or start a new run"
    )]
    Changed { difference: String },
    #[error(
        "cannot resume: the engine or a model has changed since the start of the run, from {before} to {now}; restore it, or start a new run"
    )]
    EngineChanged { before: String, now: String },
    #[error(
        "the provider {provider} of model {model} is no longer available: {reasons}. {}",
        if !*has_next {
            "No other provider of its list can replace it; run `lockstep resume` once it is available again"
        } else if *asks {
            "Run `lockstep resume --allow-next-provider` to continue with the next provider of its list, or `lockstep resume` once it is available again"
        } else {
            "Run `lockstep resume` once it is available again; `on_provider_lost` in the fleet file can allow the next provider of its list"
        }
    )]
    ProviderLost {
        model: String,
        provider: String,
        reasons: String,
        has_next: bool,
        asks: bool,
    },
    #[error(
        "model {model}, version {version}: its {what} are {found}, and those of the first version {asked}; every version must keep the model's inputs and outputs"
    )]
    OtherVersion {
        model: String,
        version: String,
        what: &'static str,
        asked: String,
        found: String,
    },
    #[error(
        "no active run in {}; resume it first with `lockstep resume {}`",
        dir.display(),
        dir.display()
    )]
    NobodyRuns { dir: PathBuf },
    #[error(
        "the run in {} takes no model changes now: it is starting, ending, or has no models; try again in a moment",
        dir.display()
    )]
    NotListening { dir: PathBuf },
    #[error(
        "the run in {} ended before it confirmed the change; `lockstep inspect {}` shows whether it was made",
        dir.display(),
        dir.display()
    )]
    EndedFirst { dir: PathBuf },
    #[error("{message}")]
    ChangeRefused { kind: ErrorKind, message: String },
    #[error("cannot allocate {what}: {source}; free some memory, or raise its limit")]
    System {
        what: &'static str,
        source: io::Error,
    },
    #[error(
        "the run was recorded by {what} {recorded}, this is {what} {present}; replay it with {recorded}"
    )]
    OtherBuild {
        what: &'static str,
        recorded: String,
        present: String,
    },
    /// A run that is to go on is one of another fleet.
    #[error(
        "{path:?} holds a run of another fleet: {what} differs; choose another directory with --dir for a new run, or resume that one with `lockstep resume {}`", path.display()
    )]
    OtherFleet { path: PathBuf, what: String },
}

/// The limit at which a run stops, and the keys that raise it. The key of a missed deadline comes first.
fn at_limit(stop: &StopReason, missed: Option<&'static str>, cause: &str) -> String {
    let (what, limit) = match stop {
        StopReason::Host { losses } => (
            format!(
                "restart limit reached: {losses} failures within `restarts_host_s` seconds, the last one"
            ),
            Some("restarts_host"),
        ),
        StopReason::Run { losses } => (
            format!(
                "restart limit of the run reached: {losses} failures of hosts within `restarts_run_s` seconds, the last one"
            ),
            Some("restarts_run"),
        ),
        StopReason::Deadline { misses } => (
            format!(
                "deadline missed {misses} times in this tick, although it was extended each time, the last time"
            ),
            None,
        ),
    };
    let keys = missed.into_iter().chain(limit);
    let raise: Vec<String> = keys
        .map(|key| {
            let option = key.replace('_', "-");
            format!("raise `{key}`: `lockstep resume DIR --{option} N` for this run, the fleet file for new runs")
        })
        .collect();
    format!(
        "{what}: {cause}. If this machine needs more time or restarts, {}",
        raise.join("; or ")
    )
}

impl RunError {
    /// The class of the error, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            RunError::Ended { source, .. } => source.kind(),
            RunError::Fleet(error) => ErrorKind::of_fleet(error),
            RunError::Source(error) => ErrorKind::of_source(error),
            RunError::Folder(error) => ErrorKind::of_model_files(error),
            RunError::RunDir(error) => ErrorKind::of_run_dir(error),
            RunError::Journal(error) => ErrorKind::of_journal(error),
            RunError::Checkpoint(error) => ErrorKind::of_checkpoint(error),
            RunError::Component { source, .. } => ErrorKind::of_artifact(source),
            RunError::Crew(error) => ErrorKind::of_hosts(error),
            RunError::LostWithModel { source, .. } => match ErrorKind::of_hosts(source) {
                // The host had nothing but the model in it, so a crash is the model's.
                ErrorKind::Internal => ErrorKind::BadInput,
                kind => kind,
            },
            RunError::ModelRefused { blame, .. } => ErrorKind::of(*blame),
            RunError::ChangeRefused { kind, .. } => *kind,
            RunError::AgentRefused(_)
            | RunError::Signature { .. }
            | RunError::OtherVersion { .. }
            | RunError::Mismatch { .. }
            | RunError::AlreadyFurther { .. }
            | RunError::Changed { .. }
            | RunError::EngineChanged { .. }
            | RunError::OtherBuild { .. }
            | RunError::OtherFleet { .. }
            | RunError::NobodyRuns { .. }
            | RunError::NotListening { .. } => ErrorKind::BadInput,
            RunError::ProviderLost { .. } => ErrorKind::UnmetDemand,
            RunError::EndedFirst { .. } => ErrorKind::Negative,
            RunError::System { .. } | RunError::LimitReached { .. } => ErrorKind::Machine,
            RunError::Journaled(_)
            | RunError::SavedMachine(_)
            | RunError::Nondeterminism { .. } => ErrorKind::Internal,
        }
    }
}

impl ErrorKind {
    /// The exit code of a command that ends with such an error.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Stopped => exit_code::SUCCESS,
            ErrorKind::Negative => exit_code::NEGATIVE,
            ErrorKind::BadInput => exit_code::BAD_INPUT,
            ErrorKind::UnmetDemand => exit_code::UNMET_DEMAND,
            ErrorKind::InUse => exit_code::IN_USE,
            ErrorKind::Machine => exit_code::MACHINE,
            ErrorKind::Internal => exit_code::INTERNAL,
        }
    }

    /// The class of a failed operation on a file: a path that cannot be used is bad input; a full or failing disk, too
    /// little memory and a limit on descriptors or processes are failures of the machine.
    #[must_use]
    pub fn of_io(error: &io::Error) -> ErrorKind {
        use io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound
            | Io::PermissionDenied
            | Io::AlreadyExists
            | Io::NotADirectory
            | Io::IsADirectory
            | Io::DirectoryNotEmpty
            | Io::ReadOnlyFilesystem
            | Io::CrossesDevices
            | Io::InvalidFilename
            | Io::InvalidInput
            | Io::InvalidData
            | Io::UnexpectedEof
            | Io::Unsupported
            | Io::ExecutableFileBusy
            // A check of our own, as that a path is a file.
            | Io::Other => ErrorKind::BadInput,
            _ if is_symlink_loop(error) => ErrorKind::BadInput,
            _ => ErrorKind::Machine,
        }
    }

    fn of_fleet(error: &FleetError) -> ErrorKind {
        match error {
            FleetError::Unreadable { source, .. } => ErrorKind::of_io(source),
            FleetError::Refused(_) => ErrorKind::BadInput,
        }
    }

    fn of_source(error: &SourceError) -> ErrorKind {
        match error {
            SourceError::Unreadable { source, .. } => ErrorKind::of_io(source),
            SourceError::NotAFile { .. } | SourceError::NoSuchPart { .. } => ErrorKind::BadInput,
        }
    }

    fn of_model_files(error: &ModelFilesError) -> ErrorKind {
        match error {
            ModelFilesError::Read { source, .. } | ModelFilesError::Weights { source, .. } => {
                ErrorKind::of_io(source)
            }
            ModelFilesError::NoMemory { .. } => ErrorKind::Machine,
            ModelFilesError::Graph { .. }
            | ModelFilesError::Elsewhere { .. }
            | ModelFilesError::TooLarge { .. } => ErrorKind::BadInput,
        }
    }

    fn of_artifact(error: &ArtifactError) -> ErrorKind {
        match error {
            ArtifactError::Refused { .. } | ArtifactError::Failed { .. } => ErrorKind::BadInput,
            ArtifactError::System { .. } => ErrorKind::Machine,
        }
    }

    fn of_hosts(error: &HostSetError) -> ErrorKind {
        match error {
            HostSetError::Failed { blame, .. } => ErrorKind::of(*blame),
            HostSetError::SocketDir(source) => ErrorKind::of_io(source),
            HostSetError::Stopped => ErrorKind::Stopped,
            HostSetError::TimedOut { .. } | HostSetError::Spawn(_) | HostSetError::Pool(_) => {
                ErrorKind::Machine
            }
            HostSetError::Died { status, .. } if is_crash(*status) => ErrorKind::Internal,
            // It was killed from outside, by a person or for lack of memory.
            HostSetError::Died { .. } => ErrorKind::Machine,
            HostSetError::InvalidRing { .. }
            | HostSetError::Gone { .. }
            | HostSetError::Decode { .. }
            | HostSetError::UnexpectedRecord { .. }
            | HostSetError::Version { .. }
            | HostSetError::Lifecycle(_) => ErrorKind::Internal,
        }
    }

    fn of_run_dir(error: &RunDirError) -> ErrorKind {
        match error {
            RunDirError::InUse { .. } => ErrorKind::InUse,
            RunDirError::Io { source, .. } => ErrorKind::of_io(source),
            RunDirError::ObjectMissing { .. }
            | RunDirError::ObjectDamaged { .. }
            | RunDirError::Launch { .. }
            | RunDirError::Outbox { .. }
            | RunDirError::OutboxAltered { .. } => ErrorKind::Negative,
            RunDirError::AlreadyARun { .. }
            | RunDirError::NotEmpty { .. }
            | RunDirError::NotARun { .. } => ErrorKind::BadInput,
            RunDirError::OutboxPoisoned { .. } => ErrorKind::Machine,
        }
    }

    fn of_journal(error: &JournalError) -> ErrorKind {
        match error {
            JournalError::RunDir(error) => ErrorKind::of_run_dir(error),
            JournalError::Read { source, .. } | JournalError::Cut { source, .. } => {
                ErrorKind::of_io(source)
            }
            // The file was open and could be written until then.
            JournalError::Write { .. }
            | JournalError::Sync { .. }
            | JournalError::Thread { .. }
            | JournalError::Poisoned { .. } => ErrorKind::Machine,
            JournalError::TooLarge { .. } => ErrorKind::BadInput,
            JournalError::NotBegun { .. }
            | JournalError::MissingSegment { .. }
            | JournalError::Foreign { .. }
            | JournalError::Corrupt { .. }
            | JournalError::DamagedTail { .. }
            | JournalError::Lost { .. }
            | JournalError::Mark { .. } => ErrorKind::Negative,
        }
    }

    fn of_checkpoint(error: &CheckpointError) -> ErrorKind {
        match error {
            CheckpointError::Io { source, .. } => ErrorKind::of_io(source),
            CheckpointError::Missing { .. }
            | CheckpointError::Damaged { .. }
            | CheckpointError::OtherRun { .. }
            | CheckpointError::Page { .. } => ErrorKind::Negative,
            CheckpointError::OtherBuild { .. } => ErrorKind::BadInput,
            CheckpointError::State { .. } => ErrorKind::Internal,
        }
    }

    fn of(blame: Blame) -> ErrorKind {
        match blame {
            Blame::Input => ErrorKind::BadInput,
            Blame::Demand => ErrorKind::UnmetDemand,
            Blame::Machine => ErrorKind::Machine,
            Blame::Us => ErrorKind::Internal,
        }
    }
}

#[cfg(test)]
mod tests;
