//! The one place where the supervisor reads a clock. No outcome depends on it.

use std::time::Instant;

/// This moment, to wait with patience and to tell people how long something took.
#[allow(clippy::disallowed_methods, reason = "this is the only clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
