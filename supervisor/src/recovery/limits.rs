//! Limits of restarts, in the manner of OTP: a number of restarts within a window of time.

use std::collections::VecDeque;
use std::time::Duration;

/// A number of restarts within a window of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// The allowed restarts.
    pub restarts: u32,
    /// The window of time.
    pub window: Duration,
}

/// The limits of recovery in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLimits {
    /// Of one host.
    pub host: RestartLimit,
    /// Of all hosts together.
    pub run: RestartLimit,
    /// Crashes over one step after which its agent is quarantined, and over one request after which that is abandoned.
    pub quarantine_after: u32,
}

/// The restarts within the window of a limit.
#[derive(Clone, Debug, Default)]
pub(super) struct SlidingWindow {
    restarts: VecDeque<Duration>,
}

impl SlidingWindow {
    /// Counts a restart, and gives the number within the window, this one included.
    pub(super) fn count(&mut self, limit: &RestartLimit, now: Duration) -> u32 {
        self.restarts.push_back(now);
        while let Some(first) = self.restarts.front()
            && now.saturating_sub(*first) > limit.window
        {
            self.restarts.pop_front();
        }
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    /// Forgets the last restarts.
    pub(super) fn forget_last(&mut self, restarts: u32) {
        let left = self.restarts.len().saturating_sub(restarts as usize);
        self.restarts.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_does_not_count() {
        let limit = RestartLimit {
            restarts: 2,
            window: Duration::from_secs(30),
        };
        let mut counted = SlidingWindow::default();
        let counts: Vec<u32> = [0, 10, 29, 31, 100]
            .map(|second| counted.count(&limit, Duration::from_secs(second)))
            .to_vec();
        assert_eq!(counts, [1, 2, 3, 3, 1]);
    }
}
