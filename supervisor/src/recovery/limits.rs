//! How often hosts may be started again, in the manner of OTP: so many times
//! within a stretch of time, and no more.

use std::collections::VecDeque;
use std::time::Duration;

/// So many restarts within so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// How many are allowed.
    pub restarts: u32,
    /// Within which time.
    pub time: Duration,
}

/// The limits of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimits {
    /// Of one host.
    pub host: RestartLimit,
    /// Of all hosts together.
    pub run: RestartLimit,
    /// Crashes over one step or one request after which it is found guilty.
    pub quarantine_after: u32,
}

/// Restarts that were counted, not older than the limit looks back.
#[derive(Clone, Debug, Default)]
pub(super) struct SlidingWindow {
    at: VecDeque<Duration>,
}

impl SlidingWindow {
    /// Counts a restart, and says how many there were within the limit's time, this one included.
    pub(super) fn count(&mut self, limit: &RestartLimit, now: Duration) -> u32 {
        self.at.push_back(now);
        while let Some(first) = self.at.front()
            && now.saturating_sub(*first) > limit.time
        {
            self.at.pop_front();
        }
        u32::try_from(self.at.len()).unwrap_or(u32::MAX)
    }

    /// Forgets the restarts that were counted last.
    pub(super) fn forget_last(&mut self, restarts: u32) {
        let left = self.at.len().saturating_sub(restarts as usize);
        self.at.truncate(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_does_not_count() {
        let limit = RestartLimit {
            restarts: 2,
            time: Duration::from_secs(30),
        };
        let mut counted = SlidingWindow::default();
        let counts: Vec<u32> = [0, 10, 29, 31, 100]
            .map(|second| counted.count(&limit, Duration::from_secs(second)))
            .to_vec();
        assert_eq!(counts, [1, 2, 3, 3, 1]);
    }
}
