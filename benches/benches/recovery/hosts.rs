//! A host is killed: when the run has heard of it, and when it ticks again.

use crate::{Bench, heads, times};
use lockstep_benches::fleets::demo;
use lockstep_benches::live::{NEVER, untiring};
use lockstep_benches::processes::{AGENT_HOST, INFERENCE_HOST};
use lockstep_benches::samples::Samples;
use lockstep_benches::struck::{Blow, Recovery, strike};
use lockstep_benches::{Trouble, state_agent};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;
use supervisor::fleet::Fleet;
use test_support::TestRng;

/// How long a supervisor rests after each tick until the kill is near, so that checkpoints keep up with ticks and a
/// spare host is there.
const PACE: Duration = Duration::from_micros(100);

/// The last tick before the kill. A checkpoint is begun in every 64.
const TICKS: RangeInclusive<u64> = 512..=575;

/// How long after that tick the kill comes.
const DELAY: Range<Duration> = Duration::ZERO..Duration::from_micros(300);

/// Turns of the loop of a step that takes some milliseconds.
const LONG_STEP: u64 = 12_000_000;

/// The agent host is killed, with a spare that stands ready and without.
pub(crate) fn agents(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(100);
    let fleet = untiring(state_agent::fleet(bench.folder(), 1088, 1)?);
    let mut random = TestRng::new(1);
    let mut all = [Told::new("with a spare"), Told::new("without a spare")];
    // In turns, so that whatever else the machine does hits both alike.
    for _ in 0..repeats {
        for (told, spare) in all.iter_mut().zip([true, false]) {
            let fleet = Fleet {
                hot_standby: spare,
                ..fleet.clone()
            };
            told.add(once(bench, &fleet, || Blow {
                role: AGENT_HOST,
                tick: random.within(TICKS),
                delay: random.duration(&DELAY),
                pace: PACE,
                is_slow: false,
            })?);
        }
    }
    let rows: Vec<Vec<String>> = all.iter().flat_map(Told::rows).collect();
    bench.report.table(
        "agent host killed, 1 MiB of state: ms since the kill (aim until the next tick: p50 15, p99 60)",
        &heads(""),
        &rows,
    );
    for told in &all {
        let redone = told.redone.show(1.0, 0);
        let name = told.name;
        bench
            .report
            .say(&format!("ticks executed again, {name}: {redone}"));
        told.keep(bench, "agents");
    }
    Ok(())
}

/// The inference host of the demo is killed.
pub(crate) fn inference(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(30);
    let fleet = untiring(demo(bench.folder())?);
    let mut random = TestRng::new(2);
    let mut told = Told::new("inference host");
    for _ in 0..repeats {
        told.add(once(bench, &fleet, || Blow {
            role: INFERENCE_HOST,
            tick: random.within(64..=127),
            delay: random.duration(&DELAY),
            pace: PACE,
            is_slow: false,
        })?);
    }
    bench.report.table(
        "inference host killed, demo: ms since the kill (aim until the next tick: p50 60)",
        &heads(""),
        &told.rows(),
    );
    told.keep(bench, "inference");
    Ok(())
}

/// The supervisor waits for a step when the host that takes it is killed.
pub(crate) fn noticing(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(50);
    let mut random = TestRng::new(3);
    let mut rows = Vec::new();
    for (what, kib) in [("small", 64), ("256 MiB", 256 << 10)] {
        let mut fleet = untiring(state_agent::fleet(bench.folder(), kib, LONG_STEP)?);
        // Large checkpoints would keep the disk busy, and are not what is measured.
        (fleet.checkpoint_ticks, fleet.hot_standby) = (NEVER, false);
        let (mut looking, mut asleep) = (Samples::default(), Samples::default());
        for _ in 0..repeats {
            for (samples, delay) in [
                (&mut looking, 0..=99),
                // It looks at the rings for less than half a millisecond, and the step takes several.
                (&mut asleep, 1500..=4499),
            ] {
                let recovery = once(bench, &fleet, || Blow {
                    role: AGENT_HOST,
                    tick: 2,
                    delay: Duration::from_micros(random.within(delay.clone())),
                    pace: Duration::ZERO,
                    is_slow: true,
                })?;
                samples.add(recovery.noticed);
            }
        }
        for (state, samples) in [("looks at rings", &looking), ("sleeps", &asleep)] {
            rows.push(times(&format!("{what} host, supervisor {state}"), samples));
            bench
                .report
                .keep(&format!("noticing/{what}/{state}_s"), samples);
        }
    }
    bench.report.table(
        "host killed within a step to loss noticed, ms (aim 0.25)",
        &heads(""),
        &rows,
    );
    Ok(())
}

/// One kill, tried again where the run was over before it came.
fn once(bench: &Bench, fleet: &Fleet, mut blow: impl FnMut() -> Blow) -> Result<Recovery, Trouble> {
    for _ in 0..10 {
        if let Some(recovery) = strike(&bench.live, fleet, blow())? {
            return Ok(recovery);
        }
    }
    Err("ten runs in a row were over before their host was killed".into())
}

/// What was seen of one kind of kill.
struct Told {
    name: &'static str,
    noticed: Samples,
    restored: Samples,
    ticking: Samples,
    redone: Samples,
}

impl Told {
    fn new(name: &'static str) -> Told {
        Told {
            name,
            noticed: Samples::default(),
            restored: Samples::default(),
            ticking: Samples::default(),
            redone: Samples::default(),
        }
    }

    fn add(&mut self, recovery: Recovery) {
        self.noticed.add(recovery.noticed);
        self.restored.add(recovery.restored);
        self.ticking.add(recovery.ticking);
        self.redone.add(recovery.redone as f64);
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let name = self.name;
        vec![
            times(&format!("{name}: noticed"), &self.noticed),
            times(&format!("{name}: restored"), &self.restored),
            times(&format!("{name}: next tick"), &self.ticking),
        ]
    }

    fn keep(&self, bench: &mut Bench, part: &str) {
        let parts = [
            ("noticed_s", &self.noticed),
            ("restored_s", &self.restored),
            ("ticking_s", &self.ticking),
            ("redone_ticks", &self.redone),
        ];
        for (what, samples) in parts {
            let name = format!("{part}/{}/{what}", self.name);
            bench.report.keep(&name, samples);
        }
    }
}
