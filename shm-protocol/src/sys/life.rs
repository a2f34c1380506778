//! The life word: what tells that a process dies before its memory is torn down,
//! which takes tens of milliseconds for a large one.
//!
//! The kernel walks a list of words that a thread names (`set_robust_list`, made
//! for locks) as one of the first things when the thread dies, and marks each
//! that holds the number of the thread. The list of the main thread of a host has one
//! node, in memory that it shares with the supervisor. It is a hint: a host
//! could write the mark itself, and would only be taken for dead.

use super::SharedMemory;
use crate::ring::SegmentMemory;
use crate::ring::layout::{LIFE_AT, OWNER_DIED};
use nix::libc;
use std::io;
use std::sync::atomic::Ordering;

/// Offset of the life word from its node.
const WORD: usize = 8;

/// What the kernel reads when the thread dies.
#[repr(C)]
struct RobustListHead {
    /// The address of the first node; the last one leads back here.
    next: usize,
    /// From a node to its word.
    word_offset: libc::c_long,
    /// A lock that is being taken; none.
    pending: usize,
}

/// Lets the kernel mark the life word of this segment when the calling thread dies. It takes the place of the list of
/// the C library, of whose robust locks this thread must hold none.
///
/// # Errors
/// What the system says.
pub(crate) fn mark_at_death(up: &SharedMemory) -> io::Result<()> {
    // Both stay until the end of the process, because the kernel reads them then.
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

/// Whether the host that writes this segment is dying or dead, so far as the life word tells.
pub(crate) fn is_marked(up: &SharedMemory) -> bool {
    up.load_u32(LIFE_AT + WORD, Ordering::Acquire) & OWNER_DIED != 0
}
