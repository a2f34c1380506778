//! One process of this binary, watched until it ends.

use super::left::Before;
use super::vigil::Vigil;
use crate::cli::edge::Trouble;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use supervisor::host::StopSignals;

/// Between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(1);

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; none when a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// Whether it wrote nothing for so long that it was killed for it.
    pub(super) hung: bool,
    /// What it said on standard output.
    pub(super) out: String,
    /// What it said on standard error.
    pub(super) said: String,
    /// What it has left behind.
    pub(super) left: Vec<String>,
    /// What was seen of it while it lived.
    pub(super) vigil: Vigil,
}

/// Where a process keeps what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// What it says.
    pub(super) folder: &'a Path,
    /// Its temporary files.
    pub(super) temporary: &'a Path,
    /// The run that it works on.
    pub(super) run: &'a Path,
}

/// Runs this binary with these arguments until it ends.
#[allow(
    clippy::disallowed_methods,
    reason = "how often to look whether a process has ended decides no outcome of a run"
)]
pub(super) fn run(
    arguments: &[String],
    places: Places<'_>,
    stop: &StopSignals,
) -> Result<Ended, Trouble> {
    let failed = |error| Trouble::system(format!("cannot run this program again: {error}"));
    let before = Before::look();
    let [out, words] = ["out", "said"].map(|name| places.folder.join(name));
    let mut child = Command::new("/proc/self/exe")
        .args(arguments)
        .env("TMPDIR", places.temporary)
        .stdin(Stdio::null())
        .stdout(File::create(&out).map_err(failed)?)
        .stderr(File::create(&words).map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let mut vigil = Vigil::begin(child.id(), places.run);
    let (mut is_asked, mut hung) = (false, false);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if !hung && !vigil.look() {
            hung = true;
            signal(&child, Signal::KILL);
        }
        if stop.asked() && !is_asked {
            is_asked = true;
            signal(&child, Signal::INT);
        }
        thread::sleep(PAUSE);
    };
    let temporary = status.code().map(|_| places.temporary);
    Ok(Ended {
        code: status.code(),
        signal: status.signal(),
        hung,
        out: fs::read_to_string(&out).unwrap_or_default(),
        said: fs::read_to_string(&words).unwrap_or_default(),
        left: before.left_by(child.id(), temporary),
        vigil,
    })
}

/// It may have ended in between, which is what is wanted.
fn signal(child: &Child, signal: Signal) {
    if let Some(process) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, signal);
    }
}
