//! A run in this process, with the hosts of the program that is measured, so
//! that its moments can be seen from within.

use crate::Trouble;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::faults::FaultPlan;
use supervisor::fleet::{Durability, Fleet, RestartLimits};
use supervisor::host::{HostProgram, StopSignals};
use supervisor::launch::Engines;
use supervisor::observer::Observer;
use supervisor::session::{RunReport, RunRequest, run};

/// Runs fleets in this process.
pub struct Live {
    /// The program and its engines.
    pub engines: Engines,
    dir: PathBuf,
}

impl Live {
    /// Runs of this program, in this folder.
    ///
    /// # Errors
    /// When the program cannot be opened.
    pub fn new(binary: &Path, folder: &Path) -> Result<Live, Trouble> {
        Ok(Live {
            engines: Engines {
                program: Arc::new(HostProgram::open(binary.to_path_buf())?),
                lockstep: "measured".to_owned(),
                wasmtime: agent_host::WASMTIME_VERSION.to_owned(),
                wasmtime_settings: agent_host::config_fingerprint(),
                cache: Some(folder.join("cache")),
                library: None,
            },
            dir: folder.join("live"),
        })
    }

    /// Where the last run is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a fleet in place of the last one.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn run(
        &self,
        fleet: &Fleet,
        faults: FaultPlan,
        observer: &mut dyn Observer,
    ) -> Result<RunReport, Trouble> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        let request = RunRequest {
            fleet,
            origin: fleet.name.clone(),
            dir: &self.dir,
            builtin: &|_| None,
            engines: &self.engines,
            faults,
            strict_providers: false,
            stop: StopSignals::none()?,
        };
        Ok(run(request, observer)?)
    }
}

/// A fleet on one agent host, whose hosts may be lost as often as they are, and with a checkpoint in every 64 ticks.
#[must_use]
pub fn untiring(mut fleet: Fleet) -> Fleet {
    fleet.hosts = Some(1);
    fleet.durability = Durability::Process;
    (fleet.checkpoint_ticks, fleet.checkpoint_min_ms) = (64, 0);
    fleet.restarts = RestartLimits {
        host: 100_000,
        run: 100_000,
        quarantine_after: 1000,
        ..RestartLimits::USUAL
    };
    fleet
}

/// More ticks than a run has: checkpoints are never due.
pub const NEVER: u64 = u64::MAX / 2;
