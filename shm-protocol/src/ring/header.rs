//! The header of a record, and its encoding in 64 bytes.

use super::cursor::{Capacity, record_bytes, sequence};
use super::layout::{DIMS_BYTES, HEADER_BYTES, PAD, PAYLOAD_CHECKED};
use crate::id::{Incarnation, Tick};
use crate::limit;
use crate::planted::{Bug, planted};
use crate::sys::checksum_words;
use crate::tensor::{DType, Shape};

/// The header of a record, without its sequence, length and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The tick that the record belongs to.
    pub tick: Tick,
    /// The incarnation of the host that the link was created for. Set by the producer.
    pub incarnation: Incarnation,
    /// The kind of the payload; the numbers are defined beside the messages.
    pub kind: u16,
    /// Number of the agent, model, input or output, depending on the kind.
    pub subject: u32,
    /// Number of the batch, depending on the kind.
    pub correlation: u64,
    /// Element type and dimensions, if the payload is a tensor.
    pub tensor: Option<(DType, Shape)>,
}

impl RecordHeader {
    /// A header without subject, correlation and tensor.
    #[must_use]
    pub fn new(kind: u16, tick: Tick) -> Self {
        RecordHeader {
            tick,
            incarnation: Incarnation(0),
            kind,
            subject: 0,
            correlation: 0,
            tensor: None,
        }
    }

    #[inline]
    pub(super) fn has_dims(&self) -> bool {
        self.tensor
            .is_some_and(|(_, shape)| !shape.dims().is_empty())
    }
}

/// Words of the header after its sequence.
pub(super) const REST: usize = HEADER_BYTES / 8 - 1;
/// Words of the dimensions.
pub(super) const DIMS: usize = DIMS_BYTES / 8;

/// All fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderFields {
    pub(super) header: RecordHeader,
    pub(super) payload_bytes: u64,
    /// CRC32C of the payload, if the writer gave one.
    pub(super) payload_checksum: Option<u32>,
}

/// A header as words in memory, without the sequence and the checksums.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderWords {
    rest: [u64; REST],
    /// The dimensions, if the rank is above zero.
    pub(super) dims: Option<[u64; DIMS]>,
}

impl HeaderWords {
    #[inline]
    pub(super) fn new(
        header: &RecordHeader,
        incarnation: Incarnation,
        payload_bytes: u64,
    ) -> HeaderWords {
        let (dtype, rank, dims) = match &header.tensor {
            None => (0, 0, None),
            Some((dtype, shape)) if shape.dims().is_empty() => (*dtype as u64, 0, None),
            Some((dtype, shape)) => (
                *dtype as u64,
                shape.dims().len() as u64,
                Some(dim_words(shape)),
            ),
        };
        let who = u64::from(header.subject) | u64::from(incarnation.0) << 32;
        let what = u64::from(header.kind) | dtype << 16 | rank << 24;
        HeaderWords {
            rest: [
                header.tick.0,
                header.correlation,
                payload_bytes,
                who,
                what,
                0,
                0,
            ],
            dims,
        }
    }

    /// Bytes of the payload.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.rest[2]
    }

    /// Padding that fills `bytes`, its header included.
    pub(super) fn pad(bytes: u64, incarnation: Incarnation) -> HeaderWords {
        HeaderWords::new(
            &RecordHeader::new(PAD, Tick::ZERO),
            incarnation,
            bytes - HEADER_BYTES as u64,
        )
    }

    /// The words for this position, with their checksums. `None` in a ring without payload checksums.
    #[inline]
    pub(super) fn seal(&self, payload_checksum: Option<u32>, position: u64) -> [u64; REST] {
        let mut rest = self.rest;
        if let Some(checksum) = payload_checksum {
            rest[4] |= u64::from(PAYLOAD_CHECKED) << 32;
            rest[6] |= u64::from(checksum);
        }
        rest[6] |= u64::from(header_checksum(position, &rest, self.dims.as_ref())) << 32;
        rest
    }
}

/// The words of dimensions: zero beyond the rank.
#[inline]
fn dim_words(shape: &Shape) -> [u64; DIMS] {
    let mut words = [0; DIMS];
    words[..shape.dims().len()].copy_from_slice(shape.dims());
    words
}

/// CRC32C of sequence, header with its checksum as zero, and dimensions if there are any.
#[inline]
fn header_checksum(position: u64, rest: &[u64; REST], dims: Option<&[u64; DIMS]>) -> u32 {
    let [a, b, c, d, e, f, checksums] = *rest;
    let words = [
        sequence(position),
        a,
        b,
        c,
        d,
        e,
        f,
        checksums & u64::from(u32::MAX),
    ];
    let checksum = checksum_words(0, &words);
    dims.map_or(checksum, |dims| checksum_words(checksum, dims))
}

