//! Reports of progress: a host counts up a word that the supervisor reads.
//!
//! A host that works on one order for long (a prompt of many pieces, a model that is being probed) says nothing in its
//! ring until all of it is done. The word tells a host that works from one that hangs: the deadline counts from the last
//! report. It decides nothing but when a host is started again.

use crate::ring::SegmentMemory;
use crate::ring::layout::PROGRESS_AT;
use crate::sys::SharedMemory;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The word of this process.
static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();

/// Lets this process report its progress in the segment that it writes.
pub(crate) fn attach(up: &SharedMemory) {
    // The first one stays: a process is one incarnation of one host.
    WORD.get_or_init(|| up.word_for_good(PROGRESS_AT));
}

/// Reports progress: a run of the engine, a piece of a prompt, a pass of the tokenizer or a step of an agent is done.
/// Nothing where no supervisor listens.
#[inline]
pub fn report() {
    if let Some(word) = WORD.get() {
        word.fetch_add(1, Ordering::Relaxed);
    }
}

/// The reports of the host that writes this segment. Any change is progress.
pub(crate) fn of(up: &SharedMemory) -> u64 {
    up.load_u64(PROGRESS_AT, Ordering::Relaxed)
}
