//! How a run was launched. Nothing here changes what the run computes, which is
//! why it stands beside the journal and not in it.

use super::{LAUNCH, RunDir, RunDirError};
use crate::fleet::{Durability, OnLost, RestartLimits};
use serde::{Deserialize, Serialize};

/// How a run was launched, for people and for going on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchSettings {
    /// The fleet file, or the name of an embedded fleet.
    pub fleet: String,
    /// Agent-host processes.
    pub hosts: u32,
    /// Names of the agents with a host process of their own.
    pub isolated: Vec<String>,
    /// When a tick counts as kept.
    #[serde(with = "DurabilityName")]
    pub durability: Durability,
    /// Ticks that were asked for; without it, until somebody stops the run.
    pub ticks: Option<u64>,
    /// Whether anything but a model's first provider is a refusal.
    pub strict_providers: bool,
    /// Milliseconds until a host that has not answered counts as hung.
    pub deadline_ms: u64,
    /// Milliseconds until an agent host that has not said that it is ready counts as hung.
    pub agent_ready_ms: u64,
    /// Milliseconds until the inference host that has not said that it is ready counts as hung.
    pub inference_ready_ms: u64,
    /// Milliseconds for which a host may be silent while it loads.
    pub load_ms: u64,
    /// Ticks between two checkpoints.
    pub checkpoint_ticks: u64,
    /// Milliseconds between two checkpoints at least.
    pub checkpoint_ms: u64,
    /// Checkpoints that are kept.
    pub keep: u32,
    /// How often hosts may be started again.
    pub restarts: RestartLimits,
    /// Whether an agent host stands ready to take the place of one that is lost.
    pub spare: bool,
    /// What becomes of the run when who runs a model is gone.
    pub on_provider_lost: OnLost,
}

/// The levels by the names that the fleet file has for them.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Durability", rename_all = "lowercase")]
enum DurabilityName {
    Process,
    Batch,
    Sync,
}

/// Bounds that whoever goes on with a run may set anew: none of them changes what the run computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewBounds {
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
}

impl LaunchSettings {
    /// Sets bounds anew, for this launch and those after it.
    pub fn set(&mut self, bounds: &NewBounds) {
        let pairs = [
            (&mut self.deadline_ms, bounds.deadline_ms),
            (&mut self.agent_ready_ms, bounds.agent_ready_ms),
            (&mut self.inference_ready_ms, bounds.inference_ready_ms),
            (&mut self.load_ms, bounds.load_ms),
        ];
        for (held, new) in pairs {
            *held = new.unwrap_or(*held);
        }
        let restarts = &mut self.restarts;
        restarts.host = bounds.restarts_host.unwrap_or(restarts.host);
        restarts.run = bounds.restarts_run.unwrap_or(restarts.run);
    }
}

impl RunDir {
    /// Keeps how the run was launched, in place of what was kept before.
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

    /// How the run was launched.
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
