//! Why a run could not begin or go on, and whose fault it is. The kinds decide
//! the exit code; the messages name the thing, the place and the next step.

use crate::artifact::ArtifactError;
use crate::checkpoint::CheckpointError;
use crate::fleet::{FleetError, SourceError};
use crate::host::{HostSetError, is_crash};
use crate::journal::JournalError;
use crate::models::ModelFilesError;
use crate::recovery::StopReason;
use crate::rundir::RunDirError;
use crate::tick::{PlanMismatch, Violation};
use serde::{Deserialize, Serialize};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::id::{HostId, Tick};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The question asked was answered no.
    Negative,
    /// What the user gave.
    BadInput,
    /// A strict demand that cannot be met.
    UnmetDemand,
    /// The run directory is in use.
    InUse,
    /// Somebody asked for the end before the run began.
    Stopped,
    /// The machine did not give what a run needs, in time or at all. The run can be resumed.
    Machine,
    /// Our own, or a host's that died.
    Internal,
}

/// Why a run could not begin or go on.
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
        "the inference host was lost while model `{model}` {what}: {source}; the file may be damaged, or the model too large for this machine"
    )]
    LostWithModel {
        model: String,
        what: &'static str,
        source: HostSetError,
    },
    #[error("{message}")]
    ModelRefused { blame: Blame, message: String },
    #[error(
        "model {model}: the fleet says its {what} are {asked}, but the file has {found}; change `{what}` in the fleet file or take another file"
    )]
    Signature {
        model: String,
        what: &'static str,
        asked: String,
        found: String,
    },
    #[error(
        "{source}. The run has ended; {ticks} ticks are kept in {run_dir:?}: `lockstep inspect` shows them, `lockstep resume` goes on"
    )]
    Ended {
        source: Box<RunError>,
        ticks: u64,
        run_dir: PathBuf,
    },
    #[error(
        "agent {agent}, tick {tick}: {text}. Mend the agent, or set `on_mismatch = \"refuse\"` for the model so that agents are told instead"
    )]
    Mismatch {
        agent: String,
        tick: Tick,
        text: String,
    },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the journal does not fit its fleet: {0}; `lockstep verify` checks it")]
    Journaled(Violation),
    #[error("{0}; `lockstep resume --from-genesis` does without checkpoints")]
    SavedMachine(#[from] PlanMismatch),
    #[error(
        "agent {agent} is not deterministic: it did something else when a tick was executed again: {what} (left: the journal, right: now)"
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
    #[error("the run has {committed} ticks already; ask for more than that, not for {ticks}")]
    AlreadyFurther { ticks: u64, committed: Tick },
    #[error(
        "the run cannot go on here, because not everything is as it was (left: when it began, right: now): {difference}"
    )]
    Changed { difference: String },
    #[error(
        "the engine or a model is not what it was when the run began: it was {before}, now it is {now}"
    )]
    EngineChanged { before: String, now: String },
    #[error(
        "model {model} ran on {provider}, and that is gone: {reasons}. {}",
        if !*has_next {
            "No other provider of its list will do; `lockstep resume` goes on once it is back"
        } else if *asks {
            "`lockstep resume --degrade` goes on with the next provider of its list; `lockstep resume` goes on once it is back"
        } else {
            "`lockstep resume` goes on once it is back; `on_provider_lost` in the fleet file may say to degrade or to ask"
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
        "model {model}, version {version}: the {what} of its first version are {asked}, but the file has {found}; another version takes and gives the same"
    )]
    OtherVersion {
        model: String,
        version: String,
        what: &'static str,
        asked: String,
        found: String,
    },
    #[error(
        "no run goes on in {} that could be asked; `lockstep resume {}` goes on with one that was stopped, and a fleet names changes in [[changes]]",
        dir.display(),
        dir.display()
    )]
    NobodyRuns { dir: PathBuf },
    #[error(
        "the run in {} is in use and cannot be asked: it has not begun yet, or is at its end, or has no models; ask again in a moment",
        dir.display()
    )]
    NotListening { dir: PathBuf },
    #[error(
        "the run in {} ended, or was lost, before it said whether the change was made; `lockstep inspect {}` shows it if it was",
        dir.display(),
        dir.display()
    )]
    EndedFirst { dir: PathBuf },
    #[error("{message}")]
    ChangeRefused { kind: ErrorKind, message: String },
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
    #[error("the run was made by {what} {recorded}, this is {present}; replay it with {recorded}")]
    OtherBuild {
        what: &'static str,
        recorded: String,
        present: String,
    },
}

