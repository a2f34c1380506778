//! Injected faults of the ring: the fault points of a record, and records that no correct writer writes. A ring without
//! faults never runs this code.

use super::RingWriter;
use crate::fault::{self, FaultKind, FaultPoint};
use crate::id::Tick;
use crate::ring::cursor::{RecordSpan, payload_offset, record_bytes, sequence};
use crate::ring::header::{HeaderWords, REST};
use crate::ring::memory::SegmentMemory;
use std::sync::atomic::Ordering;

impl<M: SegmentMemory> RingWriter<M> {
    /// From now on records pass the fault points of the ring.
    pub(in crate::ring) fn pass_points(&mut self) {
        self.points = Some(Box::default());
    }

    /// Passes the point at which a record of this tick has its place.
    #[cold]
    #[inline(never)]
    pub(in crate::ring) fn pass_reserved(&mut self, tick: Tick) {
        if let Some(points) = &mut self.points {
            points.tick = tick;
            fault::at_ring(FaultPoint::RingReserved, tick);
        }
    }

    /// Writes a payload, and passes the point after its first half.
    pub(in crate::ring) fn write_in_halves(&self, at: usize, payload: &[u8]) {
        let (first, second) = payload.split_at(payload.len() / 2);
        self.own.write_bytes(at, first);
        self.pass_half_payload();
        self.own.write_bytes(at + first.len(), second);
    }

    /// Passes the point at which half of a payload is written. A payload written in place is complete by then, which
    /// makes no difference for a record that is never published.
    #[cold]
    #[inline(never)]
    pub(in crate::ring) fn pass_half_payload(&self) {
        if fault::take_spoil(|kind| kind == FaultKind::TornSlot).is_some() {
            fault::park();
        }
        if let Some(points) = &self.points {
            fault::at_ring(FaultPoint::RingHalfPayload, points.tick);
        }
    }

    /// Completes a record as [`RingWriter::stage`] does, and corrupts it if a fault is armed.
    #[cold]
    #[inline(never)]
    pub(in crate::ring) fn stage_or_spoil(
        &mut self,
        place: RecordSpan,
        encoded: &HeaderWords,
        checksum: u32,
    ) {
        self.stage(place, encoded, |_| checksum);
        let Some(kind) = fault::take_spoil(|_| true) else {
            return;
        };
        let header_at = self.at(place.start);
        let payload_at = header_at + offset_in_memory(payload_offset(encoded.dims.is_some()));
        let payload_bytes = encoded.payload_bytes();
        // Another bit for each record, so that a plan with many of them covers all.
        let line = place.start / 64;
        match kind {
            FaultKind::CorruptPayload if payload_bytes > 0 => self.flip(payload_at, line % 8),
            FaultKind::CorruptHeader | FaultKind::CorruptPayload => {
                let word = offset_in_memory(1 + line % REST as u64);
                self.flip(header_at + 8 * word, line % 64);
            }
            FaultKind::StaleSequence => {
                let earlier = sequence(place.start).checked_sub(self.capacity().bytes());
                let stale = earlier.unwrap_or(place.start);
                self.own.store_u64(header_at, stale, Ordering::Relaxed);
                // Publication must not correct it.
                self.staged.take_if(|staged| *staged == place.start);
            }
            FaultKind::RepeatedSequence => self.repeat(place, encoded, checksum),
            _ => fault::park(),
        }
        if let Some(points) = &mut self.points {
            points.must_park = true;
        }
    }

    fn flip(&self, at: usize, bit: u64) {
        let word = self.own.load_u64(at, Ordering::Relaxed);
        self.own.store_u64(at, word ^ 1 << bit, Ordering::Relaxed);
    }

    /// Stages the last record a second time, after itself. If there is no room, it is not repeated.
    fn repeat(&mut self, place: RecordSpan, encoded: &HeaderWords, checksum: u32) {
        let payload_bytes = encoded.payload_bytes();
        let has_dims = encoded.dims.is_some();
        let again = self
            .capacity()
            .place(self.head, record_bytes(payload_bytes, has_dims));
        if !self.capacity().has_room(again.end, self.consumed) {
            return;
        }
        let payload_at =
            |place: &RecordSpan| self.at(place.start) + offset_in_memory(payload_offset(has_dims));
        let mut payload = Vec::new();
        self.own.read_bytes(
            payload_at(&place),
            offset_in_memory(payload_bytes),
            &mut payload,
        );
        self.own.write_bytes(payload_at(&again), &payload);
        self.stage(again, encoded, |_| checksum);
    }

    #[cold]
    #[inline(never)]
    pub(super) fn publish_with_points(&mut self) {
        let Some(points) = &self.points else { return };
        let (tick, must_park, is_staged) = (points.tick, points.must_park, self.staged.is_some());
        if is_staged {
            fault::at_ring(FaultPoint::RingBeforePublish, tick);
        }
        self.publish_staged();
        if is_staged {
            fault::at_ring(FaultPoint::RingAfterPublish, tick);
        }
        if must_park {
            fault::park();
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "layout asserts that a usize has 64 bits"
)]
fn offset_in_memory(bytes: u64) -> usize {
    bytes as usize
}
