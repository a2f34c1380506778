//! The life word: tells the supervisor that a host dies before the memory of the host is freed, which takes tens of
//! milliseconds for a large process.
//!
//! When a thread dies, the kernel first walks a list of words that the thread has registered (`set_robust_list`,
//! intended for locks), and marks each that holds the number of the thread. The list of a host's main thread has one
//! node, in memory that it shares with the supervisor. The mark is a hint: a host that writes it itself is merely
//! treated as dead.

use super::SharedMemory;
use crate::ring::SegmentMemory;
use crate::ring::layout::{LIFE_AT, OWNER_DIED};
use nix::libc;
use std::io;
use std::sync::atomic::Ordering;

/// Offset of the life word from its node.
const WORD: usize = 8;

/// The list head that the kernel reads when the thread dies.
#[repr(C)]
struct RobustListHead {
    /// The address of the first node; the last one leads back here.
    next: usize,
    /// Offset from a node to its word.
    word_offset: libc::c_long,
    /// The lock that is being acquired; none.
    pending: usize,
}

/// Registers the life word of this segment with the kernel, to be marked when the calling thread dies. It replaces the
/// list of the C library, so this thread must hold none of its robust locks.
///
/// # Errors
/// The system's error.
pub(crate) fn mark_at_death(up: &SharedMemory) -> io::Result<()> {
    // Both are leaked, because the kernel reads them at the end of the process.
    let up: &'static SharedMemory = Box::leak(Box::new(up.clone()));
    let head = Box::leak(Box::new(RobustListHead {
        next: up.own_pointer(LIFE_AT, 2 * WORD).addr(),
        word_offset: libc::c_long::try_from(WORD).expect("eight"),
        pending: 0,
    }));
    let head: *const RobustListHead = head;
    up.store_u64(LIFE_AT, head.addr() as u64, Ordering::Relaxed);
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    // The word is its lower half.
    up.store_u64(
        LIFE_AT + WORD,
        u64::from(thread.unsigned_abs()),
        Ordering::Release,
    );
    // SAFETY: the kernel reads the head and the node when the thread dies, both live as long as the process, and the
    // node leads back to the head. It writes nothing but the life word, which no reference of this process covers.
    let set =
        unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<RobustListHead>()) };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// True if the life word says that the host that writes this segment is dying or dead.
pub(crate) fn is_marked(up: &SharedMemory) -> bool {
    up.load_u32(LIFE_AT + WORD, Ordering::Acquire) & OWNER_DIED != 0
}
