//! Bounds on time and restarts that `lockstep resume` may set anew.

use clap::Args;
use supervisor::rundir::NewBounds;

/// Bounds in place of those that a run was launched with, for a machine that is slower than they say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bounds, in place of those of the fleet file, from this launch on")]
pub(super) struct Bounds {
    /// Milliseconds that a host may go without progress.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: Option<u64>,
    /// Milliseconds until a new agent host must be ready.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    agent_ready_ms: Option<u64>,
    /// Milliseconds until a new inference host must be ready.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    inference_ready_ms: Option<u64>,
    /// Milliseconds that a host may go without progress while it loads.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    load_ms: Option<u64>,
    /// Restarts of one host within `restarts_host_s`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    restarts_host: Option<u32>,
    /// Restarts of all hosts within `restarts_run_s`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    restarts_run: Option<u32>,
}

impl Bounds {
    /// Those that are set anew.
    pub(super) fn chosen(&self) -> NewBounds {
        NewBounds {
            deadline_ms: self.deadline_ms,
            agent_ready_ms: self.agent_ready_ms,
            inference_ready_ms: self.inference_ready_ms,
            load_ms: self.load_ms,
            restarts_host: self.restarts_host,
            restarts_run: self.restarts_run,
        }
    }
}
