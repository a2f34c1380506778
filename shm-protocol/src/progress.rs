//! Progress reports: a host increments a counter that the supervisor reads.
//!
//! A host that works on one request for long (a prompt of many chunks, the probe of a model) writes nothing to its ring
//! until it is done. The counter distinguishes a host that works from one that hangs: the deadline counts from the last
//! report. It affects only when a host is restarted.

use crate::ring::SegmentMemory;
use crate::ring::layout::PROGRESS_AT;
use crate::sys::SharedMemory;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counter of this process.
static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();

/// Attaches the counter in the segment that this process writes.
pub(crate) fn attach(up: &SharedMemory) {
    // A process is one incarnation of one host, so the first segment stays.
    WORD.get_or_init(|| up.word_for_good(PROGRESS_AT));
}

/// Reports progress: a run of the engine, a chunk of a prompt, a pass of the tokenizer or a step of an agent is done.
/// Has no effect in a process without a supervisor.
#[inline]
pub fn report() {
    if let Some(word) = WORD.get() {
        word.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counter of the host that writes this segment. Every change is progress.
pub(crate) fn of(up: &SharedMemory) -> u64 {
    up.load_u64(PROGRESS_AT, Ordering::Relaxed)
}
