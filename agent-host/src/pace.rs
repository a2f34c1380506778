//! How long outcomes may wait for those of the next agents.
//!
//! One record for all is the fastest, but a supervisor that hears nothing for
//! long takes its host for hung. So what is there goes up now and then. How
//! outcomes are spread over records decides nothing: the supervisor puts them
//! in order.

use std::time::{Duration, Instant};

/// How long outcomes wait at most, but for the step that is running then. A hundredth of the usual deadline.
const MOST_WAIT: Duration = Duration::from_millis(50);

/// Steps between two looks at the clock, which costs a tenth of a short step.
const STEPS_PER_LOOK: u32 = 16;

/// Fuel between two looks at the clock: a millisecond at most, unless an operation is very slow.
const FUEL_PER_LOOK: u64 = 1_000_000;

/// Says when to send what is there.
pub(crate) struct Pace<C> {
    clock: C,
    sent: Duration,
    steps: u32,
    fuel: u64,
}

impl<C: FnMut() -> Duration> Pace<C> {
    /// Starts now. The clock counts from any moment.
    pub(crate) fn new(mut clock: C) -> Self {
        let sent = clock();
        Pace {
            clock,
            sent,
            steps: 0,
            fuel: 0,
        }
    }

    /// Takes note of a step that used this fuel.
    pub(crate) fn note(&mut self, fuel_used: u64) {
        self.steps += 1;
        self.fuel = self.fuel.saturating_add(fuel_used);
    }

    /// Takes note of something that may use a second's fuel which no outcome names, as an `init`, or of which none does
    /// yet, as a step that waits.
    pub(crate) fn note_unmeasured(&mut self) {
        self.fuel = FUEL_PER_LOOK;
    }

    /// Whether what is there has waited long enough. Begins anew if so.
    pub(crate) fn is_due(&mut self) -> bool {
        if self.steps < STEPS_PER_LOOK && self.fuel < FUEL_PER_LOOK {
            return false;
        }
        (self.steps, self.fuel) = (0, 0);
        let now = (self.clock)();
        let is_due = now.saturating_sub(self.sent) > MOST_WAIT;
        if is_due {
            self.sent = now;
        }
        is_due
    }
}

/// A clock that begins at zero.
#[allow(
    clippy::disallowed_methods,
    reason = "when outcomes are sent decides none of them"
)]
pub(crate) fn clock() -> impl FnMut() -> Duration {
    let begin = Instant::now();
    move || begin.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// After how many of a hundred such steps it was due, each this long, and how often it looked at the clock.
    fn due(fuel: u64, has_init: bool, step: Duration) -> (Vec<u32>, u32) {
        let (now, looks) = (Cell::new(Duration::ZERO), Cell::new(0));
        let mut pace = Pace::new(|| {
            looks.set(looks.get() + 1);
            now.get()
        });
        let mut due = Vec::new();
        for number in 1..=100 {
            now.set(now.get() + step);
            if has_init {
                pace.note_unmeasured();
            }
            pace.note(fuel);
            if pace.is_due() {
                due.push(number);
            }
        }
        (due, looks.get())
    }

    #[test]
    fn short_steps_wait_and_are_hardly_looked_at() {
        let (due, looks) = due(1_000, false, Duration::from_micros(1));
        assert_eq!((due, looks), (vec![], 1 + 100 / STEPS_PER_LOOK));
    }

    #[test]
    fn steps_that_are_slow_for_little_fuel_are_seen_at_the_next_look() {
        let (due, _) = due(1_000, false, Duration::from_millis(4));
        assert_eq!(due, [16, 32, 48, 64, 80, 96]);
    }

    #[test]
    fn much_fuel_and_restarts_are_looked_at_at_once() {
        for (fuel, has_init) in [(FUEL_PER_LOOK, false), (0, true)] {
            let (due, looks) = due(fuel, has_init, Duration::from_millis(30));
            assert_eq!(due, (2..=100).step_by(2).collect::<Vec<_>>(), "{fuel}");
            assert_eq!(looks, 101, "{fuel}");
        }
    }
}
