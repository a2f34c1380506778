//! The settings of a launch. None of them changes what the run computes, so they stand beside the journal and not in
//! it.

use super::{LAUNCH, RunDir, RunDirError};
use crate::fleet::{Durability, OnProviderLost, Pace, RestartLimits};
use serde::{Deserialize, Serialize};

/// The settings of a launch, which a resume uses again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSettings {
    /// The fleet file, or the name of an embedded fleet.
    pub fleet: String,
    /// Agent-host processes.
    pub hosts: u32,
    /// Names of the agents with a host process of their own.
    pub isolated: Vec<String>,
    /// The level of durability of a tick.
    pub durability: Durability,
    /// Requested ticks; without it, the run continues until it is stopped.
    pub ticks: Option<u64>,
    /// True if only a model's first provider is accepted.
    pub strict_providers: bool,
    /// Milliseconds after which a host without an answer counts as hung.
    pub deadline_ms: u64,
    /// Milliseconds after which an agent host that is not ready counts as hung.
    pub agent_ready_ms: u64,
    /// Milliseconds after which an inference host that is not ready counts as hung.
    pub inference_ready_ms: u64,
    /// Milliseconds for which a host may be silent while it loads.
    pub load_ms: u64,
    /// Ticks between two checkpoints.
    pub checkpoint_ticks: u64,
    /// Milliseconds between two checkpoints at least.
    pub checkpoint_min_ms: u64,
    /// Checkpoints that are kept.
    pub checkpoints_kept: u32,
    /// Limits of the restarts of hosts.
    pub restarts: RestartLimits,
    /// True if a hot standby of the agent hosts is kept.
    pub hot_standby: bool,
    /// The pace at which ticks open.
    pub pace: Pace,
    /// The reaction to the loss of a model's provider.
    pub on_provider_lost: OnProviderLost,
}

/// Bounds that a resume may replace: none of them changes what the run computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundOverrides {
    /// In place of `deadline_ms`.
    pub deadline_ms: Option<u64>,
    /// In place of `agent_ready_ms`.
    pub agent_ready_ms: Option<u64>,
    /// In place of `inference_ready_ms`.
    pub inference_ready_ms: Option<u64>,
    /// In place of `load_ms`.
    pub load_ms: Option<u64>,
    /// In place of `restarts_host`.
    pub restarts_host: Option<u32>,
    /// In place of `restarts_run`.
    pub restarts_run: Option<u32>,
    /// In place of `pace`.
    pub pace: Option<Pace>,
}

impl LaunchSettings {
    /// Replaces bounds, for this launch and later ones.
    pub fn apply(&mut self, bounds: &BoundOverrides) {
        let pairs = [
            (&mut self.deadline_ms, bounds.deadline_ms),
            (&mut self.agent_ready_ms, bounds.agent_ready_ms),
            (&mut self.inference_ready_ms, bounds.inference_ready_ms),
            (&mut self.load_ms, bounds.load_ms),
        ];
        for (held, new) in pairs {
            *held = new.unwrap_or(*held);
        }
        self.pace = bounds.pace.unwrap_or(self.pace);
        let restarts = &mut self.restarts;
        restarts.host = bounds.restarts_host.unwrap_or(restarts.host);
        restarts.run = bounds.restarts_run.unwrap_or(restarts.run);
    }
}

impl RunDir {
    /// Stores the settings of the launch, in place of earlier ones.
    ///
    /// # Errors
    /// When it cannot be written.
    ///
    /// # Panics
    /// Without the lock.
    pub fn put_launch(&self, launch: &LaunchSettings) -> Result<(), RunDirError> {
        let mut text =
            serde_json::to_vec_pretty(launch).expect("a launch has nothing that JSON cannot say");
        text.push(b'\n');
        self.put_file(&self.path.join(LAUNCH), &text)
    }

    /// The settings of the launch.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn launch(&self) -> Result<LaunchSettings, RunDirError> {
        let path = self.path.join(LAUNCH);
        let text = self
            .get_file(&path)
            .map_err(RunDirError::io("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| RunDirError::Launch { path, source })
    }
}
