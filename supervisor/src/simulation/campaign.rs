//! Many seeds, one after the other, and what is said of one that fails.

use super::case::{Case, CaseReport, Reference};
use std::fmt::Write as _;

/// Faults of a campaign within the tests.
const FAULTS: u64 = 50_000;

/// Faulty runs of one fleet, which share its fault-free run.
const RUNS_PER_FLEET: u64 = 4;

/// Of so many fleets, one may have an agent that ends its host in some tick, always.
const POISON_ONE_IN: u64 = 6;

/// What a campaign came to.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) runs: u64,
    pub(super) faults: u64,
    all: CaseReport,
}

impl Count {
    fn add(&mut self, report: &CaseReport) {
        self.runs += 1;
        self.faults += report.faults();
        for (host_fault, times) in &report.host_faults {
            *self.all.host_faults.entry(*host_fault).or_default() += times;
        }
        for (disk_failure, times) in &report.disk_failures {
            *self.all.disk_failures.entry(*disk_failure).or_default() += times;
        }
        self.all.power_cuts += report.power_cuts;
        self.all.stops += report.stops;
        self.all.lives += report.lives;
        self.all.restored += report.restored;
        self.all.from_checkpoint += report.from_checkpoint;
        self.all.verdicts += report.verdicts;
        self.all.replayed += report.replayed;
        self.all.decided_alike += report.decided_alike;
        self.all.limits += report.limits;
        self.all.abandoned += report.abandoned;
        self.all.outboxes_damaged += report.outboxes_damaged;
        self.all.outboxes_repaired += report.outboxes_repaired;
    }
}

/// Runs seeds until so many faults have report. Of so many fleets, one may have an agent that ends its host.
///
/// # Errors
/// What does not hold of a seed, and how to repeat it.
pub(super) fn run(first_seed: u64, faults: u64, poison_one_in: u64) -> Result<Count, String> {
    let mut count = Count::default();
    let mut seed = first_seed;
    let mut reference = None::<(u64, Reference)>;
    while count.faults < faults {
        let of_fleet = seed / RUNS_PER_FLEET;
        if reference.as_ref().is_none_or(|(held, _)| *held != of_fleet) {
            reference = Some((
                of_fleet,
                Reference::of(of_fleet, of_fleet.is_multiple_of(poison_one_in)),
            ));
        }
        let (_, reference) = reference.as_ref().expect("made just now");
        let mut case = Case::new(reference, seed);
        if let Err(reason) = case.run() {
            return Err(failed(seed, &reason, &case.report));
        }
        count.add(&case.report);
        seed += 1;
    }
    Ok(count)
}

fn failed(seed: u64, reason: &str, report: &CaseReport) -> String {
    let mut text = format!("seed {seed}: {reason}\n");
    for line in &report.story {
        let _ = writeln!(text, "  {line}");
    }
    let _ = write!(
        text,
        "repeat it with: LOCKSTEP_SIM_SEED={seed} LOCKSTEP_SIM_FAULTS=1 cargo test -p supervisor simulation::campaign"
    );
    text
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Seeds that have found something which the first ones do not, and of how many fleets one was poisoned.
const HAVE_FAILED: [(u64, u64); 9] = [
    (15_713, POISON_ONE_IN),
    (73_800, POISON_ONE_IN),
    (502_202, POISON_ONE_IN),
    (532_800, POISON_ONE_IN),
    (2_016_216, POISON_ONE_IN),
    (2_105_618, POISON_ONE_IN),
    (5_039_955, 1),
    (5_075_832, 1),
    (5_085_085, 1),
];

#[test]
fn seeds_that_have_failed_do_not_fail_again() {
    for (seed, poison_one_in) in HAVE_FAILED {
        run(seed, 1, poison_one_in).unwrap_or_else(|failed| panic!("{failed}"));
    }
}

#[test]
fn whatever_happens_the_journal_is_that_of_the_fault_free_run() {
    let seed = number("LOCKSTEP_SIM_SEED").unwrap_or(1);
    let faults = number("LOCKSTEP_SIM_FAULTS").unwrap_or(FAULTS);
    #[allow(clippy::disallowed_methods, reason = "only to say how fast it was")]
    let began = std::time::Instant::now();
    let poison_one_in = number("LOCKSTEP_SIM_POISON").unwrap_or(POISON_ONE_IN);
    let count = run(seed, faults, poison_one_in).unwrap_or_else(|failed| panic!("{failed}"));
    let took = began.elapsed();
    let rate = count.faults as f64 / took.as_secs_f64();
    println!("{count:?} in {took:?}, {rate:.0} faults a second");
}
