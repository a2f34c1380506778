//! The writing of records into the ring: finding the place, writing header and payload, and publishing.
//!
//! Invariants on which the reader relies:
//!
//! 1. The word at the reader's next position is not the sequence of that position until the record there is complete.
//!    Fresh memory is zero, which is not a sequence. Later laps find old bytes of headers or payloads; if they equal
//!    the sequence, staging the record *before* them clears it, and the reader gets there only through that record.
//! 2. Nothing between the reader's progress and the head is ever written.

mod spoil;

use super::cursor::{
    Capacity, RecordSpan, is_possible_progress, payload_offset, record_bytes, sequence,
};
use super::error::{PushError, RingViolation};
use super::header::{HeaderWords, REST, RecordHeader, Terms};
use super::layout::{CONSUMED_AT, CONTROL_BYTES, HEADER_BYTES, PAD};
use super::memory::SegmentMemory;
use crate::id::Tick;
use std::sync::atomic::Ordering;

/// State of the injected faults of a writer, from a record's reservation to its publication.
#[derive(Debug, Default)]
struct WriterFaults {
    /// The tick of the record that is being written.
    tick: Tick,
    /// A corrupted record is staged, so it must be the last one.
    must_park: bool,
}

/// The writing end of a ring, without the waking.
#[derive(Debug)]
pub(super) struct RingWriter<M> {
    /// The segment of this end.
    own: M,
    /// The segment of the reader, for its progress.
    peer: M,
    terms: Terms,
    /// First position that is not written.
    head: u64,
    /// Position of the first record that is written but not published.
    staged: Option<u64>,
    /// The last reported progress of the reader that was found possible.
    consumed: u64,
    /// Injected faults, which only a host's ring has, and only if its supervisor allows them. Boxed to keep the writer
    /// small without them.
    points: Option<Box<WriterFaults>>,
}

impl<M: SegmentMemory> RingWriter<M> {
    pub(super) fn new(own: M, peer: M, terms: Terms) -> Self {
        assert_eq!(
            own.bytes() as u64,
            CONTROL_BYTES as u64 + terms.capacity.bytes(),
            "the segment fits its ring"
        );
        RingWriter {
            own,
            peer,
            terms,
            head: 0,
            staged: None,
            consumed: 0,
            points: None,
        }
    }

    pub(super) fn peer(&self) -> &M {
        &self.peer
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    pub(super) fn max_payload_bytes(&self) -> usize {
        self.terms.capacity.max_payload_bytes() as usize
    }

    /// The place of a record with this header, or `None` while the ring is full.
    #[inline]
    pub(super) fn find_place(
        &mut self,
        header: &RecordHeader,
        payload_bytes: usize,
    ) -> Result<Option<RecordSpan>, PushError> {
        assert_ne!(header.kind, PAD, "this kind is the ring's own");
        if payload_bytes > self.max_payload_bytes() {
            return Err(PushError::TooLarge {
                bytes: payload_bytes,
                limit: self.max_payload_bytes(),
            });
        }
        if let Some((dtype, shape)) = header.tensor {
            let expected = shape.bytes(dtype)?;
            if expected != payload_bytes {
                let actual = payload_bytes;
                return Err(crate::tensor::TensorError::Length {
                    dtype,
                    shape,
                    expected,
                    actual,
                }
                .into());
            }
        }
        let place = self.capacity().place(
            self.head,
            record_bytes(payload_bytes as u64, header.has_dims()),
        );
        if !self.capacity().has_room(place.end, self.consumed) {
            self.read_progress()?;
        }
        Ok(self
            .capacity()
            .has_room(place.end, self.consumed)
            .then_some(place))
    }

    /// True if a record of this length fits now, with or without dimensions.
    pub(super) fn has_space_for(&mut self, payload_bytes: usize) -> Result<bool, PushError> {
        if payload_bytes > self.max_payload_bytes() {
            return Err(PushError::TooLarge {
                bytes: payload_bytes,
                limit: self.max_payload_bytes(),
            });
        }
        self.read_progress()?;
        let place = self
            .capacity()
            .place(self.head, record_bytes(payload_bytes as u64, true));
        Ok(self.capacity().has_room(place.end, self.consumed))
    }

    /// Reads the reader's progress and checks that it is possible.
    #[cold]
    fn read_progress(&mut self) -> Result<(), RingViolation> {
        // Acquire: pairs with the release store in `Consumer::publish_progress`, so that what the reader read is read
        // before it is overwritten.
        let reported = self.peer.load_u64(CONSUMED_AT, Ordering::Acquire);
        if !is_possible_progress(reported, self.consumed, self.head) {
            return Err(RingViolation {
                position: reported,
                reason: "the reader reports an impossible position",
            });
        }
        self.consumed = reported;
        Ok(())
    }

    /// Offset in the segment of the payload of a record.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    pub(super) fn payload_at(&self, place: &RecordSpan, header: &RecordHeader) -> usize {
        self.at(place.start) + payload_offset(header.has_dims()) as usize
    }

