//! A host falls silent: how long after its deadline that is noticed.
//!
//! The silence is a fault of a plan: the host neither reads nor writes any more,
//! just before it would answer. It begins some microseconds after the tick
//! before was committed, and is counted from there.

use crate::{Bench, heads, times};
use lockstep_benches::clock::now;
use lockstep_benches::live::untiring;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, state_agent};
use shm_protocol::fault::{FaultKind, FaultPoint};
use shm_protocol::id::{HostId, Tick};
use std::time::{Duration, Instant};
use supervisor::faults::{FaultPlan, FaultRule, FaultTarget};
use supervisor::observer::Observer;
use supervisor::record::TickRecord;
use supervisor::rundir::RunEvent;

const DEADLINE: Duration = Duration::from_millis(250);

/// Ticks between two of them.
const APART: u64 = 200;

pub(crate) fn measure(bench: &mut Bench) -> Result<(), Trouble> {
    let repeats = bench.repeats(20);
    let mut fleet = untiring(state_agent::fleet(bench.folder(), 64, 1)?);
    fleet.deadline_ms = u64::try_from(DEADLINE.as_millis())?;
    let silences: Vec<Tick> = (1..=repeats as u64)
        .map(|number| Tick(number * APART))
        .collect();
    fleet.ticks = silences.last().map(|last| last.0 + APART);
    let rule = |tick: &Tick| FaultRule {
        tick: Some(*tick),
        ..FaultRule::new(
            FaultPoint::BeforeOutcomes,
            FaultKind::RingStalled,
            FaultTarget::Host(HostId(0)),
        )
    };
    let faults = FaultPlan {
        rules: silences.iter().map(rule).collect(),
    };
    let mut heard = Heard::default();
    bench.live.run(&fleet, faults, &mut heard)?;
    if heard.losses.all().len() != silences.len() {
        let losses = heard.losses.all().len();
        return Err(format!("{} silences were noticed {losses} times", silences.len()).into());
    }
    bench.report.table(
        "host silent, deadline 250 ms: ms from the deadline to loss noticed (aim 60)",
        &heads(""),
        &[times("beyond the deadline", &heard.losses)],
    );
    bench.report.keep("hang/beyond_deadline_s", &heard.losses);
    Ok(())
}

#[derive(Default)]
struct Heard {
    committed: Option<Instant>,
    losses: Samples,
}

impl Observer for Heard {
    fn committed(&mut self, _tick: Tick, _record: &TickRecord) {
        self.committed = Some(now());
    }

    fn event(&mut self, event: &RunEvent) {
        if let (RunEvent::HostLost { .. }, Some(committed)) = (event, self.committed) {
            let silent = committed.elapsed().as_secs_f64();
            self.losses.add(silent - DEADLINE.as_secs_f64());
        }
    }
}
