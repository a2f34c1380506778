//! Deviation of ticks from their pace: a fleet at 100 Hz, by the times between its commits, quiet and beside two busy
//! loops on every processor.
//!
//! `cargo bench -p lockstep-benches --bench pace`

use lockstep_benches::binary::{self, in_repository};
use lockstep_benches::live::Live;
use lockstep_benches::report::Report;
use lockstep_benches::{Trouble, clock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::observer::Observer;
use supervisor::record::TickRecord;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Ticks a second, and seconds of each run.
const HERTZ: u32 = 100;
const SECONDS: u32 = 30;

/// Notes when ticks are committed: a tick of counters takes a fraction of a millisecond.
#[derive(Default)]
struct Commits(Vec<Instant>);

impl Observer for Commits {
    fn committed(&mut self, _tick: shm_protocol::id::Tick, _record: &TickRecord) {
        self.0.push(clock::now());
    }
}

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let folder = tempfile::tempdir()?;
    let live = Live::new(&binary, folder.path())?;
    let mut report = Report::new("pace");
    report.say(&format!("measured: {}", binary.display()));
    let mut rows = Vec::new();
    let component = in_repository("agents/built/counter.wasm");
    let text = format!(
        "[fleet]\nname = \"pace\"\nticks = {}\nhosts = 1\ndurability = \"process\"\npace = \"{HERTZ} Hz\"\n\
         [[agents]]\nname = \"counter\"\ncount = 8\ncomponent = \"{}\"\n",
        HERTZ * SECONDS,
        component.display()
    );
    let fleet = Fleet::parse(&text, std::path::Path::new("pace.toml"))?;
    for (name, loops) in [("quiet", 0), ("busy", 2 * processors())] {
        let stop = AtomicBool::new(false);
        let (run, commits) = std::thread::scope(|scope| {
            for _ in 0..loops {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let mut commits = Commits::default();
            let run = live.run(&fleet, FaultPlan::default(), &mut commits);
            stop.store(true, Ordering::Relaxed);
            run.map(|run| (run, commits.0))
        })?;
        let deviations = deviations(&commits);
        let last = deviations.len() - 1;
        let figures = [
            ("median", deviations[last / 2]),
            ("p99", deviations[last * 99 / 100]),
            ("largest", deviations[last]),
        ];
        let figures = figures.map(|(figure, deviation)| (figure, deviation.as_secs_f64() * 1e3));
        let mut row = vec![
            name.to_owned(),
            run.ticks.to_string(),
            run.pace.late.to_string(),
        ];
        for (figure, ms) in figures {
            row.push(format!("{ms:.3}"));
            report.keep_once(&format!("{name}_{figure}_ms"), ms.into());
        }
        rows.push(row);
    }
    report.table(
        &format!("Time between commits at {HERTZ} Hz, deviation from the period in ms"),
        &["load", "ticks", "late", "median", "99 %", "largest"],
        &rows,
    );
    report.finish()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Deviations of the times between two commits from the period, in rising order.
fn deviations(commits: &[Instant]) -> Vec<Duration> {
    let period = Duration::from_secs(1) / HERTZ;
    let between = commits.windows(2);
    let mut deviations: Vec<Duration> = between
        .map(|pair| pair[1].duration_since(pair[0]).abs_diff(period))
        .collect();
    deviations.sort_unstable();
    deviations
}
