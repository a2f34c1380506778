//! The time that hosts have, and the number of times that they may be lost.

use crate::recovery::{RecoveryLimits, RestartLimit};
use crate::rundir::LaunchSettings;
use std::time::Duration;

/// The time that hosts have, and the number of times that they may be lost.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a host that owes an answer, without a report of progress.
    pub deadline: Duration,
    /// For a new agent host to say that it is ready.
    pub agent_ready: Duration,
    /// For a new inference host to say that it is ready.
    pub inference_ready: Duration,
    /// For a host that loads, without a report of progress.
    pub load: Duration,
    /// How often hosts may be lost.
    pub limits: RecoveryLimits,
}

impl Timeouts {
    /// Those of a launch.
    #[must_use]
    pub fn of(launch: &LaunchSettings) -> Timeouts {
        let within = |restarts, seconds| RestartLimit {
            restarts,
            window: Duration::from_secs(seconds),
        };
        let restarts = &launch.restarts;
        Timeouts {
            deadline: Duration::from_millis(launch.deadline_ms),
            agent_ready: Duration::from_millis(launch.agent_ready_ms),
            inference_ready: Duration::from_millis(launch.inference_ready_ms),
            load: Duration::from_millis(launch.load_ms),
            limits: RecoveryLimits {
                host: within(restarts.host, restarts.host_seconds),
                run: within(restarts.run, restarts.run_seconds),
                quarantine_after: restarts.quarantine_after,
            },
        }
    }
}
