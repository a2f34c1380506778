//! What the points of injected faults cost a run that injects none.
//!
//! A loop that passes a point is measured beside one that does not; the repeats
//! are interleaved. A point that is off is a load and a branch, so the loop is
//! long and does little else. `cargo bench -p lockstep-benches --bench faults`.

use lockstep_benches::clock::timed;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::Tick;
use std::hint::black_box;
use std::io::{self, Write};

/// Turns of one loop.
const TURNS: u64 = 50_000_000;

/// How often each loop is measured. Odd, for the median.
const REPEATS: usize = 21;

fn main() -> io::Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        without.push(measure(|_| {}));
        with.push(measure(|turn| {
            fault::at(FaultPoint::BeforeStep, Tick(turn), 0)
        }));
    }
    let (without, with) = (median(&mut without), median(&mut with));
    let mut out = io::stdout().lock();
    writeln!(out, "{REPEATS} repeats of {TURNS} turns, median of a turn:")?;
    writeln!(out, "  without a point  {without:.3} ns")?;
    writeln!(out, "  with a point     {with:.3} ns")?;
    writeln!(out, "  a point          {:.3} ns", with - without)
}

/// Nanoseconds of a turn.
fn measure(body: impl Fn(u64)) -> f64 {
    let turns = || (0..TURNS).for_each(|turn| body(black_box(turn)));
    timed(turns).0 * 1e9 / TURNS as f64
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
