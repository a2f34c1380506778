//! An armed fault in shared memory.
//!
//! A slot is four words. The supervisor writes the first one last; a host reads the first, the others, and the first
//! again. The first word contains a number that is new at every arming, so that a slot which is armed again in between
//! is never mistaken for its earlier content.

use super::kind::FaultKind;
use super::point::{FaultPoint, Pin};
use crate::id::Tick;
use crate::limit::FAULT_SLOTS;
use crate::ring::SegmentMemory;
use crate::ring::layout::{FAULT_SLOT_BYTES, FAULT_SLOTS_AT, FIRED_AT};
use std::sync::atomic::Ordering;

/// Any tick.
pub const ANY_TICK: Tick = Tick(u64::MAX);

/// Any agent or model.
pub const ANY: u32 = u32::MAX;

/// A fault, with its point, tick and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSlot {
    /// Number of the rule, counted from 1.
    pub rule: u32,
    /// The point.
    pub point: FaultPoint,
    /// The kind.
    pub kind: FaultKind,
    /// The tick, or the first tick, depending on [`FaultPoint::pin`]; or [`ANY_TICK`].
    pub tick: Tick,
    /// The agent or model, depending on the point; or [`ANY`].
    pub subject: u32,
    /// Milliseconds, for [`FaultKind::Slow`].
    pub ms: u32,
}

impl FaultSlot {
    /// The first word of an armed slot, which the host echoes when the fault fires.
    pub(super) fn mark(&self, arming: u16) -> u64 {
        let what = u64::from(self.point.code()) | u64::from(self.kind.code()) << 8;
        u64::from(self.rule) | what << 32 | u64::from(arming) << 48
    }

    pub(super) fn matches(&self, point: FaultPoint, tick: Tick, subject: u32) -> bool {
        let any = self.tick == ANY_TICK;
        let in_time = match point.pin() {
            // Calls before the first tick are not steps.
            Pin::Exact => tick == self.tick || any && tick != Tick::ZERO,
            Pin::From => tick >= self.tick || any,
            Pin::Start => true,
        };
        self.point == point && in_time && (self.subject == ANY || self.subject == subject)
    }
}

/// Writes a slot.
pub(super) fn write<M: SegmentMemory>(down: &M, position: usize, slot: &FaultSlot, mark: u64) {
    let at = slot_at(position);
    down.store_u64(at, 0, Ordering::Relaxed);
    // A host that sees one of the words below also sees that the slot has changed.
    down.fence(Ordering::Release);
    down.store_u64(at + 8, slot.tick.0, Ordering::Relaxed);
    let who = u64::from(slot.subject) | u64::from(slot.ms) << 32;
    down.store_u64(at + 16, who, Ordering::Relaxed);
    // Release: pairs with the acquire load in `read`.
    down.store_u64(at, mark, Ordering::Release);
}

/// Clears a slot.
pub(super) fn clear<M: SegmentMemory>(down: &M, position: usize) {
    down.store_u64(slot_at(position), 0, Ordering::Release);
}

/// The slot and its mark, if it is armed and not being changed.
#[allow(clippy::cast_possible_truncation, reason = "halves and bytes of words")]
pub(super) fn read<M: SegmentMemory>(down: &M, position: usize) -> Option<(FaultSlot, u64)> {
    let at = slot_at(position);
    let mark = down.load_u64(at, Ordering::Acquire);
    if mark == 0 {
        return None;
    }
    let tick = Tick(down.load_u64(at + 8, Ordering::Relaxed));
    let who = down.load_u64(at + 16, Ordering::Relaxed);
    down.fence(Ordering::Acquire);
    if down.load_u64(at, Ordering::Relaxed) != mark {
        return None;
    }
    let slot = FaultSlot {
        rule: mark as u32,
        point: FaultPoint::from_code((mark >> 32) as u8)?,
        kind: FaultKind::from_code((mark >> 40) as u8)?,
        tick,
        subject: who as u32,
        ms: (who >> 32) as u32,
    };
    Some((slot, mark))
}

/// Acknowledges that a slot has fired.
pub(super) fn echo<M: SegmentMemory>(up: &M, position: usize, mark: u64) {
    // Release: earlier effects of the host are visible before the supervisor learns of the fault.
    up.store_u64(FIRED_AT + 8 * position, mark, Ordering::Release);
}

/// The last mark that a host has echoed for a slot.
pub(super) fn echoed<M: SegmentMemory>(up: &M, position: usize) -> u64 {
    up.load_u64(FIRED_AT + 8 * position, Ordering::Acquire)
}

fn slot_at(position: usize) -> usize {
    assert!(position < FAULT_SLOTS, "there are only {FAULT_SLOTS} slots");
    FAULT_SLOTS_AT + FAULT_SLOT_BYTES * position
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(point: FaultPoint, tick: Tick, subject: u32) -> FaultSlot {
        FaultSlot {
            rule: 3,
            point,
            kind: FaultKind::Kill,
            tick,
            subject,
            ms: 0,
        }
    }

    #[test]
    fn a_slot_holds_in_its_tick_or_from_it_on_as_its_point_says() {
        let exact = slot(FaultPoint::BeforeStep, Tick(17), ANY);
        let hits = [16, 17, 18].map(|tick| exact.matches(FaultPoint::BeforeStep, Tick(tick), 0));
        assert_eq!(hits, [false, true, false]);
        let from = slot(FaultPoint::BeforeBatch, Tick(17), ANY);
        let hits = [16, 17, 18].map(|tick| from.matches(FaultPoint::BeforeBatch, Tick(tick), 0));
        assert_eq!(hits, [false, true, true]);
        let start = slot(FaultPoint::ProcessStarted, Tick(17), ANY);
        assert!(start.matches(FaultPoint::ProcessStarted, Tick::ZERO, 0));
        let any = slot(FaultPoint::BeforeStep, ANY_TICK, ANY);
        assert!(any.matches(FaultPoint::BeforeStep, Tick(1), 0));
        let begins = slot(FaultPoint::InStep, ANY_TICK, ANY);
        assert!(!begins.matches(FaultPoint::InStep, Tick::ZERO, 0));
    }

    #[test]
    fn a_slot_holds_for_its_subject_and_its_point_alone() {
        let slot = slot(FaultPoint::BeforeStep, Tick(1), 5);
        assert!(slot.matches(FaultPoint::BeforeStep, Tick(1), 5));
        assert!(!slot.matches(FaultPoint::BeforeStep, Tick(1), 6));
        assert!(!slot.matches(FaultPoint::AfterStep, Tick(1), 5));
    }

    #[test]
    fn no_two_armings_of_a_slot_have_one_mark() {
        let slot = slot(FaultPoint::BeforeStep, Tick(1), 5);
        assert_ne!(slot.mark(1), slot.mark(2));
        assert_ne!(slot.mark(0), 0, "zero is an empty slot");
    }
}
