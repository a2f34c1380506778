//! The wall clock of the command line. It measures and paces what people see, and decides no outcome of a run.

use std::time::Instant;

/// The time now.
#[allow(
    clippy::disallowed_methods,
    reason = "times of the command line decide no outcome of a run"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
