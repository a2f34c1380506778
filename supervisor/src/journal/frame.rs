//! The frame around a record: fixed layout, little-endian.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic |
//! | 8 | 2 | version |
//! | 10 | 2 | kind |
//! | 12 | 4 | zero |
//! | 16 | 16 | run id |
//! | 32 | 8 | tick |
//! | 40 | 8 | payload length |
//! | 48 | 32 | digest of the record before |
//! | 80 | 12 | zero |
//! | 92 | 4 | CRC32C of the 92 bytes before |
//! | 96 | payload length | payload |
//! | 96 + payload length | 32 | BLAKE3 of header and payload |
//!
//! The checksum validates the header before the payload is read; the digest covers both.

use crate::record::{Digest, RunId};
use shm_protocol::id::Tick;
use shm_protocol::{codec, limit};
use std::ops::Range;
use thiserror::Error;

/// The first bytes of every record.
pub const MAGIC: [u8; 8] = *b"LKJ-RECD";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 96;
/// Bytes of a digest.
pub const DIGEST_BYTES: usize = size_of::<Digest>();
/// Bytes of a record around its payload.
pub const FRAME_BYTES: usize = HEADER_BYTES + DIGEST_BYTES;
/// Bytes of a header that its checksum covers.
const CHECKED_BYTES: usize = CHECKSUM.start;

const VERSION: Range<usize> = 8..10;
const KIND: Range<usize> = 10..12;
const ZERO: Range<usize> = 12..16;
const RUN: Range<usize> = 16..32;
const TICK: Range<usize> = 32..40;
const PAYLOAD_BYTES: Range<usize> = 40..48;
const PREVIOUS: Range<usize> = 48..80;
const MORE_ZERO: Range<usize> = 80..92;
const CHECKSUM: Range<usize> = 92..96;
const _: () = assert!(CHECKSUM.end == HEADER_BYTES);

/// The kind of a record. New kinds take new numbers; a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RecordKind {
    /// The definition of the run. The first record, and only the first.
    RunHeader = 1,
    /// A committed tick.
    Tick = 2,
    /// The run ended in good order. The last record, if there is one.
    Seal = 3,
}

impl RecordKind {
    fn from_number(number: u16) -> Option<RecordKind> {
        [RecordKind::RunHeader, RecordKind::Tick, RecordKind::Seal]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Its kind.
    pub kind: RecordKind,
    /// The run it belongs to.
    pub run: RunId,
    /// Its tick; of a seal, the last committed one; of a run header, zero.
    pub tick: Tick,
    /// The length of its payload.
    pub payload_bytes: u64,
    /// Digest of the record before; of a run header, zero.
    pub previous: Digest,
}

/// The reason for which bytes are no header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages name every field")]
pub enum HeaderFault {
    /// It does not begin like a record.
    #[error("there is no record here")]
    Magic,
    /// The checksum does not fit.
    #[error("the checksum of the header is {found:08x}, not {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    /// Another version of the format.
    #[error(
        "the record has format {found}, and this build reads format {}",
        codec::VERSION
    )]
    Version { found: u16 },
    /// Another kind of record than this build knows.
    #[error("records of kind {found} are unknown to this build")]
    Kind { found: u16 },
    /// Bytes that must be zero are not.
    #[error("reserved bytes of the header are not zero")]
    Reserved,
    /// A payload over the limit.
    #[error(
        "a payload of {found} bytes is over the limit of {} bytes",
        limit::TICK_RECORD_BYTES
    )]
    PayloadBytes { found: u64 },
}

