//! What a tick's inference costs through the inference host, beside the bare
//! `ort` call on the same batch in one process.
//!
//! The way through the host begins with rows that lie where agents' requests
//! lie and ends with an output that belongs to the supervisor. Repeats of both
//! are interleaved. Once back to back, and once with a pause before each call,
//! in which the core is busy: so it is in a fleet, whose agents step between
//! two batches.
//!
//! `cargo bench -p lockstep-benches --bench inference`

use lockstep_benches::bare_model::{BareEngine, WIDTH, floats};
use lockstep_benches::clock::{busy, timed};
use lockstep_benches::engine::EngineHost;
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary};
use std::hint::black_box;
use std::time::Duration;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a batch: one for each agent of a fleet.
const SIZES: [usize; 6] = [1, 8, 32, 100, 128, 500];

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 21;

/// Calls of a repeat, and before it, until both ends are awake.
const CALLS: usize = 200;
const WARM_UP: usize = 20;

/// Pauses before a call.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_micros(200)];

/// The most that a tick's inference may cost, as a multiple of the bare call.
const AIM: f64 = 1.25;

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let mut report = Report::new("inference");
    report.say(&format!("measured: {}", binary.display()));
    let engine = BareEngine::new()?;
    let mut bare = engine.model()?;
    let mut host = EngineHost::start(&binary)?;
    for pause in PAUSES {
        let mut table = Vec::new();
        for size in SIZES {
            let rows = rows(size);
            let joined = floats(rows.iter().map(Vec::as_slice));
            let (mut of_bare, mut of_host, mut ratio) =
                (Samples::default(), Samples::default(), Samples::default());
            for _ in 0..REPEATS {
                let through = per_call(pause, || host.batch(&rows).map(drop))?;
                let alone = per_call(pause, || {
                    bare.call(&joined, |output| drop(black_box(output.to_vec())))
                })?;
                of_host.add(through);
                of_bare.add(alone);
                ratio.add(through / alone);
            }
            for (name, samples) in [
                ("bare_s", &of_bare),
                ("through_host_s", &of_host),
                ("ratio", &ratio),
            ] {
                report.keep(
                    &format!("pause {} us/{size} rows/{name}", pause.as_micros()),
                    samples,
                );
            }
            table.push(vec![
                size.to_string(),
                of_bare.show(1e6, 1),
                of_host.show(1e6, 1),
                format!("{:.1}", (of_host.median() - of_bare.median()) * 1e6),
                ratio.show(1.0, 2),
                format!("{AIM}"),
            ]);
        }
        let title = match pause.as_micros() {
            0 => "one batch after the other".to_owned(),
            pause => format!("{pause} µs of other work before each batch, as in a fleet"),
        };
        report.table(
            &title,
            &[
                "rows",
                "bare µs",
                "through the host µs",
                "beyond µs",
                "ratio",
                "aim",
            ],
            &table,
        );
    }
    host.end()?;
    report.finish()
}

/// Seconds of one call, without the pause before it: the median, because one loss of the core is longer than all calls.
fn per_call(
    pause: Duration,
    mut call: impl FnMut() -> Result<(), Trouble>,
) -> Result<f64, Trouble> {
    let mut calls = Samples::default();
    for number in 0..WARM_UP + CALLS {
        busy(pause);
        let (took, result) = timed(&mut call);
        result?;
        if number >= WARM_UP {
            calls.add(took);
        }
    }
    Ok(calls.median())
}

/// Rows of made-up numbers between -1 and 1.
fn rows(count: usize) -> Vec<Vec<u8>> {
    let mut state = 1_u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).expect("sixteen bits")) / 32_768.0 - 1.0
    };
    (0..count)
        .map(|_| (0..WIDTH).flat_map(|_| number().to_le_bytes()).collect())
        .collect()
}