    pub(super) fn own(&self) -> &M {
        &self.own
    }

    /// The words of a header for this ring. They are made once and early, because passing the header itself on would
    /// copy it repeatedly.
    #[inline]
    pub(super) fn encode(&self, header: &RecordHeader, payload_bytes: usize) -> HeaderWords {
        HeaderWords::new(header, self.terms.incarnation, payload_bytes as u64)
    }

    /// True if records pass fault points.
    #[inline]
    pub(super) fn has_points(&self) -> bool {
        self.points.is_some()
    }

    /// Completes a record whose payload is written, for [`RingWriter::publish`].
    #[inline]
    pub(super) fn stage(
        &mut self,
        place: RecordSpan,
        encoded: &HeaderWords,
        checksum: impl FnOnce(&M) -> u32,
    ) {
        self.clear(place.end);
        let checksum = self.terms.payload_checksums.then(|| checksum(&self.own));
        if let Some(dims) = encoded.dims {
            self.own
                .write_words(self.at(place.start) + HEADER_BYTES, dims);
        }
        if place.pad_bytes > 0 {
            let pad = HeaderWords::pad(place.pad_bytes, self.terms.incarnation);
            self.put(self.head, pad.seal(None, self.head));
        }
        self.put(place.start, encoded.seal(checksum, place.start));
        self.head = place.end;
    }

    /// Establishes invariant 1 for the position after a record.
    #[inline]
    fn clear(&mut self, position: u64) {
        let at = self.at(position);
        // Rarely true. An unconditional store would take the line from the reader, which is about to poll it. Relaxed:
        // the release store in `publish` orders it, and no other code writes here.
        if self.own.load_u64(at, Ordering::Relaxed) == sequence(position) {
            self.own.store_u64(at, 0, Ordering::Relaxed);
        }
    }

    /// Writes a header. The first one since the last publication is written without its sequence. The reader cannot
    /// pass it, so those after it get theirs at once.
    #[inline]
    fn put(&mut self, position: u64, rest: [u64; REST]) {
        let at = self.at(position);
        self.own.write_words(at + 8, rest);
        match self.staged {
            None => self.staged = Some(position),
            Some(_) => self
                .own
                .store_u64(at, sequence(position), Ordering::Relaxed),
        }
    }

    /// Makes all staged records visible to the reader at once.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.has_points() {
            return self.publish_with_points();
        }
        self.publish_staged();
    }

    #[inline]
    fn publish_staged(&mut self) {
        if let Some(position) = self.staged.take() {
            // Release: pairs with the acquire load in `Consumer::find`, so that a reader that sees the sequence sees
            // the record, the records staged after it, and that there is none after the last one.
            self.own
                .store_u64(self.at(position), sequence(position), Ordering::Release);
        }
    }

    #[inline]
    fn at(&self, position: u64) -> usize {
        CONTROL_BYTES + self.capacity().offset(position)
    }

    #[inline]
    fn capacity(&self) -> Capacity {
        self.terms.capacity
    }
}
