//! How long it takes until a run that lost a process ticks again, what is left
//! behind, and what being ready for it costs.
//!
//! Runs whose hosts are killed go on in this process, so that their moments are
//! seen from within; the hosts are those of the program that is measured.
//! Supervisors that are killed are processes of that program.
//!
//! `cargo bench -p lockstep-benches --bench recovery`, with `quick` for fewer
//! repeats, and with names of parts to choose them.

mod cost;
mod hang;
mod hosts;
mod orphans;
mod restarts;
mod resume;

use lockstep_benches::live::Live;
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary};
use std::path::{Path, PathBuf};

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What all parts need.
struct Bench {
    binary: PathBuf,
    scratch: tempfile::TempDir,
    live: Live,
    report: Report,
    is_quick: bool,
}

/// A part of this measurement.
type Part = fn(&mut Bench) -> Result<(), Trouble>;

const PARTS: [(&str, Part); 8] = [
    ("agents", hosts::agents),
    ("inference", hosts::inference),
    ("noticing", hosts::noticing),
    ("hang", hang::measure),
    ("supervisor", resume::measure),
    ("restarts", restarts::measure),
    ("orphans", orphans::measure),
    ("cost", cost::measure),
];

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let scratch = binary::scratch()?;
    // `cargo bench` passes options of its own.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_known = |word: &str| word == "quick" || PARTS.iter().any(|(name, _)| *name == word);
    if let Some(unknown) = words.iter().find(|word| !is_known(word)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        return Err(format!("{unknown} is no part; there are: {names}; and `quick`").into());
    }
    let chosen: Vec<&String> = words.iter().filter(|word| *word != "quick").collect();
    let mut bench = Bench {
        live: Live::new(&binary, scratch.path())?,
        report: Report::new("recovery"),
        is_quick: words.iter().any(|word| word == "quick"),
        binary,
        scratch,
    };
    bench
        .report
        .say(&format!("measured: {}", bench.binary.display()));
    for (name, part) in PARTS {
        if chosen.is_empty() || chosen.iter().any(|word| *word == name) {
            part(&mut bench).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    bench.report.finish()
}

impl Bench {
    fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// So many repeats, or a tenth of them.
    fn repeats(&self, wanted: usize) -> usize {
        if self.is_quick {
            wanted.div_ceil(10)
        } else {
            wanted
        }
    }
}

/// The heads of the columns of [`times`].
const TIMES: [&str; 5] = ["repeats", "p50", "p99", "least", "most"];

/// A row of a table: seconds shown as milliseconds.
fn times(what: &str, samples: &Samples) -> Vec<String> {
    let milliseconds = |seconds: f64| format!("{:.3}", seconds * 1e3);
    vec![
        what.to_owned(),
        samples.all().len().to_string(),
        milliseconds(samples.percentile(50)),
        milliseconds(samples.percentile(99)),
        milliseconds(samples.least()),
        milliseconds(samples.most()),
    ]
}

/// The heads of a table whose rows are [`times`].
fn heads(of: &'static str) -> Vec<&'static str> {
    [of].into_iter().chain(TIMES).collect()
}
