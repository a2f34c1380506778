//! Sleeping and waking.
//!
//! The danger is the lost wake-up: one end finds nothing and goes to sleep while
//! the other publishes and, seeing nobody asleep, does not ring. Both ends
//! therefore do their store, then a fence, then their load (Dekker's pattern):
//!
//! | the sleeper | the waker |
//! | --- | --- |
//! | stores its waiting word | publishes a record, or frees space |
//! | **fence** | **fence** |
//! | looks for a record, or for space | looks at the waiting word |
//!
//! The fences are sequentially consistent, so one of them is first, and the end
//! whose fence is second sees what the other stored. At least one of the two
//! notices.

use super::layout::{DOORBELL_AT, SLEEP_SHIFT, WAITING_AT};
use super::memory::SegmentMemory;
use crate::sys::SharedMemory;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How one end wakes the other.
pub trait Wake {
    /// Wakes it, or keeps it from falling asleep.
    fn wake(&self);
}

/// The two ways in which real ends are woken.
#[derive(Clone, Debug)]
pub enum Bell {
    /// The futex word in own memory: wakes a host.
    Doorbell(SharedMemory),
    /// An event counter: wakes the supervisor, which waits for many things at once.
    Event(Arc<OwnedFd>),
}

impl Wake for Bell {
    fn wake(&self) {
        match self {
            Bell::Doorbell(own) => ring_doorbell(own),
            // The counter is full after 2^64 - 2 rings, or the supervisor is gone. Neither needs a ring.
            Bell::Event(event) => drop(rustix::io::write(event, &1_u64.to_ne_bytes())),
        }
    }
}

/// Wakes the end that sleeps in [`sleep`], or keeps it from falling asleep.
pub fn ring_doorbell<M: SegmentMemory>(own: &M) {
    // Release: pairs with the acquire load in `sleep`, so that who sees the new count sees why it was rung.
    own.increment_u32(DOORBELL_AT, Ordering::Release);
    own.futex_wake(DOORBELL_AT);
}

/// Wakes the peer if it waits, once for each of its sleeps.
#[derive(Debug)]
pub(super) struct Ringer<B> {
    bell: B,
    /// The waiting word for which the bell was rung last.
    rung_for: u64,
}

impl<B: Wake> Ringer<B> {
    pub(super) fn new(bell: B) -> Self {
        Ringer { bell, rung_for: 0 }
    }

    /// Call this after the store that the peer may wait for.
    #[inline]
    pub(super) fn ring_if_waiting<M: SegmentMemory>(&mut self, peer: &M, reason: u64) {
        // Pairs with the fence in `Sleeper::announce`.
        peer.fence(Ordering::SeqCst);
        let waiting = peer.load_u64(WAITING_AT, Ordering::Relaxed);
        if waiting & reason != 0 && waiting != self.rung_for {
            self.rung_for = waiting;
            self.bell.wake();
        }
    }
}

/// Announces the sleep of one end.
#[derive(Debug)]
pub struct Sleeper<M> {
    own: M,
    /// Sleeps so far. Each has its own waiting word, so that the peer can ring once for each.
    sleeps: u64,
}

impl<M: SegmentMemory> Sleeper<M> {
    /// The sleeper of the end that writes `own`.
    pub fn new(own: M) -> Self {
        Sleeper { own, sleeps: 0 }
    }

    /// From now on the peer rings. Look again for what is waited for before going to sleep.
    pub fn announce(&mut self, reasons: u64) {
        self.sleeps += 1;
        self.own.store_u64(
            WAITING_AT,
            self.sleeps << SLEEP_SHIFT | reasons,
            Ordering::Relaxed,
        );
        // Pairs with the fence in `Ringer::ring_if_waiting`.
        self.own.fence(Ordering::SeqCst);
    }

    /// The peer need not ring any more. It may be about to, which is why waits return for no reason at times.
    pub fn withdraw(&mut self) {
        self.own.store_u64(WAITING_AT, 0, Ordering::Relaxed);
    }

    /// Sleeps on the doorbell of `peer` until it rings or the time is over, unless there is no need to.
    pub fn sleep(
        &mut self,
        peer: &M,
        reasons: u64,
        timeout: Duration,
        mut is_there: impl FnMut() -> bool,
    ) {
        // Taken before the announcement: a ring for this sleep changes the count, and the kernel refuses to wait.
        let count = peer.load_u32(DOORBELL_AT, Ordering::Acquire);
        self.announce(reasons);
        if !is_there() {
            peer.futex_wait(DOORBELL_AT, count, timeout);
        }
        self.withdraw();
    }
}
