//! Spinning: polling within a budget of time.

use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, Instant};

/// Number of polls without a pause, for records that come within a fraction of a microsecond.
const EAGER_POLLS: u32 = 64;

/// Number of polls between two checks of the clock, each with a pause of 15 to 60 ns: about 2 µs. At a check the
/// spinner also yields, because on a machine with fewer cores than spinners it may occupy the core that the peer needs.
/// A yield costs 0.3 µs if no other thread waits for the core.
const POLLS_PER_CHECK: u32 = 48;

/// A period of spinning.
///
/// ```
/// use shm_protocol::link::Spinner;
/// use std::time::Duration;
///
/// let mut spinner = Spinner::new(Duration::from_micros(20));
/// let mut polls = 0;
/// while polls < 10 && spinner.spin() {
///     polls += 1;
/// }
/// assert_eq!(polls, 10);
/// ```
#[derive(Debug)]
pub struct Spinner {
    budget: Duration,
    started: Option<Instant>,
    polls: u32,
}

impl Spinner {
    /// A period of at most this time. With a budget of zero it still polls a few times.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        Spinner {
            budget,
            started: None,
            polls: 0,
        }
    }

    /// Pauses before the next poll. `false` when the budget is used up: sleep instead.
    #[inline]
    pub fn spin(&mut self) -> bool {
        self.polls += 1;
        if self.polls <= EAGER_POLLS {
            return true;
        }
        spin_loop();
        self.polls < EAGER_POLLS + POLLS_PER_CHECK || self.check_clock()
    }

    #[cold]
    #[allow(
        clippy::disallowed_methods,
        reason = "the duration of spinning affects only speed"
    )]
    fn check_clock(&mut self) -> bool {
        self.polls = EAGER_POLLS;
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        thread::yield_now();
        now.duration_since(started) < self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_ends() {
        let mut spinner = Spinner::new(Duration::from_millis(1));
        while spinner.spin() {}
        let mut spinner = Spinner::new(Duration::ZERO);
        let mut polls = 0;
        while spinner.spin() {
            polls += 1;
        }
        assert_eq!(
            polls,
            EAGER_POLLS + POLLS_PER_CHECK - 1,
            "without any time it still polls a few times"
        );
    }
}
