//! Ticks per second of fleets, beside the bare engines that they are made of,
//! and where the time of a tick goes.
//!
//! Every repeat measures everything once, one thing after the other, so that
//! whatever else the machine does hits all alike: the fleet of each kind with
//! each level of durability, as `lockstep run --json` tells; the bare component
//! calls; the bare `ort` call. All of them do the same work: bare calls are
//! checked bit by bit against a journal of the fleet before they are measured.
//!
//! `cargo bench -p lockstep-benches --bench fleet`, with numbers of agents to
//! choose sizes.

use lockstep_benches::bare_agents::BareFleet;
use lockstep_benches::bare_model::{BareEngine, BareModel};
use lockstep_benches::captured::Captured;
use lockstep_benches::fleets::{self, Work, word};
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary, parts};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use supervisor::fleet::Durability;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Agents of a fleet.
const SIZES: [usize; 4] = [1, 10, 100, 500];

/// The size whose tick is taken apart.
const TAKEN_APART: usize = 100;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 15;

/// How long a run of a fleet is meant to take, without start and end.
const RUN_SECONDS: f64 = 0.3;

const LEVELS: [Durability; 2] = [Durability::Process, Durability::Batch];

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let scratch = binary::scratch()?;
    let mut report = Report::new("fleet");
    report.say(&format!("measured: {}", binary.display()));
    let engine = BareEngine::new()?;
    let mut model = engine.model()?;
    // `cargo bench` passes options of its own; a plain number chooses a size.
    let wanted: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let mut rows = BTreeMap::new();
    for size in SIZES
        .into_iter()
        .filter(|size| wanted.is_empty() || wanted.contains(size))
    {
        let subject = Subject::new(&binary, scratch.path(), size)?;
        let measured = subject.measure(&mut model)?;
        measured.keep(&mut report, size);
        for work in Work::ALL {
            rows.entry(work.name())
                .or_insert_with(Vec::new)
                .push(measured.row(work, size));
        }
        if size == TAKEN_APART {
            measured.tell_parts(&report, size);
        }
    }
    let columns = [
        "agents",
        "bare components µs",
        "bare ort µs",
        "tick µs, process",
        "tick µs, batch",
        "beyond both µs, process",
        "beyond both µs, batch",
        "least tick beyond least of both µs",
        "ticks/s, process",
        "ticks/s, batch",
        "most ticks/s",
    ];
    for (work, rows) in rows {
        report.table(
            &format!("fleets of agents of kind {work}, one agent host: median (least..most)"),
            &columns,
            &rows,
        );
    }
    report.finish()
}

/// Everything of one size, ready to be measured.
struct Subject<'a> {
    binary: &'a Path,
    scratch: &'a Path,
    size: usize,
    captured: [Captured; 2],
    fleets: [PathBuf; 2],
    ticks: [u64; 2],
}

