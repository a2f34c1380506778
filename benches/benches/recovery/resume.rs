//! A supervisor is killed, and its run is resumed: from the start of
//! `lockstep resume` to the next tick in the journal, seen from outside.

use crate::{Bench, heads, times};
use lockstep_benches::Trouble;
use lockstep_benches::clock::{now, rest};
use lockstep_benches::fleets::{self, Work};
use lockstep_benches::samples::Samples;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use supervisor::rundir::RunEvent;
use test_support::TestRng;

/// How long a run ticks before its supervisor is killed.
const TICKING: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(150);

/// How often files are looked at.
const LOOK: Duration = Duration::from_micros(200);

/// Longer than anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(50);
    let counters = Work::Counter.fleet(bench.folder(), 10)?;
    fleets::demo(bench.folder())?;
    let demo = bench.folder().join(fleets::DEMO);
    let (mut rows, mut random) = (Vec::new(), TestRng::new(4));
    for (what, fleet) in [("demo", demo), ("10 counting agents", counters)] {
        let (seen, told) = kill_and_resume(bench, &fleet, repeats, &mut random)?;
        rows.push(times(&format!("{what}: next tick"), &seen));
        rows.push(times(&format!("{what}: as its event says"), &told));
        bench
            .report
            .keep(&format!("supervisor/{what}/ticking_s"), &seen);
        bench
            .report
            .keep(&format!("supervisor/{what}/event_s"), &told);
    }
    bench.report.table(
        "supervisor killed: ms from the start of `lockstep resume` to the next tick (aim p99 200)",
        &heads(""),
        &rows,
    );
    Ok(())
}

/// One run whose supervisors are killed one after the other; at its end, it must verify.
fn kill_and_resume(
    bench: &Bench,
    fleet: &Path,
    repeats: usize,
    random: &mut TestRng,
) -> Result<(Samples, Samples), Trouble> {
    let dir = bench.folder().join("resumed");
    let mut command = Command::new(&bench.binary);
    command.arg("run").arg(fleet).arg("--dir").arg(&dir);
    command.args(["--ticks", "1000000000000"]);
    let mut running = Running::start(command)?;
    running.wait("the first ticks", || Ok(journal_bytes(&dir) > 10_000))?;
    let (mut seen, mut told) = (Samples::default(), Samples::default());
    for resumed in 1..=repeats {
        rest(random.duration(&TICKING));
        drop(running);
        let before = journal_bytes(&dir);
        let mut command = Command::new(&bench.binary);
        command.arg("resume").arg(&dir);
        let began = now();
        running = Running::start(command)?;
        let mut sizes = Sizes::from(before);
        let mut event = None;
        running.wait("a tick of a resumed run", || {
            sizes.look(&dir);
            if event.is_none() && !sizes.changes.is_empty() {
                event = last_resumed(&dir, resumed)?;
            }
            Ok(event
                .as_ref()
                .is_some_and(|(cut_bytes, _)| sizes.grew_beyond(before - cut_bytes).is_some()))
        })?;
        let (cut_bytes, ms) = event.ok_or("a run was resumed and does not say so")?;
        let ticking = sizes
            .grew_beyond(before - cut_bytes)
            .ok_or("the journal has not grown")?;
        seen.add(ticking.duration_since(began).as_secs_f64());
        told.add(ms / 1e3);
    }
    drop(running);
    let mut verify = Command::new(&bench.binary);
    verify.arg("verify").arg(&dir).arg("--json");
    fleets::finish(verify)?;
    fs::remove_dir_all(&dir)?;
    Ok((seen, told))
}

/// How the size of a journal changes.
struct Sizes {
    last: u64,
    changes: Vec<(Instant, u64)>,
}

impl Sizes {
    fn from(bytes: u64) -> Sizes {
        Sizes {
            last: bytes,
            changes: Vec::new(),
        }
    }

    fn look(&mut self, dir: &Path) {
        let bytes = journal_bytes(dir);
        if bytes != self.last {
            self.last = bytes;
            self.changes.push((now(), bytes));
        }
    }

    /// When a change went beyond what was kept of the journal. Cutting its end is a change too, and goes less far.
    fn grew_beyond(&self, kept: u64) -> Option<Instant> {
        let found = self.changes.iter().find(|(_, bytes)| *bytes > kept);
        found.map(|(moment, _)| *moment)
    }
}

fn journal_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("journal")).into_iter().flatten();
    let sizes = files
        .flatten()
        .filter_map(|file| Some(file.metadata().ok()?.len()));
    sizes.sum()
}

/// What the event says that is the `number`th of its kind: bytes cut from the journal, and milliseconds.
fn last_resumed(dir: &Path, number: usize) -> Result<Option<(u64, f64)>, Trouble> {
    let text = fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    // The last line may be half written.
    let Some((whole, _)) = text.rsplit_once('\n') else {
        return Ok(None);
    };
    let mut found = 0;
    for line in whole.lines() {
        if let RunEvent::Resumed { cut_bytes, ms, .. } = serde_json::from_str(line)? {
            found += 1;
            if found == number {
                return Ok(Some((cut_bytes, ms)));
            }
        }
    }
    Ok(None)
}

/// A supervisor that is killed when it is not needed any more.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Result<Running, Trouble> {
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Running(silent.stderr(Stdio::null()).spawn()?))
    }

    fn wait(
        &mut self,
        what: &str,
        mut has_come: impl FnMut() -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let began = now();
        while !has_come()? {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("a supervisor ended with {status} before {what} came").into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} did not come within {PATIENCE:?}").into());
            }
            rest(LOOK);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