/// The limit at which a run stops, and the keys that move it. Where a deadline was missed, that is the first of them.
fn at_limit(stop: &StopReason, missed: Option<&'static str>, cause: &str) -> String {
    let (what, limit) = match stop {
        StopReason::Host { losses } => (
            format!(
                "it was lost {losses} times within `restarts_host_s` seconds, the last time so"
            ),
            Some("restarts_host"),
        ),
        StopReason::Run { losses } => (
            format!(
                "hosts were lost {losses} times within `restarts_run_s` seconds, the last one so"
            ),
            Some("restarts_run"),
        ),
        StopReason::Deadline { misses } => (
            format!(
                "it has missed its deadline {misses} times in this tick, each time with more time than before"
            ),
            None,
        ),
    };
    let keys = missed.into_iter().chain(limit);
    let raise: Vec<String> = keys
        .map(|key| {
            let option = key.replace('_', "-");
            format!("raise `{key}`: `lockstep resume DIR --{option} N` for this run, the fleet file for new ones")
        })
        .collect();
    format!(
        "{what}: {cause}. If this machine needs more, {}",
        raise.join("; or ")
    )
}

impl RunError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            RunError::Ended { source, .. } => source.kind(),
            RunError::Fleet(_)
            | RunError::Source(_)
            | RunError::Folder(_)
            | RunError::AgentRefused(_)
            | RunError::LostWithModel { .. }
            | RunError::Signature { .. }
            | RunError::OtherVersion { .. }
            | RunError::Mismatch { .. }
            | RunError::Checkpoint(_)
            | RunError::AlreadyFurther { .. }
            | RunError::Changed { .. }
            | RunError::EngineChanged { .. }
            | RunError::OtherBuild { .. } => ErrorKind::BadInput,
            RunError::ProviderLost { .. } => ErrorKind::UnmetDemand,
            RunError::NobodyRuns { .. } | RunError::NotListening { .. } => ErrorKind::BadInput,
            RunError::EndedFirst { .. } => ErrorKind::Negative,
            RunError::ChangeRefused { kind, .. } => *kind,
            RunError::Component {
                source: ArtifactError::Refused { .. } | ArtifactError::Failed { .. },
                ..
            } => ErrorKind::BadInput,
            RunError::RunDir(error) | RunError::Journal(JournalError::RunDir(error)) => {
                ErrorKind::of_run_dir(error)
            }
            RunError::Journal(error) => ErrorKind::of_journal(error),
            RunError::ModelRefused { blame, .. }
            | RunError::Crew(HostSetError::Failed { blame, .. }) => ErrorKind::of(*blame),
            RunError::Crew(HostSetError::Folder(_)) => ErrorKind::BadInput,
            RunError::Crew(HostSetError::Stopped) => ErrorKind::Stopped,
            RunError::Crew(
                HostSetError::Silent { .. } | HostSetError::Spawn(_) | HostSetError::Pool(_),
            ) => ErrorKind::Machine,
            // It was killed from outside.
            RunError::Crew(HostSetError::Died { status, .. }) if !is_crash(*status) => {
                ErrorKind::Machine
            }
            RunError::Component { .. }
            | RunError::Crew(_)
            | RunError::Journaled(_)
            | RunError::SavedMachine(_)
            | RunError::Nondeterminism { .. } => ErrorKind::Internal,
            RunError::System { .. } | RunError::LimitReached { .. } => ErrorKind::Machine,
        }
    }
}

impl ErrorKind {
    fn of_run_dir(error: &RunDirError) -> ErrorKind {
        match error {
            RunDirError::InUse { .. } => ErrorKind::InUse,
            RunDirError::ObjectMissing { .. }
            | RunDirError::ObjectDamaged { .. }
            | RunDirError::Launch { .. }
            | RunDirError::Outbox { .. }
            | RunDirError::OutboxAltered { .. } => ErrorKind::Negative,
            RunDirError::AlreadyARun { .. }
            | RunDirError::NotEmpty { .. }
            | RunDirError::NotARun { .. }
            | RunDirError::Io { .. }
            | RunDirError::OutboxPoisoned { .. } => ErrorKind::BadInput,
        }
    }

    fn of_journal(error: &JournalError) -> ErrorKind {
        match error {
            JournalError::NotBegun { .. }
            | JournalError::MissingSegment { .. }
            | JournalError::Foreign { .. }
            | JournalError::Corrupt { .. }
            | JournalError::DamagedTail { .. }
            | JournalError::Lost { .. }
            | JournalError::Mark { .. } => ErrorKind::Negative,
            JournalError::Thread { .. } | JournalError::Poisoned { .. } => ErrorKind::Internal,
            // A full or failing disk is the user's to mend.
            _ => ErrorKind::BadInput,
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
