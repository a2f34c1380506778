//! The only place where the supervisor reads a clock. No outcome of a run depends on it.

use std::time::Instant;

/// The current time, for timeouts and for durations that people are shown.
#[allow(clippy::disallowed_methods, reason = "this is the only clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
