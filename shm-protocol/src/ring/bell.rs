//! Sleeping and waking.
//!
//! The hazard is the lost wake-up: one end finds nothing and goes to sleep while the other publishes and, seeing no
//! sleeper, does not ring. Both ends therefore do their store, then a fence, then their load (Dekker's pattern):
//!
//! | the sleeper | the waker |
//! | --- | --- |
//! | stores its waiting word | publishes a record, or frees space |
//! | **fence** | **fence** |
//! | checks for a record, or for space | checks the waiting word |
//!
//! The fences are sequentially consistent, so one of them is first, and the end whose fence is second sees what the
//! other stored. At least one of the two avoids the sleep or rings.

use super::layout::{DOORBELL_AT, SLEEP_SHIFT, WAITING_AT};
use super::memory::SegmentMemory;
use crate::sys::{SharedMemory, event};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The means by which one end wakes the other.
pub trait Wake {
    /// Wakes the other end, or prevents its next sleep.
    fn wake(&self);
}

/// The two means of waking a process.
#[derive(Clone, Debug)]
pub enum Bell {
    /// The futex word in own memory, which wakes a host.
    Doorbell(SharedMemory),
    /// An event counter, which wakes the supervisor, because it waits for many descriptors at once.
    Event(Arc<OwnedFd>),
}

impl Wake for Bell {
    fn wake(&self) {
        match self {
            Bell::Doorbell(own) => ring_doorbell(own),
            // It fails when the counter is full after 2^64 - 2 rings. There is nobody to wake then.
            Bell::Event(event) => event::signal(event),
        }
    }
}

/// Wakes the end that sleeps in [`Sleeper::sleep`], or prevents its next sleep.
pub fn ring_doorbell<M: SegmentMemory>(own: &M) {
    // Release: pairs with the acquire load in `sleep`, so that an end that sees the new count also sees the reason for
    // it.
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

    /// Rings if the peer waits for `reason`. To be called after the store that the peer may wait for.
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

    /// Announces a sleep: from now on the peer rings. The caller must check once more before it sleeps.
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

    /// Withdraws the announcement. The peer may be about to ring, so waits can wake spuriously.
    pub fn withdraw(&mut self) {
        self.own.store_u64(WAITING_AT, 0, Ordering::Relaxed);
    }

    /// Sleeps on the doorbell of `peer` until it rings or the timeout passes, unless `is_there` holds.
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
