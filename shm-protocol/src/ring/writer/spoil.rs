//! Injected faults of the ring: the points that a record passes on its way, and
//! records that no sound writer writes. A ring without faults never comes here.

use super::RingWriter;
use crate::fault::{self, FaultKind, FaultPoint};
use crate::id::Tick;
use crate::ring::cursor::{RecordSpan, payload_offset, record_bytes, sequence};
use crate::ring::header::{HeaderWords, REST};
use crate::ring::memory::SegmentMemory;
use std::sync::atomic::Ordering;

/// What a writer with faults remembers from a record's place to its publishing.
#[derive(Debug)]
pub(super) struct WriterFaults {
    /// The tick of the record that is being written.
    tick: Tick,
    /// Whether a spoiled record is staged: it is the last one.
    must_park: bool,
}

impl<M: SegmentMemory> RingWriter<M> {
    /// From now on records pass the points of the ring.
    pub(in crate::ring) fn pass_points(&mut self) {
        self.points = Some(Box::new(WriterFaults {
            tick: Tick::ZERO,
            must_park: false,
        }));
    }

    /// There is room for a record of this tick.
    #[cold]
    #[inline(never)]
    pub(in crate::ring) fn pass_reserved(&mut self, tick: Tick) {
        if let Some(points) = &mut self.points {
            points.tick = tick;
            fault::at_ring(FaultPoint::RingReserved, tick);
        }
    }

    /// Writes a payload, and passes the point in its middle.
    pub(in crate::ring) fn write_in_halves(&self, at: usize, payload: &[u8]) {
        let (first, second) = payload.split_at(payload.len() / 2);
        self.own.write_bytes(at, first);
        self.pass_half_payload();
        self.own.write_bytes(at + first.len(), second);
    }

    /// Half of a payload is written. A payload that somebody else has written in place is whole by now, and as good
    /// as half of one for a record that never comes.
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

    /// Completes a record as [`Writer::stage`] does, and spoils it, if a fault asks for that.
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
        // Another bit of each record, so that a plan with many of them comes to all.
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
                // Publishing must not mend it.
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

    /// Stages the last record again, behind itself. Without room for it there is no second one.
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
        self.show();
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
