//! What checkpoints and journal cost a tick when nothing goes wrong.
//!
//! The same fleets with less and less of it, down to a run that keeps nothing at
//! all: the same loop over the same hosts, with a ledger that forgets.

use crate::Bench;
use lockstep_benches::Trouble;
use lockstep_benches::captured::Captured;
use lockstep_benches::clock::now;
use lockstep_benches::fleets::Work;
use lockstep_benches::live::{Live, NEVER};
use lockstep_benches::samples::Samples;
use shm_protocol::id::Tick;
use std::ops::ControlFlow;
use std::time::Instant;
use supervisor::error::RunError;
use supervisor::event_loop::{EventLoop, Ledger, RealHosts, Timeouts};
use supervisor::faults::{FaultPlan, Faults};
use supervisor::fleet::{Durability, Fleet};
use supervisor::host::StopSignals;
use supervisor::journal::{JournalMark, JournalReader};
use supervisor::launch::{Manifest, StartupOptions, default_hosts, start_hosts};
use supervisor::observer::NoopObserver;
use supervisor::record::TickRecord;
use supervisor::rundir::{LaunchSettings, RunDir};
use supervisor::tick::TickMachine;

/// Agents of each fleet.
const AGENTS: usize = 100;

/// How long a run is meant to take, without start and end: some checkpoints, which are 100 ms apart.
const RUN_SECONDS: f64 = 0.8;

/// What is kept, from everything to nothing.
const KEPT: [&str; 4] = [
    "journal and checkpoints as by default",
    "journal as by default, no checkpoints",
    "journal at `process`, no checkpoints",
    "nothing",
];

pub(crate) fn measure(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = if bench.is_quick { 3 } else { 9 };
    let mut rows = Vec::new();
    for work in Work::ALL {
        let subject = Subject::new(bench, work)?;
        let mut all: [Samples; KEPT.len()] = Default::default();
        for _ in 0..repeats {
            for (number, samples) in all.iter_mut().enumerate() {
                samples.add(subject.tick(&bench.live, number)?);
            }
        }
        let nothing = all[KEPT.len() - 1].clone();
        for (kept, samples) in KEPT.into_iter().zip(&all) {
            let beyond = |one: f64, other: f64| format!("{:+.1} %", 100.0 * (one / other - 1.0));
            rows.push(vec![
                format!("{}: {kept}", work.name()),
                samples.show(1e6, 1),
                format!("{:.0}", 1.0 / samples.median()),
                beyond(samples.median(), nothing.median()),
                beyond(samples.least(), nothing.least()),
            ]);
            let name = format!("cost/{}/{kept}/tick_s", work.name());
            bench.report.keep(&name, samples);
        }
    }
    bench.report.table(
        &format!(
            "{AGENTS} agents, one agent host, {repeats} repeats in turns: a tick (aim 10 % beyond nothing)"
        ),
        &[
            "what is kept",
            "µs: median (least..most)",
            "ticks/s",
            "median beyond",
            "least beyond",
        ],
        &rows,
    );
    Ok(())
}

/// A fleet, and what its runs have in common.
struct Subject {
    fleets: [Fleet; KEPT.len() - 1],
    captured: Captured,
    launch: LaunchSettings,
}

impl Subject {
    fn new(bench: &Bench, work: Work) -> Result<Subject, Trouble> {
        let mut fleet = Fleet::read(&work.fleet(bench.folder(), AGENTS)?)?;
        fleet.hosts = Some(1);
        fleet.ticks = Some(1000);
        let summary = bench
            .live
            .run(&fleet, FaultPlan::default(), &mut NoopObserver)?;
        let ticks_per_second = summary.ticks as f64 / summary.wall.as_secs_f64();
        fleet.ticks = Some(rounded(ticks_per_second * RUN_SECONDS).clamp(1000, 200_000));
        let unchecked = Fleet {
            checkpoint_ticks: NEVER,
            ..fleet.clone()
        };
        let unsynced = Fleet {
            durability: Durability::Process,
            ..unchecked.clone()
        };
        Ok(Subject {
            fleets: [fleet, unchecked, unsynced],
            captured: Captured {
                header: summary.header,
                records: Vec::new(),
            },
            launch: RunDir::read(bench.live.dir())?.launch()?,
        })
    }

    /// Seconds of a tick of a run that keeps so much.
    fn tick(&self, live: &Live, kept: usize) -> Result<f64, Trouble> {
        let Some(fleet) = self.fleets.get(kept) else {
            return self.tick_of_nothing(live);
        };
        let summary = live.run(fleet, FaultPlan::default(), &mut NoopObserver)?;
        Ok(summary.wall.as_secs_f64() / summary.ticks as f64)
    }

    /// Seconds of a tick of a run that keeps nothing.
    fn tick_of_nothing(&self, live: &Live) -> Result<f64, Trouble> {
        let fleet = &self.fleets[0];
        let ticks = fleet.ticks.ok_or("a fleet without an end")?;
        let manifest = Manifest::from_fleet(fleet, &|_| None)?;
        let isolated: Vec<bool> = fleet.agents.iter().map(|agent| agent.isolate).collect();
        let layout = supervisor::launch::Placement::new(
            &isolated,
            fleet.hosts.unwrap_or_else(default_hosts),
        );
        let demands = StartupOptions {
            inference: true,
            agents: true,
            strict_providers: false,
            faults: Faults::none(),
            hot_standby: fleet.hot_standby,
            load_timeout: supervisor::host::LOAD_TIMEOUT,
            needed: None,
            providers: Vec::new(),
        };
        let mut assembled = start_hosts(
            &live.engines,
            &manifest,
            layout,
            &demands,
            StopSignals::none()?,
            &mut NoopObserver,
        )?;
        assembled.start(self.captured.ports())?;
        let mut forgets = Forgets {
            ticks: 0,
            last: now(),
        };
        let began = now();
        let ended = EventLoop::new(
            &mut RealHosts::new(&mut assembled.hosts),
            TickMachine::new(self.captured.plan(), Some(Tick(ticks))),
            &self.captured.header,
            &assembled.host_config,
            &mut forgets,
            Timeouts::of(&self.launch),
        )
        .run();
        assembled.hosts.drain()?;
        ended?;
        if forgets.ticks != ticks {
            return Err(format!("of {ticks} ticks {} came", forgets.ticks).into());
        }
        Ok(forgets.last.duration_since(began).as_secs_f64() / ticks as f64)
    }
}

/// A ledger that keeps nothing.
struct Forgets {
    ticks: u64,
    last: Instant,
}

impl Ledger for Forgets {
    fn commit(&mut self, _tick: Tick, _record: &TickRecord) -> Result<ControlFlow<()>, RunError> {
        self.ticks += 1;
        // As the ledger of a live run does.
        self.last = now();
        Ok(ControlFlow::Continue(()))
    }

    fn ticks_after(&mut self, _mark: Option<&JournalMark>) -> Result<JournalReader, RunError> {
        Err(RunError::System {
            what: "a journal where none is kept",
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

/// A positive number without its fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of ticks, bounded right after"
)]
fn rounded(number: f64) -> u64 {
    number as u64
}
