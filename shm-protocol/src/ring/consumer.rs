//! The reading end of a ring.
//!
//! The writer is not trusted. A header is copied once, the copy is checked, and the next position follows from the
//! checked copy alone. A payload is copied once and the copy is checked. A hostile writer can make the reader see wrong
//! data or a violation, but never make it leave the ring.

use super::bell::{Bell, Ringer, Wake};
use super::cursor::{payload_offset, record_bytes, sequence};
use super::error::RingViolation;
use super::header::{DIMS, HeaderFields, REST, RecordHeader, Terms, claims_dims};
use super::layout::{CONSUMED_AT, CONTROL_BYTES, FOR_SPACE, HEADER_BYTES, PAD};
use super::memory::SegmentMemory;
use super::producer::RingTerms;
use crate::planted::{Bug, planted};
use crate::sys::SharedMemory;
use crate::tensor::Shape;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// The reading end of a ring.
#[derive(Debug)]
pub struct Consumer<M, B = Bell> {
    /// The segment of the writer.
    ring: M,
    /// The segment of this end, for its progress.
    own: M,
    ringer: Ringer<B>,
    terms: Terms,
    /// Records that were found but not taken, for reading in place.
    found: VecDeque<CheckedRecord>,
    /// Position of the next record to be found.
    frontier: u64,
    /// End of the last record that was taken.
    taken: u64,
    /// The last value of `taken` that was published to the writer.
    told: u64,
    /// The writer's first violation, after which nothing more is read.
    violation: Option<RingViolation>,
}

/// The reading end of a ring in shared memory.
pub type SharedConsumer = Consumer<SharedMemory>;

/// A record whose header was copied and checked.
#[derive(Clone, Copy, Debug)]
struct CheckedRecord {
    record: HeaderFields,
    start: u64,
    end: u64,
}

impl<M: SegmentMemory, B: Wake> Consumer<M, B> {
    /// The end that reads the ring in `ring` and writes its progress to `own`.
    ///
    /// # Panics
    /// When the capacity is not a power of two, too small, or not that of `ring`.
    pub fn new(ring: M, own: M, bell: B, terms: RingTerms) -> Self {
        let terms = terms.checked();
        assert_eq!(
            ring.bytes() as u64,
            CONTROL_BYTES as u64 + terms.capacity.bytes(),
            "the segment fits its ring"
        );
        Consumer {
            ring,
            own,
            ringer: Ringer::new(bell),
            terms,
            found: VecDeque::new(),
            frontier: 0,
            taken: 0,
            told: 0,
            violation: None,
        }
    }

