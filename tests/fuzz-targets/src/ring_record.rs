//! Records of a ring that a hostile writer fills.

use shm_protocol::id::{Incarnation, Tick};
use shm_protocol::ring::layout::{
    CONTROL_BYTES, HEADER_BYTES, HEADER_CHECKSUM_AT, LINE, MIN_CAPACITY, PAYLOAD_FRACTION, RANK_AT,
    SEQUENCE_AT,
};
use shm_protocol::ring::{Consumer, Producer, RecordHeader, RingTerms, SegmentMemory, Wake};
use shm_protocol::tensor::{DType, Shape};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Lines of the ring: where records can begin.
const LINES: usize = MIN_CAPACITY / LINE;

/// Bytes before the ring's own: a bit for each line at which sequence and checksum of a header are made to fit, because
/// no change would be read further than to those.
const MASK_BYTES: usize = LINES / 8;

const INCARNATION: Incarnation = Incarnation(3);

/// Reads all records of a ring with these bytes, taken and peeked at, with payload checksums and without.
pub fn ring_record(bytes: &[u8]) -> bool {
    let Some((mask, content)) = bytes.split_first_chunk::<MASK_BYTES>() else {
        return false;
    };
    let mut ring = vec![0; MIN_CAPACITY];
    let length = content.len().min(MIN_CAPACITY);
    ring[..length].copy_from_slice(&content[..length]);
    for line in (0..LINES).filter(|line| mask[line / 8] >> (line % 8) & 1 == 1) {
        make_fit(&mut ring, line * LINE);
    }
    let [with, without] = [true, false].map(|payload_checksums| read(&ring, payload_checksums));
    with || without
}