impl<'a> Subject<'a> {
    fn new(binary: &'a Path, scratch: &'a Path, size: usize) -> Result<Subject<'a>, Trouble> {
        let capture = |work| {
            Captured::new(
                binary,
                scratch,
                work,
                size,
                if size > 100 { 100 } else { 300 },
            )
        };
        let captured = [capture(Work::Counter)?, capture(Work::Mlp)?];
        let fleets = [
            Work::Counter.fleet(scratch, size)?,
            Work::Mlp.fleet(scratch, size)?,
        ];
        let ticks = |fleet: &Path| -> Result<u64, Trouble> {
            let said = fleets::run(
                binary,
                fleet,
                &scratch.join("run"),
                1000,
                Durability::Process,
            )?;
            Ok(rounded(fleets::number(&said, "ticks_per_s")? * RUN_SECONDS).clamp(300, 200_000))
        };
        let ticks = [ticks(&fleets[0])?, ticks(&fleets[1])?];
        Ok(Subject {
            binary,
            scratch,
            size,
            captured,
            fleets,
            ticks,
        })
    }

    fn measure(&self, model: &mut BareModel) -> Result<Measured, Trouble> {
        let mut agents = Vec::new();
        for (work, captured) in Work::ALL.into_iter().zip(&self.captured) {
            agents.push(BareFleet::new(self.binary, work, captured)?);
        }
        let with_inference = &self.captured[Work::Mlp as usize];
        model.compare(with_inference)?;
        let mut measured = Measured::default();
        for _ in 0..REPEATS {
            let ort = model.pass(with_inference)?;
            measured.add("ort", ort);
            for work in Work::ALL {
                let bare = agents[work as usize].pass(&self.captured[work as usize])?;
                let ort = if work == Work::Mlp { ort } else { 0.0 };
                measured.add(&format!("{}/components", work.name()), bare);
                for level in LEVELS {
                    let (fleet, ticks) = (&self.fleets[work as usize], self.ticks[work as usize]);
                    let said =
                        fleets::run(self.binary, fleet, &self.scratch.join("run"), ticks, level)?;
                    let tick = 1.0 / fleets::number(&said, "ticks_per_s")?;
                    let name = format!("{}/{}", work.name(), word(level));
                    measured.add(&format!("{name}/tick"), tick);
                    measured.add(&format!("{name}/beyond"), tick - bare - ort);
                }
            }
            if self.size == TAKEN_APART {
                measured.take_apart(with_inference, self.scratch)?;
            }
        }
        Ok(measured)
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

/// All repeats of one size, in seconds per tick, by name.
#[derive(Default)]
struct Measured(BTreeMap<String, Samples>);

impl Measured {
    fn add(&mut self, name: &str, seconds: f64) {
        self.0.entry(name.to_owned()).or_default().add(seconds);
    }

    fn micros(&self, name: &str) -> f64 {
        self.0[name].median() * 1e6
    }

    fn least_micros(&self, name: &str) -> f64 {
        self.0[name].least() * 1e6
    }

    fn keep(&self, report: &mut Report, size: usize) {
        for (name, samples) in &self.0 {
            report.keep(&format!("{size} agents/{name}_s"), samples);
        }
    }

    fn row(&self, work: Work, size: usize) -> Vec<String> {
        let shown = |name: &str| self.0[name].show(1e6, 1);
        let of = |what: &str| shown(&format!("{}/{what}", work.name()));
        let rate = |level: &str| {
            format!(
                "{:.0}",
                1e6 / self.micros(&format!("{}/{level}/tick", work.name()))
            )
        };
        let ort = if work == Work::Mlp {
            shown("ort")
        } else {
            "-".to_owned()
        };
        let of_ort = if work == Work::Mlp {
            self.least_micros("ort")
        } else {
            0.0
        };
        let least = |what: &str| self.least_micros(&format!("{}/{what}", work.name()));
        vec![
            size.to_string(),
            of("components"),
            ort,
            of("process/tick"),
            of("batch/tick"),
            of("process/beyond"),
            of("batch/beyond"),
            format!(
                "{:.1}",
                least("process/tick") - least("components") - of_ort
            ),
            rate("process"),
            rate("batch"),
            format!("{:.0}", 1e6 / least("process/tick")),
        ]
    }

    fn take_apart(&mut self, captured: &Captured, scratch: &Path) -> Result<(), Trouble> {
        let codec = parts::codec(captured)?;
        self.add("part/encode steps", codec.encode_steps);
        self.add("part/decode steps", codec.decode_steps);
        self.add("part/encode outcomes", codec.encode_outcomes);
        self.add("part/decode outcomes", codec.decode_outcomes);
        let (on_outcomes, on_answer) = parts::machine(captured)?;
        self.add("part/machine on outcomes", on_outcomes);
        self.add("part/machine on answer", on_answer);
        self.add("part/rings", parts::rings(captured)?);
        for level in LEVELS {
            self.add(
                &format!("part/journal {}", word(level)),
                parts::journal(captured, scratch, level)?,
            );
        }
        Ok(())
    }

    /// Where the time of a tick goes. Parts are measured alone; what is left over is what happens between them.
    fn tell_parts(&self, report: &Report, size: usize) {
        let of = |name: &str| [self.micros(name), self.least_micros(name)];
        let tick = of("mlp/process/tick");
        let row = |what: &str, by: &str, [median, least]: [f64; 2]| {
            let share = |micros: f64, all: f64| format!("{:.1} %", 100.0 * micros / all);
            let figures = [
                format!("{median:.1}"),
                share(median, tick[0]),
                format!("{least:.1}"),
                share(least, tick[1]),
            ];
            [what.to_owned(), by.to_owned()]
                .into_iter()
                .chain(figures)
                .collect::<Vec<_>>()
        };
        let mut rows = vec![row("tick", "", tick)];
        let mut left = tick;
        for (what, by, name) in IN_LINE {
            let part = of(name);
            rows.push(row(&format!("  {what}"), by, part));
            left = [left[0] - part[0], left[1] - part[1]];
        }
        rows.push(row("  left: hand-over, waiting, cold caches", "all", left));
        let columns = [
            "part",
            "done by",
            "median µs",
            "of the tick",
            "least µs",
            "of the least tick",
        ];
        let title = format!(
            "where the time of a tick goes: {size} agents with inference, process; one after the other"
        );
        report.table(&title, &columns, &rows);
        let journal = [
            ("journal, process", "part/journal process"),
            ("journal, batch", "part/journal batch"),
        ];
        let rows = journal.map(|(what, name)| row(what, "supervisor", of(name)));
        report.table("besides, while the inference host works", &columns, &rows);
        report.say("The digest of the chain is part of the journal's time. Where it is longer than the ort call, the rest");
        report.say("of it delays the next tick and is part of what is left over.");
    }
}

/// Parts of a tick that wait for each other: what it is, who does it, and its name among the figures.
const IN_LINE: [(&str, &str, &str); 9] = [
    ("component calls", "agent host", "mlp/components"),
    ("ort call", "inference host", "ort"),
    ("steps to bytes", "supervisor", "part/encode steps"),
    ("bytes to steps", "agent host", "part/decode steps"),
    ("outcomes to bytes", "agent host", "part/encode outcomes"),
    ("bytes to outcomes", "supervisor", "part/decode outcomes"),
    (
        "machine: outcomes in, batch out",
        "supervisor",
        "part/machine on outcomes",
    ),
    (
        "machine: answer in, steps out",
        "supervisor",
        "part/machine on answer",
    ),
    ("rings: copies and checksums", "all", "part/rings"),
];
