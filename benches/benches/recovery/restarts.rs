//! Many restarts of a host in one run: what the supervisor holds before and after.

use crate::Bench;
use lockstep_benches::clock::rest;
use lockstep_benches::live::untiring;
use lockstep_benches::processes::Census;
use lockstep_benches::{Trouble, state_agent};
use serde_json::json;
use shm_protocol::fault::{FaultKind, FaultPoint};
use shm_protocol::id::{HostId, Tick};
use std::time::Duration;
use supervisor::faults::{FaultPlan, FaultRule, FaultTarget};
use supervisor::observer::Observer;
use supervisor::record::TickRecord;
use supervisor::rundir::RunEvent;

/// Ticks between two kills: enough for a checkpoint in between.
const APART: u64 = 100;

/// Ticks before the first kill and after the last, each with a rest, so that a spare host is there.
const CALM: u64 = 2000;
const PACE: Duration = Duration::from_micros(100);

const KIB: f64 = 1024.0;

pub(crate) fn measure(bench: &mut Bench) -> Result<(), Trouble> {
    let restarts = bench.repeats(2000) as u64;
    let mut fleet = untiring(state_agent::fleet(bench.folder(), 1088, 1)?);
    fleet.checkpoint_ticks = 16;
    // A kill that is injected is followed by a restart without a pause, and is a kill all the same.
    let rule = |number: u64| FaultRule {
        tick: Some(Tick(CALM + number * APART)),
        ..FaultRule::new(
            FaultPoint::BeforeStep,
            FaultKind::Kill,
            FaultTarget::Host(HostId(0)),
        )
    };
    let faults = FaultPlan {
        rules: (0..restarts).map(rule).collect(),
    };
    let last = CALM + restarts * APART + CALM;
    fleet.ticks = Some(last);
    let mut watch = Watch {
        last,
        restarts: 0,
        half: restarts / 2,
        censuses: Vec::new(),
    };
    let summary = bench.live.run(&fleet, faults, &mut watch)?;
    let censuses = watch.censuses.into_iter().collect::<Result<Vec<_>, _>>()?;
    let row = |(when, census): (&str, &Census)| {
        vec![
            when.to_owned(),
            census.descriptors.to_string(),
            census.threads.to_string(),
            census.children.to_string(),
            census.zombies.to_string(),
            format!("{:.0}", census.anonymous_bytes as f64 / KIB),
            format!("{:.0}", census.resident_bytes as f64 / KIB),
        ]
    };
    let rows: Vec<Vec<String>> = ["before", "halfway", "after"]
        .into_iter()
        .zip(&censuses)
        .map(row)
        .collect();
    let columns = [
        "",
        "descriptors",
        "threads",
        "hosts",
        "zombies",
        "memory of its own KiB",
        "resident KiB",
    ];
    let title = format!(
        "the supervisor around {} restarts of an agent host, {:.1} ms each",
        summary.restarts,
        summary.wall.as_secs_f64() * 1e3 / summary.restarts as f64,
    );
    bench.report.table(&title, &columns, &rows);
    bench
        .report
        .say("Halfway is taken right after a restart: hosts that are on their way count there.");
    for (when, census) in ["before", "halfway", "after"].into_iter().zip(&censuses) {
        bench.report.keep_once(
            &format!("restarts/{when}"),
            json!({
                "descriptors": census.descriptors, "threads": census.threads, "hosts": census.children,
                "zombies": census.zombies, "anonymous_bytes": census.anonymous_bytes,
                "resident_bytes": census.resident_bytes,
            }),
        );
    }
    bench
        .report
        .keep_once("restarts/count", json!(summary.restarts));
    if summary.restarts != restarts {
        let came = summary.restarts;
        return Err(
            format!("a host was killed {restarts} times and came back {came} times").into(),
        );
    }
    Ok(())
}

struct Watch {
    last: u64,
    restarts: u64,
    half: u64,
    /// Before, halfway and after.
    censuses: Vec<Result<Census, Trouble>>,
}

impl Observer for Watch {
    fn committed(&mut self, tick: Tick, _record: &TickRecord) {
        if tick.0 < CALM || tick.0 > self.last - CALM {
            rest(PACE);
        }
        // A calm begins with all that belongs to the last restart, and ends without it.
        if tick.0 + 1 == CALM || tick.0 + 1 == self.last {
            self.censuses.push(Census::take());
        }
    }

    fn event(&mut self, event: &RunEvent) {
        if matches!(event, RunEvent::HostRestarted { .. }) {
            self.restarts += 1;
            if self.restarts == self.half {
                self.censuses.push(Census::take());
            }
        }
    }
}