/// Makes sequence and header checksum fit a record at this place of the first lap.
fn make_fit(ring: &mut [u8], at: usize) {
    ring[at + SEQUENCE_AT..][..8].copy_from_slice(&(at as u64 + 1).to_le_bytes());
    ring[at + HEADER_CHECKSUM_AT..][..4].fill(0);
    let covered = if ring[at + RANK_AT] == 0 { 1 } else { 2 };
    let end = (at + covered * HEADER_BYTES).min(ring.len());
    let checksum = crc32c::crc32c(&ring[at..end]);
    ring[at + HEADER_CHECKSUM_AT..][..4].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether there are records, none of which violates the ring.
fn read(content: &[u8], payload_checksums: bool) -> bool {
    let consumer = || {
        let terms = terms(payload_checksums);
        Consumer::new(Words::with(content), Words::with(&[]), Nobody, terms)
    };
    let (mut taking, mut peeking) = (consumer(), consumer());
    let (mut taken, mut peeked) = (Vec::new(), Vec::new());
    let mut records = 0;
    loop {
        let header = match taking.try_take(&mut taken) {
            Ok(Some(header)) => header,
            Ok(None) => return records > 0,
            Err(violation) => {
                let again = taking.try_take(&mut taken);
                assert_eq!(again, Err(violation), "a violation stays");
                return false;
            }
        };
        records += 1;
        assert!(records <= LINES, "each record has a line of its own");
        assert_eq!(header.incarnation, INCARNATION);
        assert!(taken.len() <= MIN_CAPACITY / PAYLOAD_FRACTION);
        if let Some((dtype, shape)) = header.tensor {
            assert_eq!(shape.bytes(dtype), Ok(taken.len()));
        }
        let record = peeking.try_peek(0).expect("it was taken");
        let record = record.expect("it was taken");
        assert_eq!(
            (record.header, record.payload_bytes()),
            (header, taken.len())
        );
        record.copy_to(&mut peeked).expect("it was taken");
        assert_eq!(peeked, taken);
        peeking.release(1);
    }
}

fn terms(payload_checksums: bool) -> RingTerms {
    RingTerms {
        capacity_bytes: MIN_CAPACITY,
        incarnation: INCARNATION,
        payload_checksums,
    }
}

/// The corpus: rings as an honest writer fills them.
pub fn ring_record_samples() -> Vec<(String, Vec<u8>)> {
    let plain = |kind, payload: &[u8]| (RecordHeader::new(kind, Tick(7)), payload.to_vec());
    let tensor = |dims: &[u64], payload: &[u8]| {
        let shape = Shape::new(dims).expect("few dimensions");
        let header = RecordHeader {
            tensor: Some((DType::U8, shape)),
            ..RecordHeader::new(2, Tick(8))
        };
        (header, payload.to_vec())
    };
    let rings = [
        ("empty-payload", vec![plain(1, b"")]),
        (
            "text",
            vec![plain(100, b"some words"), plain(101, &[9; 200])],
        ),
        (
            "tensor",
            vec![tensor(&[2, 3], b"sixsix"), tensor(&[], b"1")],
        ),
        ("many", (0..6).map(|kind| plain(kind, &[1; 60])).collect()),
    ];
    let mut samples = Vec::new();
    for (name, records) in rings {
        for payload_checksums in [true, false] {
            let (ring, progress) = (Words::with(&[]), Words::with(&[]));
            let mut producer =
                Producer::new(ring.clone(), progress, Nobody, terms(payload_checksums));
            for (header, payload) in &records {
                let mut header = *header;
                header.incarnation = INCARNATION;
                assert_eq!(producer.try_push(&header, payload), Ok(true));
            }
            let kind = if payload_checksums {
                "checked"
            } else {
                "unchecked"
            };
            let content = ring.content();
            let mut mask = [0; MASK_BYTES];
            for line in 0..LINES {
                let sequence = (line * LINE) as u64 + 1;
                if content[line * LINE..].starts_with(&sequence.to_le_bytes()) {
                    mask[line / 8] |= 1 << (line % 8);
                }
            }
            samples.push((format!("{name}-{kind}"), [&mask[..], &content].concat()));
        }
    }
    samples
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// A segment of one thread, in words.
#[derive(Clone, Debug)]
struct Words(Rc<RefCell<Vec<u64>>>);

impl Words {
    /// A segment whose ring has this content at its beginning.
    fn with(content: &[u8]) -> Words {
        let words = Words(Rc::new(RefCell::new(vec![
            0;
            (CONTROL_BYTES + MIN_CAPACITY)
                / 8
        ])));
        words.write_bytes(CONTROL_BYTES, content);
        words
    }

    /// The bytes of its ring.
    fn content(&self) -> Vec<u8> {
        self.bytes_at(CONTROL_BYTES, MIN_CAPACITY)
    }

    fn bytes_at(&self, offset: usize, bytes: usize) -> Vec<u8> {
        let words = self.0.borrow();
        let words = &words[offset / 8..offset / 8 + bytes.div_ceil(8)];
        let all = words.iter().flat_map(|word| word.to_le_bytes());
        all.take(bytes).collect()
    }
}

impl SegmentMemory for Words {
    fn bytes(&self) -> usize {
        8 * self.0.borrow().len()
    }

    fn load_u64(&self, offset: usize, _: Ordering) -> u64 {
        self.0.borrow()[offset / 8]
    }

    fn store_u64(&self, offset: usize, value: u64, _: Ordering) {
        self.0.borrow_mut()[offset / 8] = value;
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        u32::try_from(self.load_u64(offset, order) & u64::from(u32::MAX)).expect("32 bits")
    }

    fn increment_u32(&self, offset: usize, _: Ordering) {
        self.0.borrow_mut()[offset / 8] += 1;
    }

    fn fence(&self, _: Ordering) {}

    fn read_words<const N: usize>(&self, offset: usize) -> [u64; N] {
        let words = self.0.borrow();
        words[offset / 8..offset / 8 + N]
            .try_into()
            .expect("as many as asked for")
    }

    fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        self.0.borrow_mut()[offset / 8..offset / 8 + N].copy_from_slice(&words);
    }

    fn read_bytes(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        *into = self.bytes_at(offset, bytes);
    }

    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let mut words = self.0.borrow_mut();
        for (word, chunk) in words[offset / 8..].iter_mut().zip(bytes.chunks(8)) {
            let mut whole = word.to_le_bytes();
            whole[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(whole);
        }
    }

    fn checksum(&self, offset: usize, bytes: usize) -> u32 {
        crc32c::crc32c(&self.bytes_at(offset, bytes))
    }

    fn futex_wait(&self, _: usize, _: u32, _: Duration) {}
    fn futex_wake(&self, _: usize) {}
}
