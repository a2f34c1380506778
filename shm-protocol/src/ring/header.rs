//! What a record says about itself, and its 64 bytes.

use super::cursor::{Capacity, record_bytes, sequence};
use super::layout::{DIMS_BYTES, HEADER_BYTES, PAD, PAYLOAD_CHECKED};
use crate::id::{Incarnation, Tick};
use crate::limit;
use crate::planted::{Bug, planted};
use crate::sys::checksum_words;
use crate::tensor::{DType, Shape};

/// What a record says about itself, apart from its sequence, length and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The tick that the record belongs to.
    pub tick: Tick,
    /// The life of the host that the link was made for. Filled in by the producer.
    pub incarnation: Incarnation,
    /// What the payload is; the numbers are beside the messages.
    pub kind: u16,
    /// Agent, model, input or output number, by kind.
    pub subject: u32,
    /// Batch, by kind.
    pub correlation: u64,
    /// Element type and dimensions, if the payload is a tensor.
    pub tensor: Option<(DType, Shape)>,
}

impl Header {
    /// A header without subject, correlation and tensor.
    #[must_use]
    pub fn new(kind: u16, tick: Tick) -> Self {
        Header {
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

/// Words of the header behind its sequence.
pub(super) const REST: usize = HEADER_BYTES / 8 - 1;
/// Words of the dimensions.
pub(super) const DIMS: usize = DIMS_BYTES / 8;

/// Everything that a header says, in fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) payload_bytes: u64,
    /// CRC32C of the payload, if the writer gave one.
    pub(super) payload_checksum: Option<u32>,
}

/// A header in the words in which it lies in memory, but for the sequence and the checksums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    rest: [u64; REST],
    /// The dimensions, if the rank is above zero.
    pub(super) dims: Option<[u64; DIMS]>,
}

impl Encoded {
    #[inline]
    pub(super) fn new(header: &Header, incarnation: Incarnation, payload_bytes: u64) -> Encoded {
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
        Encoded {
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
    pub(super) fn pad(bytes: u64, incarnation: Incarnation) -> Encoded {
        Encoded::new(
            &Header::new(PAD, Tick::ZERO),
            incarnation,
            bytes - HEADER_BYTES as u64,
        )
    }

    /// The words at this position, with their checksums. In a ring without payload checksums there is none to give.
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

/// The rank as a header says it, before anything is checked: whether dimensions must be read as well.
#[inline]
pub(super) fn claims_dims(rest: &[u64; REST]) -> bool {
    rest[4] >> 24 & 0xff != 0
}

/// What both ends of a ring agree on, against which headers are checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) capacity: Capacity,
    pub(super) incarnation: Incarnation,
    /// Whether every payload has a checksum, or none has.
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
    ) -> Result<Record, &'static str> {
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
        let header = Header {
            tick: Tick(tick),
            incarnation,
            kind,
            subject: low_u32(who),
            correlation,
            tensor,
        };
        Ok(Record {
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
            // At the beginning there is nothing to pad. Without this, padding could follow padding for ever.
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

/// Element type and shape as a header says them.
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
mod tests {
    use super::super::layout::{LEAST_CAPACITY, LINE};
    use super::*;
    use proptest::prelude::*;

    const INCARNATION: Incarnation = Incarnation(3);

    fn terms(payload_checksums: bool) -> Terms {
        let capacity = Capacity::new(LEAST_CAPACITY).expect("a power of two");
        Terms {
            capacity,
            incarnation: INCARNATION,
            payload_checksums,
        }
    }

    fn position() -> impl Strategy<Value = u64> {
        (0..1_u64 << 40).prop_map(|line| line * LINE as u64)
    }

    fn tensor() -> impl Strategy<Value = Option<(DType, Shape)>> {
        let dims = prop::collection::vec(0..4_u64, 0..=limit::RANK);
        let shape = dims.prop_map(|dims| Shape::new(&dims).expect("few dimensions"));
        prop::option::of((prop::sample::select(DType::ALL.to_vec()), shape))
    }

    /// Records that an honest writer makes, with a length that fits the smallest ring.
    fn record(payload_checksums: bool) -> impl Strategy<Value = Record> {
        let fields = (
            any::<u64>(),
            0..PAD,
            any::<u32>(),
            any::<u64>(),
            tensor(),
            0..=256_u64,
            any::<u32>(),
        );
        let record = fields.prop_map(
            move |(tick, kind, subject, correlation, tensor, bytes, checksum)| {
                let header = Header {
                    tick: Tick(tick),
                    incarnation: INCARNATION,
                    kind,
                    subject,
                    correlation,
                    tensor,
                };
                let payload_bytes = match tensor {
                    Some((dtype, shape)) => {
                        shape.bytes(dtype).map_or(u64::MAX, |bytes| bytes as u64)
                    }
                    None => bytes,
                };
                Record {
                    header,
                    payload_bytes,
                    payload_checksum: payload_checksums.then_some(checksum),
                }
            },
        );
        record.prop_filter("the payload fits", |record| record.payload_bytes <= 256)
    }

    /// A header and dimensions as they lie in memory.
    #[derive(Clone, Copy, Debug)]
    struct Words {
        rest: [u64; REST],
        dims: [u64; DIMS],
    }

    impl Record {
        fn pad(bytes: u64, incarnation: Incarnation) -> Record {
            let header = Header {
                incarnation,
                ..Header::new(PAD, Tick::ZERO)
            };
            Record {
                header,
                payload_bytes: bytes - HEADER_BYTES as u64,
                payload_checksum: None,
            }
        }

        fn to_words(self, position: u64) -> Words {
            let Record {
                header,
                payload_bytes,
                payload_checksum,
            } = self;
            let encoded = Encoded::new(&header, header.incarnation, payload_bytes);
            let rest = encoded.seal(payload_checksum, position);
            let dims = header
                .tensor
                .map_or([0; DIMS], |(_, shape)| dim_words(&shape));
            Words { rest, dims }
        }
    }

    impl Terms {
        /// As a reader does: the dimensions are looked at if the header claims any.
        fn check_words(&self, position: u64, words: &Words) -> Result<Record, &'static str> {
            self.check(
                position,
                &words.rest,
                claims_dims(&words.rest).then_some(&words.dims),
            )
        }
    }

    fn words() -> impl Strategy<Value = Words> {
        // Small numbers often, because random ones fail at the first check.
        let word = prop_oneof![
            any::<u64>(),
            0..3_u64,
            0..1_000_u64,
            Just(u64::from(PAD)),
            Just(u64::MAX)
        ];
        (prop::array::uniform7(word), prop::array::uniform8(0..5_u64))
            .prop_map(|(rest, dims)| Words { rest, dims })
    }

    /// Gives words the checksum that they need to be looked at further.
    fn forge(mut words: Words, position: u64) -> Words {
        words.rest[REST - 1] &= u64::from(u32::MAX);
        let dims = claims_dims(&words.rest).then_some(&words.dims);
        words.rest[REST - 1] |= u64::from(header_checksum(position, &words.rest, dims)) << 32;
        words
    }

    /// Whatever the words are: a refusal, or a record that lies within its lap.
    fn is_refused_or_within(words: &Words, position: u64, terms: &Terms) -> bool {
        let Ok(record) = terms.check_words(position, words) else {
            return true;
        };
        let end = record_bytes(record.payload_bytes, record.header.has_dims());
        let fits_tensor = record.header.tensor.is_none_or(|(dtype, shape)| {
            shape
                .bytes(dtype)
                .is_ok_and(|bytes| bytes as u64 == record.payload_bytes)
        });
        end <= terms.capacity.to_end(position)
            && fits_tensor
            && record.header.incarnation == INCARNATION
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in record(true), plain in record(false), position in position()) {
            for (record, payload_checksums) in [(record, true), (plain, false)] {
                let terms = terms(payload_checksums);
                let bytes = record_bytes(record.payload_bytes, record.header.has_dims());
                let place = terms.capacity.place(position, bytes);
                prop_assert_eq!(terms.check_words(place.start, &record.to_words(place.start)), Ok(record));
                prop_assert!(!payload_checksums || terms.check_words(place.start + terms.capacity.bytes(), &record.to_words(place.start)).is_err());
                if place.pad_bytes > 0 {
                    let pad = Record::pad(place.pad_bytes, INCARNATION);
                    prop_assert_eq!(terms.check_words(position, &pad.to_words(position)), Ok(pad));
                }
            }
        }

        #[test]
        fn a_flipped_bit_is_refused(record in record(true), position in position(), bit in 0..REST * 64) {
            let position = terms(true).capacity.place(position, 512).start;
            let mut words = record.to_words(position);
            words.rest[bit / 64] ^= 1 << (bit % 64);
            prop_assert!(terms(true).check_words(position, &words).is_err());
        }

        #[test]
        fn random_words_are_refused(words in words(), position in position()) {
            prop_assert!(terms(true).check_words(position, &words).is_err());
        }

        #[test]
        fn forged_words_are_refused_or_harmless(words in words(), position in position(), checked: bool, mine: bool) {
            let mut words = words;
            if mine {
                words.rest[3] = words.rest[3] & u64::from(u32::MAX) | u64::from(INCARNATION.0) << 32;
                words.rest[5] = 0;
            }
            prop_assert!(is_refused_or_within(&forge(words, position), position, &terms(checked)));
        }

        #[test]
        fn forged_lengths_are_refused_or_harmless(
            record in record(true),
            position in position(),
            length in prop_oneof![any::<u64>(), 0..2_000_u64, (0..64_u64).prop_map(|less| u64::MAX - less)],
            kind in prop_oneof![any::<u16>(), Just(PAD)],
            tensor: bool,
            checked: bool,
        ) {
            let mut record = record;
            record.payload_bytes = length;
            record.header.kind = kind;
            record.header.tensor = record.header.tensor.filter(|_| tensor);
            record.payload_checksum = record.payload_checksum.filter(|_| checked);
            let words = record.to_words(position);
            prop_assert!(is_refused_or_within(&words, position, &terms(checked)));
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let good = Record {
            header: Header {
                incarnation: INCARNATION,
                ..Header::new(1, Tick(9))
            },
            payload_bytes: 5,
            payload_checksum: Some(8),
        };
        let refused = |change: &dyn Fn(&mut Words)| {
            let mut words = good.to_words(64);
            change(&mut words);
            terms(true)
                .check_words(64, &forge(words, 64))
                .expect_err("against a rule")
        };
        assert_eq!(terms(true).check_words(64, &good.to_words(64)), Ok(good));
        assert_eq!(
            refused(&|words| words.rest[3] += 1 << 32),
            "the record is of another incarnation"
        );
        assert_eq!(
            refused(&|words| words.rest[5] = 1),
            "reserved bytes are not zero"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 9 << 24),
            "the tensor has too many dimensions"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 1 << 24),
            "there are dimensions but no element type"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 200 << 16),
            "there is no such element type"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 2 << 16),
            "the payload is not as long as the tensor"
        );
        assert_eq!(
            refused(&|words| words.rest[4] ^= 1 << 32),
            "the flags are not those of this ring"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 2 << 32),
            "the flags are not those of this ring"
        );
        assert_eq!(
            refused(&|words| words.rest[2] = 257),
            "the payload is over the limit of the ring"
        );
        assert_eq!(
            refused(&|words| words.rest[4] |= 0xffff),
            "padding does not fill the end of the ring"
        );
        let beyond = |words: &mut Words| {
            words.rest[4] |= 2 << 16 | 1 << 24;
            words.dims = [5, 1, 0, 0, 0, 0, 0, 0];
        };
        assert_eq!(refused(&beyond), "there are dimensions beyond the rank");
    }

    #[test]
    fn padding_is_encoded_as_any_record() {
        let pad = Record::pad(192, INCARNATION);
        assert_eq!(
            Encoded::pad(192, INCARNATION).seal(None, 832),
            pad.to_words(832).rest
        );
    }

    #[test]
    fn padding_at_the_beginning_is_refused() {
        let pad = Record::pad(LEAST_CAPACITY as u64, INCARNATION);
        assert!(
            terms(true).check_words(0, &pad.to_words(0)).is_err(),
            "padding could follow padding for ever"
        );
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let header = Header {
            tick: Tick(0x0102_0304_0506_0708),
            incarnation: Incarnation(0x1112_1314),
            kind: 0x2122,
            subject: 0x3132_3334,
            correlation: 0x4142_4344_4546_4748,
            tensor: Some((DType::F32, Shape::new(&[2, 1]).expect("two dimensions"))),
        };
        let record = Record {
            header,
            payload_bytes: 8,
            payload_checksum: Some(0x5152_5354),
        };
        let words = record.to_words(128);
        let mut bytes = 129_u64.to_le_bytes().to_vec();
        bytes.extend(words.rest.iter().flat_map(|word| word.to_le_bytes()));
        let field = |at: usize, length: usize| {
            bytes[at..at + length]
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        };
        use super::super::layout::*;
        assert_eq!(field(SEQUENCE_AT, 8), 129);
        assert_eq!(field(TICK_AT, 8), header.tick.0);
        assert_eq!(field(CORRELATION_AT, 8), header.correlation);
        assert_eq!(field(PAYLOAD_BYTES_AT, 8), 8);
        assert_eq!(field(SUBJECT_AT, 4), u64::from(header.subject));
        assert_eq!(
            field(RECORD_INCARNATION_AT, 4),
            u64::from(header.incarnation.0)
        );
        assert_eq!(field(KIND_AT, 2), u64::from(header.kind));
        assert_eq!(field(DTYPE_AT, 1), DType::F32 as u64);
        assert_eq!(field(RANK_AT, 1), 2);
        assert_eq!(field(FLAGS_AT, 4), u64::from(PAYLOAD_CHECKED));
        assert_eq!(field(RESERVED_AT, 8), 0);
        assert_eq!(field(PAYLOAD_CHECKSUM_AT, 4), 0x5152_5354);
        let mut covered = bytes.clone();
        covered[HEADER_CHECKSUM_AT..].fill(0);
        covered.extend(words.dims.iter().flat_map(|dim| dim.to_le_bytes()));
        assert_eq!(
            field(HEADER_CHECKSUM_AT, 4),
            u64::from(crc32c::crc32c(&covered))
        );
        assert_eq!(words.dims, [2, 1, 0, 0, 0, 0, 0, 0]);
    }
}
