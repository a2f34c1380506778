//! Why a run could not begin or go on, and whose fault it is. The kinds decide
//! the exit code; the messages name the thing, the place and the next step.

use crate::artifact::ArtifactError;
use crate::checkpoint::CheckpointError;
use crate::fleet::{FleetError, SourceError};
use crate::host::{CrewError, is_crash};
use crate::journal::JournalError;
use crate::models::FolderError;
use crate::recovery::Stop;
use crate::rundir::RunDirError;
use crate::tick::{NotThisPlan, Violation};
use serde::{Deserialize, Serialize};
use shm_protocol::agent_to_supervisor::Blame;
use shm_protocol::id::{HostId, Tick};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The question asked was answered no.
    No,
    /// What the user gave.
    Input,
    /// A strict demand that cannot be met.
    Demand,
    /// The run directory is in use.
    InUse,
    /// Somebody asked for the end before the run began.
    Stopped,
    /// The machine did not give what a run needs, in time or at all. The run can be resumed.
    Machine,
    /// Our own, or a host's that died.
    Bug,
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
    Folder(#[from] FolderError),
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
    Crew(#[from] CrewError),
    #[error("{0}")]
    AgentRefused(String),
    #[error(
        "the inference host was lost while model `{model}` {what}: {source}; the file may be damaged, or the model too large for this machine"
    )]
    LostWithModel {
        model: String,
        what: &'static str,
        source: CrewError,
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
    SavedMachine(#[from] NotThisPlan),
    #[error(
        "agent {agent} is not deterministic: it did something else when a tick was executed again: {what} (left: the journal, right: now)"
    )]
    Nondeterminism { agent: String, what: String },
    #[error("tick {tick}, {kind} {host}: {}", at_limit(stop, *key, cause))]
    LimitReached {
        stop: Stop,
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
    ChangeRefused { kind: Kind, message: String },
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
fn at_limit(stop: &Stop, missed: Option<&'static str>, cause: &str) -> String {
    let (what, limit) = match stop {
        Stop::Host { losses } => (
            format!(
                "it was lost {losses} times within `restarts_host_s` seconds, the last time so"
            ),
            Some("restarts_host"),
        ),
        Stop::Run { losses } => (
            format!(
                "hosts were lost {losses} times within `restarts_run_s` seconds, the last one so"
            ),
            Some("restarts_run"),
        ),
        Stop::Deadline { misses } => (
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
    pub fn kind(&self) -> Kind {
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
            | RunError::OtherBuild { .. } => Kind::Input,
            RunError::ProviderLost { .. } => Kind::Demand,
            RunError::NobodyRuns { .. } | RunError::NotListening { .. } => Kind::Input,
            RunError::EndedFirst { .. } => Kind::No,
            RunError::ChangeRefused { kind, .. } => *kind,
            RunError::Component {
                source: ArtifactError::Refused { .. } | ArtifactError::Failed { .. },
                ..
            } => Kind::Input,
            RunError::RunDir(error) | RunError::Journal(JournalError::RunDir(error)) => {
                Kind::of_run_dir(error)
            }
            RunError::Journal(error) => Kind::of_journal(error),
            RunError::ModelRefused { blame, .. }
            | RunError::Crew(CrewError::Failed { blame, .. }) => Kind::of(*blame),
            RunError::Crew(CrewError::Folder(_)) => Kind::Input,
            RunError::Crew(CrewError::Stopped) => Kind::Stopped,
            RunError::Crew(CrewError::Silent { .. } | CrewError::Spawn(_) | CrewError::Pool(_)) => {
                Kind::Machine
            }
            // It was killed from outside.
            RunError::Crew(CrewError::Died { status, .. }) if !is_crash(*status) => Kind::Machine,
            RunError::Component { .. }
            | RunError::Crew(_)
            | RunError::Journaled(_)
            | RunError::SavedMachine(_)
            | RunError::Nondeterminism { .. } => Kind::Bug,
            RunError::System { .. } | RunError::LimitReached { .. } => Kind::Machine,
        }
    }
}

impl Kind {
    fn of_run_dir(error: &RunDirError) -> Kind {
        match error {
            RunDirError::InUse { .. } => Kind::InUse,
            RunDirError::ObjectMissing { .. }
            | RunDirError::ObjectDamaged { .. }
            | RunDirError::Launch { .. }
            | RunDirError::Outbox { .. }
            | RunDirError::OutboxAltered { .. } => Kind::No,
            RunDirError::AlreadyARun { .. }
            | RunDirError::NotEmpty { .. }
            | RunDirError::NotARun { .. }
            | RunDirError::Io { .. }
            | RunDirError::OutboxPoisoned { .. } => Kind::Input,
        }
    }

    fn of_journal(error: &JournalError) -> Kind {
        match error {
            JournalError::NotBegun { .. }
            | JournalError::MissingSegment { .. }
            | JournalError::Foreign { .. }
            | JournalError::Corrupt { .. }
            | JournalError::DamagedTail { .. }
            | JournalError::Lost { .. }
            | JournalError::Mark { .. } => Kind::No,
            JournalError::Thread { .. } | JournalError::Poisoned { .. } => Kind::Bug,
            // A full or failing disk is the user's to mend.
            _ => Kind::Input,
        }
    }

    fn of(blame: Blame) -> Kind {
        match blame {
            Blame::Input => Kind::Input,
            Blame::Demand => Kind::Demand,
            Blame::Machine => Kind::Machine,
            Blame::Us => Kind::Bug,
        }
    }
}
