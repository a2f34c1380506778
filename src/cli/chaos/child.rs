//! One process of this binary, watched until it ends.

use super::leftovers::Baseline;
use super::watchdog::Watchdog;
use crate::cli::error::CliError;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use supervisor::host::StopSignals;
use supervisor::sys;

/// Time between two checks for its end.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The end of a process.
#[derive(Debug)]
pub(super) struct ChildExit {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// True if it was killed because it made no progress.
    pub(super) hung: bool,
    /// Its standard output.
    pub(super) out: String,
    /// Its standard error.
    pub(super) err: String,
    /// Leftovers: processes, shared memory and files.
    pub(super) leftovers: Vec<String>,
    /// Samples from while it ran.
    pub(super) watchdog: Watchdog,
}

/// The folders of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildPaths<'a> {
    /// The folder of its output.
    pub(super) folder: &'a Path,
    /// The folder of its temporary files.
    pub(super) temporary: &'a Path,
    /// The run directory.
    pub(super) run: &'a Path,
}

/// Runs this binary with these arguments until it ends.
#[allow(
    clippy::disallowed_methods,
    reason = "how often to look whether a process has ended decides no outcome of a run"
)]
pub(super) fn run(
    arguments: &[String],
    places: ChildPaths<'_>,
    stop: &StopSignals,
) -> Result<ChildExit, CliError> {
    let failed = |error| CliError::machine(format!("cannot start this program again: {error}"));
    let baseline = Baseline::take();
    let [out, err] = ["out", "err"].map(|name| places.folder.join(name));
    let mut child = Command::new(sys::own_executable())
        .args(arguments)
        .env("TMPDIR", places.temporary)
        .stdin(Stdio::null())
        .stdout(File::create(&out).map_err(failed)?)
        .stderr(File::create(&err).map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let mut watchdog = Watchdog::start(child.id(), places.run);
    let (mut is_asked, mut hung) = (false, false);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if !hung && !watchdog.poll() {
            hung = true;
            // It may have ended in between, which is what is wanted.
            let _ = child.kill();
        }
        if stop.asked() && !is_asked {
            is_asked = true;
            sys::interrupt(&child);
        }
        thread::sleep(POLL_INTERVAL);
    };
    let temporary = status.code().map(|_| places.temporary);
    Ok(ChildExit {
        code: status.code(),
        signal: status.signal(),
        hung,
        out: fs::read_to_string(&out).unwrap_or_default(),
        err: fs::read_to_string(&err).unwrap_or_default(),
        leftovers: baseline.leftovers(child.id(), temporary),
        watchdog,
    })
}
