//! A filter for the warnings of a run: the first of each agent is shown, later
//! ones are counted, and the count is shown at most once a second. Otherwise a
//! fleet in which everything fails would be slowed down by its own warnings.

use super::clock::now;
use super::output::counted;
use shm_protocol::id::AgentId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Minimum time between two counts.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of first warnings that are shown; further ones are counted too.
const MAX_SHOWN: usize = 100;

/// The kinds of warnings that repeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WarningKind {
    /// A failed step.
    Failed,
    /// Dropped messages of an agent.
    Dropped,
}

/// The warnings that were shown, and the count of those that were not.
pub(super) struct WarningFilter {
    shown: BTreeSet<(WarningKind, AgentId)>,
    failed: u64,
    dropped: u64,
    counted: Instant,
}

impl WarningFilter {
    pub(super) fn new() -> WarningFilter {
        WarningFilter {
            shown: BTreeSet::new(),
            failed: 0,
            dropped: 0,
            counted: now(),
        }
    }

    /// True if to show this warning; otherwise it is counted.
    pub(super) fn is_first(&mut self, kind: WarningKind, agent: AgentId) -> bool {
        if self.shown.len() < MAX_SHOWN && self.shown.insert((kind, agent)) {
            return true;
        }
        match kind {
            WarningKind::Failed => self.failed += 1,
            WarningKind::Dropped => self.dropped += 1,
        }
        false
    }

    /// True if some warnings were counted and the count was not shown.
    pub(super) fn has_count(&self) -> bool {
        self.failed + self.dropped > 0
    }

    /// The count, if it is due.
    pub(super) fn due(&mut self) -> Option<String> {
        if self.counted.elapsed() < COUNT_INTERVAL {
            return None;
        }
        self.rest()
    }

    /// The count, due or not.
    pub(super) fn rest(&mut self) -> Option<String> {
        if !self.has_count() {
            return None;
        }
        let text = format!(
            "since then: {} failed, messages dropped {}; `lockstep inspect` shows them",
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
    fn the_first_of_each_agent_is_shown_and_others_are_counted() {
        let mut warnings = WarningFilter::new();
        assert!(warnings.is_first(WarningKind::Failed, AgentId(1)));
        assert!(warnings.is_first(WarningKind::Failed, AgentId(2)));
        assert!(warnings.is_first(WarningKind::Dropped, AgentId(1)));
        assert_eq!(warnings.rest(), None);
        assert!(!warnings.is_first(WarningKind::Failed, AgentId(1)));
        assert!(!warnings.is_first(WarningKind::Dropped, AgentId(1)));
        assert!(warnings.has_count());
        let rest = warnings.rest().expect("two were not said");
        assert!(rest.contains("1 step failed"), "{rest}");
        assert_eq!(warnings.rest(), None);
    }

    #[test]
    fn a_fleet_of_thousands_is_not_listed() {
        let mut warnings = WarningFilter::new();
        let said =
            (0..1_000).filter(|agent| warnings.is_first(WarningKind::Failed, AgentId(*agent)));
        assert_eq!(said.count(), MAX_SHOWN);
        assert_eq!(warnings.failed, 900);
    }
}
