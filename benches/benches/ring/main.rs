//! The ring beside `iceoryx2` publish-subscribe, on the same work in the same run.
//!
//! Two processes, both polling. For each task one child of each kind is started
//! and sleeps on a pipe while it is not its turn; the repeats are interleaved, so
//! that whatever else the machine does hits both alike. The table shows the median
//! of the repeats and, in brackets, the best.
//!
//! * **round trip**: 64 bytes there and 64 bytes back, one at a time. The way
//!   back of the ring is the supervisor's: copied, then checked.
//! * **messages**: a stream of 64 bytes, filled and read in place.
//! * **bytes**: a stream of blocks that are filled word by word in place and summed in place.
//!
//! `cargo bench -p lockstep-benches --bench ring --features peers`; without the
//! feature, `iceoryx2` is left out, because building it takes libclang.

#[cfg(feature = "peers")]
mod iceoryx;
mod lockstep;
mod task;

use std::hint::spin_loop;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use task::{Child, Measured, Task};

/// How often each task is measured. Odd, for the median.
const REPEATS: usize = 31;

/// One line of the table.
struct Line {
    name: &'static str,
    task: Task,
    unit: &'static str,
    /// How many times better than the peer it should be.
    aim: f64,
}

const LINES: [Line; 6] = [
    Line {
        name: "round trip, 64 B",
        task: Task::RoundTrip { rings: false },
        unit: "ns",
        aim: 8.0,
    },
    Line {
        name: "  with the bell looked at",
        task: Task::RoundTrip { rings: true },
        unit: "ns",
        aim: 8.0,
    },
    Line {
        name: "messages, 64 B",
        task: Task::Stream { words: 8, group: 1 },
        unit: "M/s",
        aim: 10.0,
    },
    Line {
        name: "  shown in groups of 16",
        task: Task::Stream {
            words: 8,
            group: 16,
        },
        unit: "M/s",
        aim: 10.0,
    },
    Line {
        name: "bytes, 64 KiB",
        task: Task::Stream {
            words: 8 << 10,
            group: 1,
        },
        unit: "GB/s",
        aim: 1.2,
    },
    Line {
        name: "bytes, 1 MiB",
        task: Task::Stream {
            words: 128 << 10,
            group: 1,
        },
        unit: "GB/s",
        aim: 1.0,
    },
];

fn main() -> io::Result<()> {
    match std::env::var(task::ROLE).as_deref() {
        Ok("lockstep") => lockstep::serve(),
        #[cfg(feature = "peers")]
        Ok("iceoryx") => iceoryx::serve(),
        _ => table(),
    }
}

fn table() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<27} {:>24} {:>24} {:>7} {:>6}",
        "", "ring", "iceoryx2 0.10", "ratio", "aim"
    )?;
    writeln!(
        out,
        "{:<27} {:>24}",
        "floor: a shared word",
        format!("{:.1} ns", floor() * 1e9)
    )?;
    // `cargo bench` passes options of its own; a plain word chooses lines by name.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |line: &Line| {
        wanted.is_empty() || wanted.iter().any(|word| line.name.contains(word.as_str()))
    };
    for line in LINES.into_iter().filter(is_wanted) {
        let (ring, peer) = measure(&line.task)?;
        write!(out, "{:<27} {:>24}", line.name, show(&ring, &line))?;
        match peer {
            None => writeln!(
                out,
                " {:>24} {:>7} {:>6}",
                "skipped: no feature peers", "", ""
            )?,
            Some(peer) => {
                let ratio = peer.median() / ring.median();
                writeln!(
                    out,
                    " {:>24} {ratio:>6.2}x {:>5}x",
                    show(&peer, &line),
                    line.aim
                )?;
            }
        }
    }
    Ok(())
}

/// One word there and one back between two cores, with nothing around it: the median, in seconds. No transport that
/// waits for its answer can be faster, and the aims were set where this takes 100 ns.
#[allow(clippy::disallowed_methods, reason = "this is where time is measured")]
fn floor() -> f64 {
    const ROUND_TRIPS: u64 = 20_000;
    let mut measured = Measured::default();
    for _ in 0..REPEATS {
        let (there, back) = (Apart(AtomicU64::new(0)), Apart(AtomicU64::new(0)));
        let wait = |word: &Apart, number| {
            while word.0.load(Ordering::Acquire) != number {
                spin_loop();
            }
        };
        let mut started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=2 * ROUND_TRIPS {
                    wait(&there, number);
                    back.0.store(number, Ordering::Release);
                }
            });
            for number in 1..=2 * ROUND_TRIPS {
                if number == ROUND_TRIPS {
                    started = Instant::now();
                }
                there.0.store(number, Ordering::Release);
                wait(&back, number);
            }
        });
        measured.add(started.elapsed().as_secs_f64() / ROUND_TRIPS as f64);
    }
    measured.median()
}

/// A word with its cache lines to itself.
#[repr(align(128))]
struct Apart(AtomicU64);

/// Measures one task on both, in turns.
fn measure(task: &Task) -> io::Result<(Measured, Option<Measured>)> {
    let mut ring = lockstep::start(task)?;
    #[cfg(feature = "peers")]
    let mut peer = Some(iceoryx::start(task)?);
    #[cfg(not(feature = "peers"))]
    let mut peer: Option<lockstep::Lockstep> = None;
    let (mut of_ring, mut of_peer) = (Measured::default(), Measured::default());
    for _ in 0..REPEATS {
        of_ring.add(ring.run(task)?);
        if let Some(peer) = &mut peer {
            of_peer.add(peer.run(task)?);
        }
    }
    Ok((of_ring, peer.map(|_| of_peer)))
}

/// The median, and the best in brackets, in the unit of the line.
fn show(measured: &Measured, line: &Line) -> String {
    let convert = |seconds: f64| match line.unit {
        "ns" => seconds * 1e9,
        "M/s" => 1e-6 / seconds,
        _ => line.task.bytes() * 1e-9 / seconds,
    };
    format!(
        "{:.1} ({:.1}) {}",
        convert(measured.median()),
        convert(measured.best()),
        line.unit
    )
}
