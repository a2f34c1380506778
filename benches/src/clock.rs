//! The clock of the measurements.

use std::time::{Duration, Instant};

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is where time is measured")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds that some work takes, and what it gives. What it gives is freed by the caller, outside of the time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = now();
    let given = work();
    (began.elapsed().as_secs_f64(), given)
}

/// Keeps the core busy for a while, as other work would.
pub fn busy(duration: Duration) {
    let began = now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// Lets some time pass.
#[allow(
    clippy::disallowed_methods,
    reason = "a fleet is left to itself before it is looked at"
)]
pub fn rest(duration: Duration) {
    std::thread::sleep(duration);
}
