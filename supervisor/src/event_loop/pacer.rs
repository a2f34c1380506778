//! The pacer: says when the steps of an open tick may be sent. Nothing that is journaled depends on it.

use crate::fleet::Pace;
use shm_protocol::id::Tick;
use std::time::Duration;

/// Deviation of the ticks of a run from their pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceReport {
    /// Ticks that opened more than a period late. The rate begins anew with each.
    pub late: u64,
    /// The delay of the latest of them.
    pub worst: Duration,
}

/// The schedule by which ticks open.
#[derive(Debug)]
pub(super) struct Pacer {
    period: Option<Duration>,
    /// The time at which the next tick is due; none before the first one.
    due: Option<Duration>,
    /// The last tick that was let in.
    opened: Tick,
    pub(super) report: PaceReport,
}

impl Pacer {
    pub(super) fn new(pace: Pace) -> Pacer {
        Pacer {
            period: pace.period(),
            due: None,
            opened: Tick::ZERO,
            report: PaceReport::default(),
        }
    }

    /// True if a tick may open now, which it then does. `hurries` lets it open before its time.
    pub(super) fn opens(&mut self, tick: Tick, now: Duration, hurries: bool) -> bool {
        let Some(period) = self.period else {
            return true;
        };
        if tick <= self.opened {
            return true;
        }
        let due = self.due.unwrap_or(now);
        if now < due && !hurries {
            return false;
        }
        let late = now.saturating_sub(due);
        // A tick that is a little late does not move those after it; one that is a period late cannot be caught up.
        self.due = Some(match late > period {
            true => now + period,
            false => due + period,
        });
        if late > period {
            self.report.late += 1;
            self.report.worst = self.report.worst.max(late);
        }
        self.opened = tick;
        true
    }

    /// The time until the next tick may open.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        Some(self.due?.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pacer() -> Pacer {
        Pacer::new("100 Hz".parse().expect("a pace"))
    }

    #[test]
    fn ticks_open_a_period_apart_and_a_late_one_moves_no_other() {
        let mut pacer = pacer();
        assert!(pacer.opens(Tick(1), 5 * MS, false));
        assert!(!pacer.opens(Tick(2), 14 * MS, false));
        assert_eq!(pacer.wait(14 * MS), Some(MS));
        assert!(pacer.opens(Tick(2), 18 * MS, false));
        // All that belongs to an open tick passes.
        assert!(pacer.opens(Tick(2), 18 * MS, false));
        assert!(!pacer.opens(Tick(3), 24 * MS, false));
        assert!(pacer.opens(Tick(3), 25 * MS, false));
        assert_eq!(pacer.report, PaceReport::default());
    }

    #[test]
    fn a_rate_that_cannot_be_kept_is_counted_and_begins_anew() {
        let mut pacer = pacer();
        assert!(pacer.opens(Tick(1), MS, false));
        assert!(pacer.opens(Tick(2), 40 * MS, false));
        assert!(!pacer.opens(Tick(3), 49 * MS, false));
        assert!(pacer.opens(Tick(3), 50 * MS, false));
        assert_eq!((pacer.report.late, pacer.report.worst), (1, 29 * MS));
    }

    #[test]
    fn a_stop_does_not_wait_and_a_free_pace_never_does() {
        let mut paced = pacer();
        assert!(paced.opens(Tick(1), MS, false));
        assert!(paced.opens(Tick(2), 2 * MS, true));
        let mut free = Pacer::new(Pace::Free);
        assert!((1..9).all(|tick| free.opens(Tick(tick), MS, false)));
        assert_eq!(free.wait(MS), None);
    }
}