    /// True if there is no record yet. Cheap: one load, of a line that changes only when a record comes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.violation.is_none() && !self.is_there(self.frontier)
    }

    /// True if there is a record at this position. Any value but its sequence belongs to an earlier lap.
    #[inline]
    fn is_there(&self, position: u64) -> bool {
        // Acquire: pairs with the release store in `RingWriter::publish`.
        let found = self.ring.load_u64(self.at(position), Ordering::Acquire);
        found == sequence(position) || planted(Bug::SkipSequence) && found != 0
    }

    /// Copies the next record into `into`, checks it, and frees its space. `None` while there is none.
    ///
    /// # Errors
    /// When the writer violates the ring. The content of `into` is then unspecified.
    #[inline]
    pub fn try_take(&mut self, into: &mut Vec<u8>) -> Result<Option<RecordHeader>, RingViolation> {
        let found = match self.found.pop_front() {
            Some(found) => found,
            None => match self.find()? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if let Err(violation) = self.copy(&found, into) {
            return Err(*self.violation.insert(violation));
        }
        self.free_up_to(found.end);
        Ok(Some(found.record.header))
    }

    /// The record `ahead` records after the next one, in place. `None` while there is none.
    ///
    /// Its header is a checked copy. Its payload is not checked: read it in place only where the writer is trusted.
    ///
    /// # Errors
    /// When the writer violates the ring.
    #[inline]
    pub fn try_peek(
        &mut self,
        ahead: usize,
    ) -> Result<Option<RecordInPlace<'_, M, B>>, RingViolation> {
        while self.found.len() <= ahead {
            match self.find()? {
                Some(found) => self.found.push_back(found),
                None => return Ok(None),
            }
        }
        let found = &self.found[ahead];
        Ok(Some(RecordInPlace {
            header: found.record.header,
            found,
            consumer: self,
        }))
    }

    /// Frees the space of the first `records` records that were peeked at.
    ///
    /// # Panics
    /// When fewer records were peeked at.
    #[inline]
    pub fn release(&mut self, records: usize) {
        assert!(
            records <= self.found.len(),
            "{records} records were never peeked at"
        );
        for _ in 0..records {
            if let Some(found) = self.found.pop_front() {
                self.free_up_to(found.end);
            }
        }
    }

    /// Finds the record at the frontier and moves the frontier past it. `None` while there is none.
    #[inline(always)]
    fn find(&mut self) -> Result<Option<CheckedRecord>, RingViolation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        // At most one iteration for padding, which ends at the beginning of the ring, where padding is refused.
        loop {
            let position = self.frontier;
            if !self.is_there(position) {
                return Ok(None);
            }
            let record = self.check(position);
            let record = record
                .map_err(|reason| *self.violation.insert(RingViolation { position, reason }))?;
            if record.header.kind == PAD {
                self.frontier += HEADER_BYTES as u64 + record.payload_bytes;
                continue;
            }
            let end = position + record_bytes(record.payload_bytes, record.header.has_dims());
            self.frontier = end;
            return Ok(Some(CheckedRecord {
                record,
                start: position,
                end,
            }));
        }
    }

    /// Copies and checks the header at this position.
    #[inline(always)]
    fn check(&self, position: u64) -> Result<HeaderFields, &'static str> {
        let at = self.at(position);
        let rest = self.ring.read_words::<REST>(at + 8);
        let mut dims = None;
        if claims_dims(&rest) {
            if self.terms.capacity.to_end(position) == HEADER_BYTES as u64 {
                return Err("the record crosses the end of the ring");
            }
            dims = Some(self.ring.read_words::<DIMS>(at + HEADER_BYTES));
        }
        let mut record = self.terms.check(position, &rest, dims.as_ref())?;
        if planted(Bug::ReadLengthTwice) {
            record.payload_bytes = self.ring.read_words::<REST>(at + 8)[2];
        }
        if planted(Bug::ReadDimensionsTwice)
            && let Some((_, shape)) = &mut record.header.tensor
        {
            let dims = self.ring.read_words::<DIMS>(at + HEADER_BYTES);
            *shape = Shape::new(&dims[..shape.dims().len()]).expect("the rank is that of a shape");
        }
        // Records that are not taken yet still occupy the ring: the writer has no space beyond them.
        let end = position + record_bytes(record.payload_bytes, record.header.has_dims());
        if end - self.taken > self.terms.capacity.bytes() && !planted(Bug::AcceptOverwriting) {
            return Err("the record overwrites records that are not taken");
        }
        Ok(record)
    }

    /// Copies a payload once and checks the copy.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    fn copy(&self, found: &CheckedRecord, into: &mut Vec<u8>) -> Result<(), RingViolation> {
        let record = &found.record;
        self.ring
            .read_bytes(self.payload_at(found), record.payload_bytes as usize, into);
        match record.payload_checksum {
            Some(checksum)
                if crc32c::crc32c(into) != checksum && !planted(Bug::SkipPayloadChecksum) =>
            {
                Err(RingViolation {
                    position: found.start,
                    reason: "the payload does not match its checksum",
                })
            }
            _ => Ok(()),
        }
    }

    /// Offset in the segment of a payload.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    fn payload_at(&self, found: &CheckedRecord) -> usize {
        self.at(found.start) + payload_offset(found.record.header.has_dims()) as usize
    }

    #[inline]
    fn free_up_to(&mut self, end: u64) {
        self.taken = end;
        if self.taken - self.told >= self.terms.capacity.progress_step() {
            self.publish_progress();
        }
    }

    /// Publishes the progress to the writer, and wakes it if it waits for space.
    #[cold]
    fn publish_progress(&mut self) {
        self.told = self.taken;
        // Release: pairs with the acquire load in `RingWriter::read_progress`, so that everything before this is read
        // before the writer overwrites it.
        self.own
            .store_u64(CONSUMED_AT, self.taken, Ordering::Release);
        self.ringer.ring_if_waiting(&self.ring, FOR_SPACE);
    }

    #[inline]
    fn at(&self, position: u64) -> usize {
        CONTROL_BYTES + self.terms.capacity.offset(position)
    }
}

/// A record that is read in place. It stays there until it is released.
#[derive(Debug)]
pub struct RecordInPlace<'a, M = SharedMemory, B = Bell> {
    /// A checked copy of its header.
    pub header: RecordHeader,
    found: &'a CheckedRecord,
    consumer: &'a Consumer<M, B>,
}

impl<M: SegmentMemory, B: Wake> RecordInPlace<'_, M, B> {
    /// Bytes of the payload.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "layout asserts that a usize has 64 bits"
    )]
    pub fn payload_bytes(&self) -> usize {
        self.found.record.payload_bytes as usize
    }

    /// Replaces `into` by a copy of the payload, and checks the copy if the ring has payload checksums.
    ///
    /// # Errors
    /// When the payload does not match its checksum.
    pub fn copy_to(&self, into: &mut Vec<u8>) -> Result<(), RingViolation> {
        self.consumer.copy(self.found, into)
    }
}

impl<B: Wake> RecordInPlace<'_, SharedMemory, B> {
    /// The address of the payload: aligned to 64 bytes, [`RecordInPlace::payload_bytes`] long, and valid until the
    /// record is released or the consumer dropped. The writer can change the bytes, also after a checksum was checked.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.consumer
            .ring
            .pointer(self.consumer.payload_at(self.found), self.payload_bytes())
    }
}