impl FrameHeader {
    /// The bytes of the header.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        bytes[VERSION].copy_from_slice(&codec::VERSION.to_le_bytes());
        bytes[KIND].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[RUN].copy_from_slice(&self.run.0);
        bytes[TICK].copy_from_slice(&self.tick.0.to_le_bytes());
        bytes[PAYLOAD_BYTES].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[PREVIOUS].copy_from_slice(&self.previous);
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<FrameHeader, HeaderFault> {
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let (found, computed) = (
            u32::from_le_bytes(field(bytes, CHECKSUM)),
            crc32c::crc32c(&bytes[..CHECKED_BYTES]),
        );
        if found != computed {
            return Err(HeaderFault::Checksum { found, computed });
        }
        let version = u16::from_le_bytes(field(bytes, VERSION));
        if version != codec::VERSION {
            return Err(HeaderFault::Version { found: version });
        }
        if bytes[ZERO]
            .iter()
            .chain(&bytes[MORE_ZERO])
            .any(|byte| *byte != 0)
        {
            return Err(HeaderFault::Reserved);
        }
        let kind = u16::from_le_bytes(field(bytes, KIND));
        let payload_bytes = u64::from_le_bytes(field(bytes, PAYLOAD_BYTES));
        if payload_bytes > limit::TICK_RECORD_BYTES as u64 {
            return Err(HeaderFault::PayloadBytes {
                found: payload_bytes,
            });
        }
        Ok(FrameHeader {
            kind: RecordKind::from_number(kind).ok_or(HeaderFault::Kind { found: kind })?,
            run: RunId(field(bytes, RUN)),
            tick: Tick(u64::from_le_bytes(field(bytes, TICK))),
            payload_bytes,
            previous: field(bytes, PREVIOUS),
        })
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        FRAME_BYTES as u64 + self.payload_bytes
    }

    /// True if bytes are the beginning of this record, whatever its payload is.
    #[must_use]
    pub fn may_begin_with(&self, bytes: &[u8]) -> bool {
        let open =
            |position: usize| PAYLOAD_BYTES.contains(&position) || CHECKSUM.contains(&position);
        bytes
            .iter()
            .zip(self.to_bytes())
            .enumerate()
            .all(|(position, (found, known))| *found == known || open(position))
    }
}

/// Copies a field out of a header.
fn field<const BYTES: usize>(header: &[u8; HEADER_BYTES], range: Range<usize>) -> [u8; BYTES] {
    header[range]
        .try_into()
        .expect("the ranges above are as long as their fields")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = FrameHeader> {
        let kind = prop::sample::select(vec![
            RecordKind::RunHeader,
            RecordKind::Tick,
            RecordKind::Seal,
        ]);
        let payload_bytes = 0..=limit::TICK_RECORD_BYTES as u64;
        (
            kind,
            any::<[u8; 16]>(),
            any::<u64>(),
            payload_bytes,
            any::<Digest>(),
        )
            .prop_map(|(kind, run, tick, payload_bytes, previous)| FrameHeader {
                kind,
                run: RunId(run),
                tick: Tick(tick),
                payload_bytes,
                previous,
            })
    }

    proptest! {
        #[test]
        fn a_header_comes_back_as_it_was(header in any_header()) {
            prop_assert_eq!(FrameHeader::parse(&header.to_bytes()), Ok(header));
        }

        #[test]
        fn a_flipped_bit_is_found(header in any_header(), bit in 0..HEADER_BYTES * 8) {
            let mut bytes = header.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(FrameHeader::parse(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_a_header(bytes in any::<[u8; HEADER_BYTES]>(), valid_checksum in any::<bool>()) {
            let mut bytes = bytes;
            bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
            if valid_checksum {
                let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
                bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            }
            if let Ok(header) = FrameHeader::parse(&bytes) {
                prop_assert_eq!(header.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn what_is_reserved_must_be_zero_even_under_a_good_checksum() {
        let header = FrameHeader {
            kind: RecordKind::Tick,
            run: RunId([1; 16]),
            tick: Tick(1),
            payload_bytes: 0,
            previous: [0; 32],
        };
        for position in ZERO.chain(MORE_ZERO) {
            let mut bytes = header.to_bytes();
            bytes[position] = 1;
            let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
            bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(FrameHeader::parse(&bytes), Err(HeaderFault::Reserved));
        }
    }

    #[test]
    fn the_beginning_of_a_record_is_known_but_for_its_length() {
        let header = FrameHeader {
            kind: RecordKind::Tick,
            run: RunId([1; 16]),
            tick: Tick(1),
            payload_bytes: 7,
            previous: [2; 32],
        };
        let bytes = FrameHeader {
            payload_bytes: 900,
            ..header
        }
        .to_bytes();
        for cut in 0..=HEADER_BYTES {
            assert!(header.may_begin_with(&bytes[..cut]));
        }
        let other = FrameHeader {
            tick: Tick(2),
            ..header
        };
        assert!(!other.may_begin_with(&bytes[..TICK.start + 1]));
    }
}
