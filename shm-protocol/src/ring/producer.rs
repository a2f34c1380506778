//! The writing end of a ring.

use super::bell::{Bell, Ringer, Wake};
use super::cursor::{Capacity, RecordSpan};
use super::error::PushError;
use super::header::{HeaderWords, RecordHeader, Terms};
use super::layout::FOR_RECORDS;
use super::memory::SegmentMemory;
use super::writer::RingWriter;
use crate::id::Incarnation;
use crate::sys::SharedMemory;

/// The parameters of a ring, which must be the same at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingTerms {
    /// Bytes of the ring's data, a power of two of at least [`super::layout::MIN_CAPACITY`].
    pub capacity_bytes: usize,
    /// The incarnation of the host that the link is for.
    pub incarnation: Incarnation,
    /// Payloads have a checksum. Not needed if the reader trusts the writer and no other process can write.
    pub payload_checksums: bool,
}

impl RingTerms {
    pub(super) fn checked(self) -> Terms {
        let capacity = Capacity::new(self.capacity_bytes)
            .expect("the capacity is a power of two and not too small");
        Terms {
            capacity,
            incarnation: self.incarnation,
            payload_checksums: self.payload_checksums,
        }
    }
}

/// The writing end of a ring.
#[derive(Debug)]
pub struct Producer<M, B = Bell> {
    writer: RingWriter<M>,
    ringer: Ringer<B>,
    /// Length of the last payload, if it did not fit.
    starved_for: Option<usize>,
}

/// The writing end of a ring in shared memory.
pub type SharedProducer = Producer<SharedMemory>;

impl<M: SegmentMemory, B: Wake> Producer<M, B> {
    /// The end that writes the ring in `own`, which is fresh and zero, and reads its reader's progress in `peer`.
    ///
    /// # Panics
    /// When the capacity is not a power of two, too small, or not that of `own`.
    pub fn new(own: M, peer: M, bell: B, terms: RingTerms) -> Self {
        Producer {
            writer: RingWriter::new(own, peer, terms.checked()),
            ringer: Ringer::new(bell),
            starved_for: None,
        }
    }

    /// From now on records pass the points of [`crate::fault`].
    pub(crate) fn pass_points(&mut self) {
        self.writer.pass_points();
    }

    /// Maximum bytes of a payload: a quarter of the capacity.
    #[must_use]
    pub fn max_payload_bytes(&self) -> usize {
        self.writer.max_payload_bytes()
    }

