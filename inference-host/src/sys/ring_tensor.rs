//! Tensors in the records of a ring, without a copy.

use super::tensor::{TensorView, TensorViewMut};
use shm_protocol::ring::{
    PushError, RecordHeader, Reservation, RingViolation, SharedConsumer, SharedProducer,
};
use shm_protocol::sys::SharedMemory;
use shm_protocol::tensor::{DType, Shape, TensorError};

/// Unread records of a ring. While this value lives nobody can release them, because it borrows the consumer.
#[derive(Debug)]
pub(crate) struct PendingRecords<'l> {
    records: Vec<PendingRecord>,
    _ring: &'l mut SharedConsumer,
}

/// A record that waits in a ring. Its pointer is never handed out but as a view that borrows from [`WaitingRecords`].
#[derive(Debug)]
struct PendingRecord {
    header: RecordHeader,
    data: *const u8,
    bytes: usize,
}

impl<'l> PendingRecords<'l> {
    /// The `count` records from `first` on, counted from the next one. `None` while they are not all there.
    pub(crate) fn collect(
        ring: &'l mut SharedConsumer,
        first: usize,
        count: usize,
    ) -> Result<Option<PendingRecords<'l>>, RingViolation> {
        let mut records = Vec::with_capacity(count);
        for ahead in first..first + count {
            let Some(peeked) = ring.try_peek(ahead)? else {
                return Ok(None);
            };
            records.push(PendingRecord {
                header: peeked.header,
                data: peeked.as_ptr(),
                bytes: peeked.payload_bytes(),
            });
        }
        Ok(Some(PendingRecords {
            records,
            _ring: ring,
        }))
    }

    /// Their headers, in order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &RecordHeader> {
        self.records.iter().map(|record| &record.header)
    }

    /// The payload of one of them as a tensor.
    ///
    /// # Panics
    /// When there are not as many records.
    pub(crate) fn view(
        &self,
        index: usize,
        dtype: DType,
        shape: Shape,
    ) -> Result<TensorView<'_>, TensorError> {
        let record = &self.records[index];
        // SAFETY: pointer and length were taken together from one record of the consumer that this value borrows. A
        // consumer gives out only payloads within its own mapping, which lives as long as it does, so they are
        // mapped readable for as long as the view borrows this value.
        unsafe { TensorView::of_shared(dtype, shape, record.data, record.bytes) }
    }
}

/// A record of the ring to the supervisor that is being filled with a tensor.
#[derive(Debug)]
pub(crate) struct OutputRecord<'l> {
    reservation: Reservation<'l, SharedMemory>,
    dtype: DType,
    shape: Shape,
    bytes: usize,
}

impl<'l> OutputRecord<'l> {
    /// Reserves space for the tensor that `header` describes. `None` while the ring is full.
    pub(crate) fn reserve(
        ring: &'l mut SharedProducer,
        header: &RecordHeader,
        dtype: DType,
        shape: Shape,
        bytes: usize,
    ) -> Result<Option<OutputRecord<'l>>, PushError> {
        let reservation = ring.try_reserve(header, bytes)?;
        Ok(reservation.map(|reservation| OutputRecord {
            reservation,
            dtype,
            shape,
            bytes,
        }))
    }

    /// The payload of the record as a tensor to write.
    pub(crate) fn view_mut(&mut self) -> Result<TensorViewMut<'_>, TensorError> {
        let data = self.reservation.as_mut_ptr();
        // SAFETY: `bytes` is what was reserved, and a reservation's payload is as long as was asked for, mapped
        // writable, and nobody else's in this process until it is published or dropped. Either needs the
        // reservation, which the view borrows mutably.
        unsafe { TensorViewMut::of_shared(self.dtype, self.shape, data, self.bytes) }
    }

    /// Makes the record visible to the supervisor.
    pub(crate) fn publish(self) {
        self.reservation.publish();
    }
}
