//! Sleeping on a word that two processes share.

use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps until woken, unless the word differs from `expected`. Returns early on a signal.
pub(super) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = Timespec::try_from(timeout).ok();
    // The caller checks again in every case: woken, changed before, timed out, interrupted. The flag for private words
    // is not set, because the waker is another process.
    let _ = futex::wait(word, Flags::empty(), expected, timeout.as_ref());
}

/// Wakes one sleeper. A word of a ring has at most one.
pub(super) fn wake(word: &AtomicU32) {
    // It fails only for addresses that are not mapped.
    let _ = futex::wake(word, Flags::empty(), 1);
}
