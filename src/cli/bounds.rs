//! Limits on time and restarts that `lockstep resume` may override.

use clap::Args;
use supervisor::fleet::{PACE_HELP, Pace};
use supervisor::rundir::BoundOverrides;

/// Limits that replace those of the fleet file, for a slower machine.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits, in place of those of the fleet file, from now on")]
pub(super) struct Bounds {
    /// Milliseconds without progress after which a host counts as hung.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: Option<u64>,
    /// Milliseconds until a new agent host must be ready.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    agent_ready_ms: Option<u64>,
    /// Milliseconds until a new inference host must be ready.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    inference_ready_ms: Option<u64>,
    /// Milliseconds without progress after which a host that loads counts as hung.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    load_ms: Option<u64>,
    /// Maximum restarts of one host within `restarts_host_s` seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    restarts_host: Option<u32>,
    /// Maximum restarts of all hosts within `restarts_run_s` seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    restarts_run: Option<u32>,
    /// Pace of the ticks: free, or a rate as in 100Hz.
    #[arg(long, value_name = "PACE", value_parser = pace)]
    pace: Option<Pace>,
}

impl Bounds {
    /// The bounds of the launch before, but for this deadline and this pace.
    pub(super) fn of_launch(deadline_ms: Option<u64>, pace: Option<Pace>) -> Bounds {
        Bounds {
            deadline_ms,
            pace,
            ..Bounds::default()
        }
    }

    /// The limits that are overridden.
    pub(super) fn overridden(&self) -> BoundOverrides {
        BoundOverrides {
            deadline_ms: self.deadline_ms,
            agent_ready_ms: self.agent_ready_ms,
            inference_ready_ms: self.inference_ready_ms,
            load_ms: self.load_ms,
            restarts_host: self.restarts_host,
            restarts_run: self.restarts_run,
            pace: self.pace,
        }
    }
}

/// Parses a pace.
pub(super) fn pace(text: &str) -> Result<Pace, String> {
    text.parse().map_err(|_| PACE_HELP.to_owned())
}
