//! Watches a supervisor from outside: it hangs if it writes nothing for long, and
//! it leaks if it holds more descriptors or threads with every host that it restarts.

use super::leftovers::names_in;
use crate::cli::clock::now;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time without a write after which a run counts as hung. Far longer than any deadline, load or restart delay.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// Time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// Minimum samples for a comparison.
const MIN_SAMPLES: usize = 20;

/// Difference between the two halves of a process without host failures that is no leak: a hot standby, or files of a
/// checkpoint that is being written.
const LEAK_TOLERANCE: usize = 16;

/// Samples of one supervisor.
#[derive(Debug)]
pub(super) struct Watchdog {
    process: PathBuf,
    journal: PathBuf,
    events: PathBuf,
    /// Bytes of the journal before it began.
    inherited: u64,
    written: u64,
    wrote: Instant,
    sampled: Instant,
    descriptors: Vec<usize>,
    threads: Vec<usize>,
}

impl Watchdog {
    /// Starts to watch a process that works on this run.
    pub(super) fn start(process: u32, run: &Path) -> Watchdog {
        let (now, journal) = (now(), run.join("journal"));
        Watchdog {
            inherited: bytes_in(&journal),
            process: Path::new("/proc").join(process.to_string()),
            journal,
            events: run.join("events.jsonl"),
            written: 0,
            wrote: now,
            sampled: now,
            descriptors: Vec::new(),
            threads: Vec::new(),
        }
    }

    /// Takes a sample if one is due. False when the process hangs.
    pub(super) fn poll(&mut self) -> bool {
        let now = now();
        if now.duration_since(self.sampled) < SAMPLE_INTERVAL {
            return true;
        }
        self.sampled = now;
        let journaled = bytes_in(&self.journal);
        let written = journaled + bytes(&self.events);
        if written != self.written {
            (self.written, self.wrote) = (written, now);
        }
        if journaled > self.inherited {
            // Baseline it adds to the journal, it still opens what it needs.
            self.descriptors.push(entries(&self.process.join("fd")));
            self.threads.push(entries(&self.process.join("task")));
        }
        now.duration_since(self.wrote) < STALL_TIMEOUT
    }

    /// Resources that have grown over its life with this number of host failures.
    pub(super) fn leaks(&self, losses: usize) -> Vec<String> {
        let both = [
            ("descriptors", &self.descriptors),
            ("threads", &self.threads),
        ];
        both.into_iter()
            .filter_map(|(what, samples)| leak(what, samples, losses))
            .collect()
    }
}

/// Compares the medians of both halves of the samples. A host that is being restarted and a checkpoint that is being
/// written change single samples only.
fn leak(what: &str, samples: &[usize], losses: usize) -> Option<String> {
    if samples.len() < MIN_SAMPLES {
        return None;
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    let (first, second) = (median(first), median(second));
    // A leak of one for each loss moves the medians apart by half the losses; half of that is a finding.
    let allowed = LEAK_TOLERANCE.max(losses / 4);
    (second > first + allowed).then(|| {
        format!(
            "a supervisor held {first} {what} at first and {second} after {losses} host failures"
        )
    })
}

fn median(samples: &[usize]) -> usize {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn bytes(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |file| file.len())
}

fn bytes_in(folder: &Path) -> u64 {
    names_in(folder).map(|name| bytes(&folder.join(name))).sum()
}

fn entries(folder: &Path) -> usize {
    names_in(folder).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_every_lost_host_is_a_leak() {
        let growing: Vec<usize> = (0..200).map(|sample| 40 + sample / 2).collect();
        let said = leak("descriptors", &growing, 100).expect("a leak");
        assert!(
            said.contains("descriptors") && said.contains("100 host failures"),
            "{said}"
        );
    }

    #[test]
    fn what_comes_and_goes_is_no_leak() {
        let busy: Vec<usize> = (0..200).map(|sample| 40 + sample % 12).collect();
        assert_eq!(leak("descriptors", &busy, 100), None);
        // A spare host from the first loss on.
        let spare: Vec<usize> = (0..200)
            .map(|sample| 40 + 8 * (sample / 50).min(1))
            .collect();
        assert_eq!(leak("threads", &spare, 100), None);
        assert_eq!(leak("threads", &[1, 100], 100), None);
    }

    #[test]
    fn a_process_is_sampled_once_it_adds_to_the_journal() {
        let run = tempfile::tempdir().expect("a folder");
        fs::create_dir(run.path().join("journal")).expect("a folder");
        fs::write(run.path().join("journal/0"), "inherited").expect("a file");
        let mut watchdog = Watchdog::start(std::process::id(), run.path());
        let long_ago = Duration::from_millis(20);
        let poll = |watchdog: &mut Watchdog| {
            watchdog.sampled = watchdog
                .sampled
                .checked_sub(long_ago)
                .expect("not that early");
            watchdog.poll()
        };
        assert!(poll(&mut watchdog) && watchdog.descriptors.is_empty());
        fs::write(run.path().join("journal/1"), "something").expect("a file");
        assert!(poll(&mut watchdog));
        assert!(watchdog.descriptors[0] > 0 && watchdog.threads[0] > 0);
        watchdog.wrote = watchdog
            .wrote
            .checked_sub(STALL_TIMEOUT)
            .unwrap_or(watchdog.wrote);
        assert!(!poll(&mut watchdog), "nothing was written for long");
    }
}
