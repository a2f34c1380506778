//! Which of a run's warnings are said: the first of each agent, and of all that
//! follow a count, at most once a second. A fleet in which everything fails
//! would bury what matters otherwise, and be slowed down by saying it.

use super::output::counted;
use super::progress::now;
use shm_protocol::id::AgentId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How often a count is said.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// First warnings that are said one by one. Of a fleet of thousands that all fail, the rest is counted too.
const SAID_ALONE: usize = 100;

/// What can go wrong with an agent again and again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// A step failed.
    Failed,
    /// Messages for it were dropped.
    Dropped,
}

/// What was said, and what waits to be counted.
pub(super) struct Warnings {
    said: BTreeSet<(Wrong, AgentId)>,
    failed: u64,
    dropped: u64,
    counted: Instant,
}

impl Warnings {
    pub(super) fn new() -> Warnings {
        Warnings {
            said: BTreeSet::new(),
            failed: 0,
            dropped: 0,
            counted: now(),
        }
    }

    /// Whether this is to be said; otherwise it is counted.
    pub(super) fn is_first(&mut self, wrong: Wrong, agent: AgentId) -> bool {
        if self.said.len() < SAID_ALONE && self.said.insert((wrong, agent)) {
            return true;
        }
        match wrong {
            Wrong::Failed => self.failed += 1,
            Wrong::Dropped => self.dropped += 1,
        }
        false
    }

    /// Whether something waits to be counted.
    pub(super) fn wait(&self) -> bool {
        self.failed + self.dropped > 0
    }

    /// What was counted, if it is time to say so.
    pub(super) fn due(&mut self) -> Option<String> {
        if self.counted.elapsed() < COUNT_EVERY {
            return None;
        }
        self.rest()
    }

    /// What was counted and not said.
    pub(super) fn rest(&mut self) -> Option<String> {
        if !self.wait() {
            return None;
        }
        let text = format!(
            "since then {} failed, and messages were dropped {}; `lockstep inspect` shows which",
            counted(self.failed, "step"),
            counted(self.dropped, "time")
        );
        (self.failed, self.dropped, self.counted) = (0, 0, now());
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_agent_is_said_and_the_others_are_counted() {
        let mut warnings = Warnings::new();
        assert!(warnings.is_first(Wrong::Failed, AgentId(1)));
        assert!(warnings.is_first(Wrong::Failed, AgentId(2)));
        assert!(warnings.is_first(Wrong::Dropped, AgentId(1)));
        assert_eq!(warnings.rest(), None);
        assert!(!warnings.is_first(Wrong::Failed, AgentId(1)));
        assert!(!warnings.is_first(Wrong::Dropped, AgentId(1)));
        assert!(warnings.wait());
        let rest = warnings.rest().expect("two were not said");
        assert!(rest.contains("1 step failed"), "{rest}");
        assert_eq!(warnings.rest(), None);
    }

    #[test]
    fn a_fleet_of_thousands_is_not_listed() {
        let mut warnings = Warnings::new();
        let said = (0..1_000).filter(|agent| warnings.is_first(Wrong::Failed, AgentId(*agent)));
        assert_eq!(said.count(), SAID_ALONE);
        assert_eq!(warnings.failed, 900);
    }
}
