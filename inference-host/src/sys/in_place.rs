//! Tensors over the records of a ring, without a copy.

use super::tensor::{TensorPlace, TensorView};
use shm_protocol::ring::{
    PushError, RecordHeader, Reservation, RingViolation, SharedConsumer, SharedProducer,
};
use shm_protocol::sys::SharedMemory;
use shm_protocol::tensor::{DType, Shape, TensorError};

/// Records that wait in a ring. While this value lives nobody can release them, because it borrows the consumer.
#[derive(Debug)]
pub(crate) struct WaitingRecords<'l> {
    records: Vec<WaitingRecord>,
    _ring: &'l mut SharedConsumer,
}

/// A record that waits in a ring. Its pointer is never handed out but as a view that borrows from [`WaitingRecords`].
#[derive(Debug)]
struct WaitingRecord {
    header: RecordHeader,
    data: *const u8,
    bytes: usize,
}

impl<'l> WaitingRecords<'l> {
    /// The `count` records from `first` on, counted from the next one. `None` while they are not all there.
    pub(crate) fn collect(
        ring: &'l mut SharedConsumer,
        first: usize,
        count: usize,
    ) -> Result<Option<WaitingRecords<'l>>, RingViolation> {
        let mut records = Vec::with_capacity(count);
        for ahead in first..first + count {
            let Some(peeked) = ring.try_peek(ahead)? else {
                return Ok(None);
            };
            records.push(WaitingRecord {
                header: peeked.header,
                data: peeked.as_ptr(),
                bytes: peeked.payload_bytes(),
            });
        }
        Ok(Some(WaitingRecords {
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

/// A record of the ring up that is being filled with a tensor.
#[derive(Debug)]
pub(crate) struct OutputRecord<'l> {
    reservation: Reservation<'l, SharedMemory>,
    dtype: DType,
    shape: Shape,
    bytes: usize,
}

impl<'l> OutputRecord<'l> {
    /// Reserves room for the tensor that `header` describes. `None` while the ring is full.
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

    /// The payload of the record as the place of the tensor.
    pub(crate) fn place(&mut self) -> Result<TensorPlace<'_>, TensorError> {
        let data = self.reservation.as_mut_ptr();
        // SAFETY: `bytes` is what was reserved, and a reservation's payload is as long as was asked for, mapped
        // writable, and nobody else's in this process until it is published or dropped. Either needs the
        // reservation, which the place borrows mutably.
        unsafe { TensorPlace::of_shared(self.dtype, self.shape, data, self.bytes) }
    }

    /// Makes the record visible to the supervisor.
    pub(crate) fn publish(self) {
        self.reservation.publish();
    }
}
