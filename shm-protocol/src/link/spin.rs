//! Waiting by looking again, within a budget of time.

use rustix::thread::sched_yield;
use std::hint::spin_loop;
use std::time::{Duration, Instant};

/// Polls without a pause. An answer that comes within a fraction of a microsecond is seen at once.
const EAGER_POLLS: u32 = 64;

/// Polls from one look at the clock to the next, each with a pause of 15 to 60 ns: about 2 µs. There the spinner also
/// yields. On a machine with fewer cores than spinners, it may hold the very core on which the answer is made, and a
/// yield costs 0.3 µs where nobody waits for the core.
const POLLS_PER_LOOK: u32 = 48;

/// Counts one spell of spinning.
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
    /// A spell of at most this time. Without any time, it still polls a few times.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        Spinner {
            budget,
            started: None,
            polls: 0,
        }
    }

    /// Passes a moment. `false` when the time is over: sleep instead.
    #[inline]
    pub fn spin(&mut self) -> bool {
        self.polls += 1;
        if self.polls <= EAGER_POLLS {
            return true;
        }
        spin_loop();
        self.polls < EAGER_POLLS + POLLS_PER_LOOK || self.look()
    }

    #[cold]
    #[allow(
        clippy::disallowed_methods,
        reason = "how long a wait spins decides nothing but speed"
    )]
    fn look(&mut self) -> bool {
        self.polls = EAGER_POLLS;
        let now = Instant::now();
        let started = *self.started.get_or_insert(now);
        sched_yield();
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
            EAGER_POLLS + POLLS_PER_LOOK - 1,
            "without any time it still polls a few times"
        );
    }
}
