//! The restart of a host: why it restarts, and what a new incarnation has still to be told.

use crate::checkpoint::BaseState;
use crate::host::LoadSequence;
use shm_protocol::id::{Tick, VersionId};
use shm_protocol::supervisor_to_agent::LoadAgent;
use std::time::Duration;

/// The restart of a host, from its loss until it is back at work.
#[derive(Debug)]
pub(super) struct HostRestart {
    pub(super) lost_at: Duration,
    pub(super) cause: String,
    /// The checkpoint that its agents began with.
    pub(super) base: Option<Tick>,
    /// Ticks that were executed again.
    pub(super) reexecuted: u64,
    /// It is told of as a part of the run that is resumed, and not alone.
    pub(super) is_resume: bool,
    /// It was not lost but is started anew, which is not told.
    pub(super) is_planned: bool,
}

impl HostRestart {
    /// After a loss.
    pub(super) fn after_loss(lost_at: Duration, cause: &str) -> HostRestart {
        HostRestart {
            lost_at,
            cause: cause.to_owned(),
            base: None,
            reexecuted: 0,
            is_resume: false,
            is_planned: false,
        }
    }

    /// After an end that was meant.
    pub(super) fn as_planned(ended_at: Duration, cause: &str) -> HostRestart {
        HostRestart {
            is_planned: true,
            ..HostRestart::after_loss(ended_at, cause)
        }
    }

    /// With a run that is resumed.
    pub(super) fn after_resume(lost_at: Duration) -> HostRestart {
        HostRestart {
            is_resume: true,
            ..HostRestart::after_loss(lost_at, "the run was resumed")
        }
    }
}

/// What a new incarnation has still to be told.
#[derive(Debug)]
pub(super) enum LoadProgress {
    /// Of agents.
    Agents {
        loads: LoadSequence<LoadAgent>,
        base: Option<BaseState>,
    },
    /// Of the models; none until the engine is loaded.
    Engine(Option<LoadSequence<VersionId>>),
}
