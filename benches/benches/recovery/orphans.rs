//! A supervisor is killed at any instant, that of its start among them: how long
//! until no process of its own is left, and what else stays behind.
//!
//! Processes that lose their parent become children of this one, so none can
//! hide: when nothing is left to wait for, nothing is left.

use crate::{Bench, heads, times};
use lockstep_benches::Trouble;
use lockstep_benches::clock::{now, rest};
use lockstep_benches::fleets::{self, Work};
use lockstep_benches::samples::Samples;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use test_support::TestRng;

/// One start in so many finds an empty cache, and may be killed while it compiles.
const COMPILES: usize = 10;

const LOOK: Duration = Duration::from_micros(50);

/// How long processes may take to be gone before that is an error.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn measure(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(500);
    let scene = Scene::new(bench)?;
    let shared = entries(Path::new("/dev/shm"));
    set_child_subreaper(true)?;
    let ended = scene.kill(repeats);
    set_child_subreaper(false)?;
    let (gone, most_left) = ended?;
    // The next start sweeps away what a killed one has left.
    scene.run_to_the_end()?;
    let (left, shared_after) = (entries(&scene.temporary), entries(Path::new("/dev/shm")));
    bench.report.table(
        "supervisor killed at any instant: ms until none of its processes is left (aim 100)",
        &heads(""),
        &[times("gone", &gone)],
    );
    bench.report.say(&format!(
        "entries in TMPDIR: at most {most_left} after a kill, {left} after the next start; in /dev/shm: {shared} before, {shared_after} after"
    ));
    bench.report.keep("orphans/gone_s", &gone);
    bench.report.keep_once(
        "orphans/left",
        json!({ "tmpdir_after_a_kill": most_left, "tmpdir": left, "dev_shm_before": shared, "dev_shm": shared_after }),
    );
    Ok(())
}

struct Scene {
    binary: PathBuf,
    fleets: [PathBuf; 2],
    dir: PathBuf,
    temporary: PathBuf,
    cache: PathBuf,
    /// How long a run takes to its first tick.
    start: Duration,
}

impl Scene {
    fn new(bench: &Bench) -> Result<Scene, Trouble> {
        let folder = bench.folder();
        let mut scene = Scene {
            binary: bench.binary.clone(),
            fleets: [
                Work::Counter.fleet(folder, 10)?,
                Work::Mlp.fleet(folder, 10)?,
            ],
            dir: folder.join("killed"),
            temporary: folder.join("temporary"),
            cache: folder.join("cache-of-killed"),
            start: Duration::ZERO,
        };
        fs::create_dir(&scene.temporary)?;
        scene.run_to_the_end()?;
        scene.start = scene.run_to_the_end()?;
        Ok(scene)
    }

    fn command(&self, fleet: &Path, cache: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("run").arg(fleet).arg("--dir").arg(&self.dir);
        command
            .args(["--hosts", "2", "--json"])
            .stdin(Stdio::null());
        command.env("TMPDIR", &self.temporary);
        command.env("XDG_CACHE_HOME", cache);
        command
    }

    /// Runs both fleets for some ticks. How long the second took to its first.
    fn run_to_the_end(&self) -> Result<Duration, Trouble> {
        let mut start = 0.0;
        for fleet in &self.fleets {
            let mut command = self.command(fleet, &self.cache);
            command.args(["--ticks", "10"]);
            start = fleets::number(&fleets::finish(command)?, "first_tick_s")?;
            fs::remove_dir_all(&self.dir)?;
        }
        Ok(Duration::from_secs_f64(start))
    }

    /// How long processes were there after each kill, and the most entries that a kill left among temporary files.
    fn kill(&self, repeats: usize) -> Result<(Samples, usize), Trouble> {
        let (mut gone, mut most_left, mut random) = (Samples::default(), 0, TestRng::new(5));
        let fresh = self.temporary.with_file_name("empty-cache");
        for number in 0..repeats {
            let cache = if number % COMPILES == 0 {
                &fresh
            } else {
                &self.cache
            };
            let mut command = self.command(&self.fleets[number % 2], cache);
            command.args(["--ticks", "1000000000000"]);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            // Half of them while they start.
            rest(random.duration(&(Duration::ZERO..self.start * 2)));
            let killed = now();
            child.kill()?;
            child.wait()?;
            while is_any_left()? {
                if killed.elapsed() > PATIENCE {
                    return Err("processes outlive their supervisor".into());
                }
                rest(LOOK);
            }
            gone.add(killed.elapsed().as_secs_f64());
            most_left = most_left.max(entries(&self.temporary));
            for folder in [&self.dir, &fresh] {
                if folder.exists() {
                    fs::remove_dir_all(folder)?;
                }
            }
        }
        Ok((gone, most_left))
    }
}

/// Whether this process has children, after those that are dead are reaped.
fn is_any_left() -> Result<bool, Trouble> {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return Ok(true),
            Ok(_) => {}
            Err(Errno::ECHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
