//! What can be seen of a supervisor from outside while it lives: whether it goes
//! on, and whether what it holds grows with every host that it starts again.

use super::left::names_in;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a run may write nothing. Far longer than any deadline, load or pause between two starts.
const STILL: Duration = Duration::from_secs(120);

/// Between two samples of what it holds.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(10);

/// Fewer samples say nothing.
const FEWEST_SAMPLES: usize = 20;

/// By how much what is held may differ between the halves of a life without hosts that are lost: a spare host that
/// was not there at first, files of a checkpoint that is being written.
const PLAY: usize = 16;

/// One supervisor that is watched.
#[derive(Debug)]
pub(super) struct Vigil {
    process: PathBuf,
    journal: PathBuf,
    events: PathBuf,
    /// Bytes of the journal that were there before it began.
    inherited: u64,
    written: u64,
    wrote: Instant,
    sampled: Instant,
    descriptors: Vec<usize>,
    threads: Vec<usize>,
}

impl Vigil {
    /// Begins to watch a process that works on this run.
    pub(super) fn begin(process: u32, run: &Path) -> Vigil {
        let (now, journal) = (now(), run.join("journal"));
        Vigil {
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

    /// Looks again. False when it has written nothing for so long that it hangs.
    pub(super) fn look(&mut self) -> bool {
        let now = now();
        if now.duration_since(self.sampled) < BETWEEN_SAMPLES {
            return true;
        }
        self.sampled = now;
        let journaled = bytes_in(&self.journal);
        let written = journaled + bytes(&self.events);
        if written != self.written {
            (self.written, self.wrote) = (written, now);
        }
        if journaled > self.inherited {
            // Before it adds to the journal, it still opens what it needs.
            self.descriptors.push(entries(&self.process.join("fd")));
            self.threads.push(entries(&self.process.join("task")));
        }
        now.duration_since(self.wrote) < STILL
    }

    /// What grew over its life, in which so many hosts were lost.
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

/// Whether more is held in the second half of a life than in the first. The medians are compared, because a host that
/// is on its way holds less, and a checkpoint that is being written holds more.
fn leak(what: &str, samples: &[usize], losses: usize) -> Option<String> {
    if samples.len() < FEWEST_SAMPLES {
        return None;
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    let (first, second) = (median(first), median(second));
    // One thing for each loss makes half as many between the middles of the halves; half of that is noticed.
    let allowed = PLAY.max(losses / 4);
    (second > first + allowed).then(|| {
        format!("a supervisor held {first} {what} at first and {second} after {losses} lost hosts")
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

#[allow(
    clippy::disallowed_methods,
    reason = "how long a process is silent is what is measured"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_every_lost_host_is_a_leak() {
        let growing: Vec<usize> = (0..200).map(|sample| 40 + sample / 2).collect();
        let said = leak("descriptors", &growing, 100).expect("a leak");
        assert!(
            said.contains("descriptors") && said.contains("100 lost hosts"),
            "{said}"
        );
    }

    #[test]
    fn what_comes_and_goes_is_none() {
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
    fn a_life_of_its_own_is_seen() {
        let run = tempfile::tempdir().expect("a folder");
        fs::create_dir(run.path().join("journal")).expect("a folder");
        fs::write(run.path().join("journal/0"), "inherited").expect("a file");
        let mut vigil = Vigil::begin(std::process::id(), run.path());
        let long_ago = Duration::from_millis(20);
        let look = |vigil: &mut Vigil| {
            vigil.sampled = vigil.sampled.checked_sub(long_ago).expect("not that early");
            vigil.look()
        };
        assert!(look(&mut vigil) && vigil.descriptors.is_empty());
        fs::write(run.path().join("journal/1"), "something").expect("a file");
        assert!(look(&mut vigil));
        assert!(vigil.descriptors[0] > 0 && vigil.threads[0] > 0);
        vigil.wrote = vigil.wrote.checked_sub(STILL).unwrap_or(vigil.wrote);
        assert!(!look(&mut vigil), "nothing was written for long");
    }
}