/// True if the unchecked rank of a header is not zero, so that dimensions must be read as well.
#[inline]
pub(super) fn claims_dims(rest: &[u64; REST]) -> bool {
    rest[4] >> 24 & 0xff != 0
}

/// The parameters of a ring that both ends share. Headers are checked against them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) capacity: Capacity,
    pub(super) incarnation: Incarnation,
    /// Every payload has a checksum if true, none otherwise.
    pub(super) payload_checksums: bool,
}

impl Terms {
    /// Checks a private copy of a header that was found at `position`, and of its dimensions if it claims any.
    ///
    /// After this, the record lies within the lap of `position`, and the payload is as long as the tensor.
    #[inline(always)]
    pub(super) fn check(
        &self,
        position: u64,
        rest: &[u64; REST],
        dims: Option<&[u64; DIMS]>,
    ) -> Result<HeaderFields, &'static str> {
        let [
            tick,
            correlation,
            payload_bytes,
            who,
            what,
            reserved,
            checksums,
        ] = *rest;
        let (kind, dtype, rank, flags) = (
            low_u16(what),
            low_u8(what >> 16),
            low_u8(what >> 24),
            low_u32(what >> 32),
        );
        if header_checksum(position, rest, dims) != low_u32(checksums >> 32) {
            return Err("the header does not match its checksum");
        }
        let incarnation = Incarnation(low_u32(who >> 32));
        if incarnation != self.incarnation && !planted(Bug::AcceptDeadIncarnation) {
            return Err("the record is of another incarnation");
        }
        if reserved != 0 {
            return Err("reserved bytes are not zero");
        }
        let tensor = tensor(dtype, rank, dims)?;
        self.check_extent(position, kind, payload_bytes, rank > 0)?;
        if let Some((dtype, shape)) = tensor
            && shape.bytes(dtype).ok().map(|bytes| bytes as u64) != Some(payload_bytes)
        {
            return Err("the payload is not as long as the tensor");
        }
        let payload_checksum = self.payload_checksum(kind, flags, low_u32(checksums))?;
        let header = RecordHeader {
            tick: Tick(tick),
            incarnation,
            kind,
            subject: low_u32(who),
            correlation,
            tensor,
        };
        Ok(HeaderFields {
            header,
            payload_bytes,
            payload_checksum,
        })
    }

    /// Checks that the record lies within the lap of `position`.
    #[inline]
    fn check_extent(
        &self,
        position: u64,
        kind: u16,
        payload_bytes: u64,
        has_dims: bool,
    ) -> Result<(), &'static str> {
        let room = self.capacity.to_end(position);
        if kind == PAD {
            // No padding at the beginning of the ring. Otherwise padding could follow padding without end.
            let is_right = room < self.capacity.bytes()
                && payload_bytes == room - HEADER_BYTES as u64
                && !has_dims;
            return if is_right {
                Ok(())
            } else {
                Err("padding does not fill the end of the ring")
            };
        }
        if payload_bytes > self.capacity.max_payload_bytes() {
            return Err("the payload is over the limit of the ring");
        }
        if record_bytes(payload_bytes, has_dims) > room {
            return Err("the record crosses the end of the ring");
        }
        Ok(())
    }

    #[inline]
    fn payload_checksum(
        &self,
        kind: u16,
        flags: u32,
        checksum: u32,
    ) -> Result<Option<u32>, &'static str> {
        let expected = self.payload_checksums && kind != PAD;
        match flags {
            PAYLOAD_CHECKED if expected => Ok(Some(checksum)),
            0 if !expected && checksum == 0 => Ok(None),
            _ => Err("the flags are not those of this ring"),
        }
    }
}

/// Element type and shape of a header.
#[inline(always)]
fn tensor(
    dtype: u8,
    rank: u8,
    dims: Option<&[u64; DIMS]>,
) -> Result<Option<(DType, Shape)>, &'static str> {
    let rank = usize::from(rank);
    if rank > limit::RANK {
        return Err("the tensor has too many dimensions");
    }
    if dtype == 0 {
        return if rank == 0 {
            Ok(None)
        } else {
            Err("there are dimensions but no element type")
        };
    }
    let dtype = DType::from_number(dtype).ok_or("there is no such element type")?;
    let (dims, beyond) = dims.map_or((&[][..], &[][..]), |dims| dims.split_at(rank));
    if beyond.iter().any(|dim| *dim != 0) {
        return Err("there are dimensions beyond the rank");
    }
    let shape = Shape::new(dims).map_err(|_| "the tensor has too many dimensions")?;
    Ok(Some((dtype, shape)))
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low byte is what is asked for"
)]
fn low_u8(word: u64) -> u8 {
    word as u8
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low two bytes are what is asked for"
)]
fn low_u16(word: u64) -> u16 {
    word as u16
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the low four bytes are what is asked for"
)]
fn low_u32(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests;