    /// Space for a record, to be filled in place. `None` while the ring is full.
    ///
    /// # Errors
    /// When the payload can never fit, is not as long as the tensor, or the reader violates the ring.
    #[inline]
    pub fn try_reserve(
        &mut self,
        header: &RecordHeader,
        payload_bytes: usize,
    ) -> Result<Option<Reservation<'_, M>>, PushError> {
        let place = self.writer.find_place(header, payload_bytes)?;
        self.starved_for = place.is_none().then_some(payload_bytes);
        let Some(place) = place else { return Ok(None) };
        if self.writer.has_points() {
            self.writer.pass_reserved(header.tick);
        }
        let writer = &mut self.writer;
        let payload_at = writer.payload_at(&place, header);
        let encoded = writer.encode(header, payload_bytes);
        Ok(Some(Reservation {
            writer,
            encoded,
            place,
            payload_at,
            payload_bytes,
        }))
    }

    /// Copies a record into the ring and publishes it. `false` while the ring is full.
    ///
    /// # Errors
    /// When the payload can never fit, is not as long as the tensor, or the reader violates the ring.
    #[inline]
    pub fn try_push(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<bool, PushError> {
        let is_staged = self.try_stage(header, payload)?;
        if is_staged {
            self.publish();
        }
        Ok(is_staged)
    }

    /// Copies a record into the ring, invisible to the reader until [`Producer::publish`]. `false` while the ring is
    /// full.
    ///
    /// # Errors
    /// When the payload can never fit, is not as long as the tensor, or the reader violates the ring.
    #[inline]
    pub fn try_stage(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<bool, PushError> {
        if self.writer.has_points() {
            return self.try_stage_with_points(header, payload);
        }
        let place = self.writer.find_place(header, payload.len())?;
        self.starved_for = place.is_none().then_some(payload.len());
        let Some(place) = place else { return Ok(false) };
        self.writer
            .own()
            .write_bytes(self.writer.payload_at(&place, header), payload);
        let encoded = self.writer.encode(header, payload.len());
        self.writer
            .stage(place, &encoded, |_| crc32c::crc32c(payload));
        Ok(true)
    }

    /// Like [`Producer::try_stage`], in a host with fault injection.
    #[cold]
    #[inline(never)]
    fn try_stage_with_points(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
    ) -> Result<bool, PushError> {
        let place = self.writer.find_place(header, payload.len())?;
        self.starved_for = place.is_none().then_some(payload.len());
        let Some(place) = place else { return Ok(false) };
        self.writer.pass_reserved(header.tick);
        let payload_at = self.writer.payload_at(&place, header);
        self.writer.write_in_halves(payload_at, payload);
        let encoded = self.writer.encode(header, payload.len());
        let checksum = crc32c::crc32c(payload);
        self.writer.stage_or_spoil(place, &encoded, checksum);
        Ok(true)
    }

    /// Makes all staged records visible to the reader at once.
    #[inline]
    pub fn publish(&mut self) {
        self.writer.publish();
    }

    /// Wakes the reader if it sleeps. To be called once after a group of records.
    #[inline]
    pub fn notify(&mut self) {
        self.ringer.ring_if_waiting(self.writer.peer(), FOR_RECORDS);
    }

    /// Length of the payload of the last record, if that record did not fit.
    #[must_use]
    pub fn starved_for(&self) -> Option<usize> {
        self.starved_for
    }

    /// True if a record of this length fits now, with or without dimensions.
    ///
    /// # Errors
    /// When it can never fit, or the reader violates the ring.
    pub fn has_space_for(&mut self, payload_bytes: usize) -> Result<bool, PushError> {
        self.writer.has_space_for(payload_bytes)
    }
}

/// Space for one record. Dropped without publishing, it leaves the ring as it was.
#[derive(Debug)]
pub struct Reservation<'a, M> {
    writer: &'a mut RingWriter<M>,
    encoded: HeaderWords,
    place: RecordSpan,
    /// Offset of the payload in the segment.
    payload_at: usize,
    payload_bytes: usize,
}

impl<M: SegmentMemory> Reservation<'_, M> {
    /// Bytes of the payload.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// Writes a part of the payload. Parts that are not written keep bytes of earlier records.
    ///
    /// # Panics
    /// When the part exceeds the payload.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset
            .checked_add(bytes.len())
            .expect("an offset within the payload");
        assert!(
            end <= self.payload_bytes,
            "{end} exceeds the payload of {} bytes",
            self.payload_bytes
        );
        self.writer
            .own()
            .write_bytes(self.payload_at + offset, bytes);
    }

    /// Makes the record and all staged records visible to the reader.
    #[inline]
    pub fn publish(mut self) {
        self.complete().publish();
    }

    /// Completes the record, invisible to the reader until [`Producer::publish`].
    #[inline]
    pub fn stage(mut self) {
        self.complete();
    }

    #[inline]
    fn complete(&mut self) -> &mut RingWriter<M> {
        let (at, bytes) = (self.payload_at, self.payload_bytes);
        if self.writer.has_points() {
            self.writer.pass_half_payload();
            let checksum = self.writer.own().checksum(at, bytes);
            self.writer
                .stage_or_spoil(self.place, &self.encoded, checksum);
            return self.writer;
        }
        self.writer
            .stage(self.place, &self.encoded, |own| own.checksum(at, bytes));
        self.writer
    }
}

impl Reservation<'_, SharedMemory> {
    /// The address of the payload: aligned to 64 bytes, as long as requested, and valid until the reservation ends. No
    /// other code writes there.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.writer
            .own()
            .own_pointer(self.payload_at, self.payload_bytes)
    }
}
