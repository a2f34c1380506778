use super::super::layout::{LINE, MIN_CAPACITY};
use super::*;
use proptest::prelude::*;

const INCARNATION: Incarnation = Incarnation(3);

fn terms(payload_checksums: bool) -> Terms {
    let capacity = Capacity::new(MIN_CAPACITY).expect("a power of two");
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
fn record(payload_checksums: bool) -> impl Strategy<Value = HeaderFields> {
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
            let header = RecordHeader {
                tick: Tick(tick),
                incarnation: INCARNATION,
                kind,
                subject,
                correlation,
                tensor,
            };
            let payload_bytes = match tensor {
                Some((dtype, shape)) => shape.bytes(dtype).map_or(u64::MAX, |bytes| bytes as u64),
                None => bytes,
            };
            HeaderFields {
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

impl HeaderFields {
    fn pad(bytes: u64, incarnation: Incarnation) -> HeaderFields {
        let header = RecordHeader {
            incarnation,
            ..RecordHeader::new(PAD, Tick::ZERO)
        };
        HeaderFields {
            header,
            payload_bytes: bytes - HEADER_BYTES as u64,
            payload_checksum: None,
        }
    }

    fn to_words(self, position: u64) -> Words {
        let HeaderFields {
            header,
            payload_bytes,
            payload_checksum,
        } = self;
        let encoded = HeaderWords::new(&header, header.incarnation, payload_bytes);
        let rest = encoded.seal(payload_checksum, position);
        let dims = header
            .tensor
            .map_or([0; DIMS], |(_, shape)| dim_words(&shape));
        Words { rest, dims }
    }
}

impl Terms {
    /// As a reader does: the dimensions are looked at if the header claims any.
    fn check_words(&self, position: u64, words: &Words) -> Result<HeaderFields, &'static str> {
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
                let pad = HeaderFields::pad(place.pad_bytes, INCARNATION);
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
    let good = HeaderFields {
        header: RecordHeader {
            incarnation: INCARNATION,
            ..RecordHeader::new(1, Tick(9))
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
    let pad = HeaderFields::pad(192, INCARNATION);
    assert_eq!(
        HeaderWords::pad(192, INCARNATION).seal(None, 832),
        pad.to_words(832).rest
    );
}

#[test]
fn padding_at_the_beginning_is_refused() {
    let pad = HeaderFields::pad(MIN_CAPACITY as u64, INCARNATION);
    assert!(
        terms(true).check_words(0, &pad.to_words(0)).is_err(),
        "padding could follow padding for ever"
    );
}

#[test]
fn the_bytes_are_those_of_the_table() {
    let header = RecordHeader {
        tick: Tick(0x0102_0304_0506_0708),
        incarnation: Incarnation(0x1112_1314),
        kind: 0x2122,
        subject: 0x3132_3334,
        correlation: 0x4142_4344_4546_4748,
        tensor: Some((DType::F32, Shape::new(&[2, 1]).expect("two dimensions"))),
    };
    let record = HeaderFields {
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
