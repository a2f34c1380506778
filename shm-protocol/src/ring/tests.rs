//! The reader against a writer that breaks its word, over memory that changes
//! at the worst moment: every plain word is another one once it has been read.

use super::layout::{CONSUMED_AT, CONTROL_BYTES, LINE, MIN_CAPACITY};
use super::{Consumer, Producer, RecordHeader, RingTerms, RingViolation, SegmentMemory, Wake};
use crate::id::{Incarnation, Tick};
use crate::tensor::{DType, Shape};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const WORDS: usize = (CONTROL_BYTES + MIN_CAPACITY) / 8;

#[derive(Debug)]
struct Words {
    words: RefCell<Vec<u64>>,
    /// Whether a plain word changes when it is read.
    is_fickle: Cell<bool>,
}

/// A segment of one thread.
#[derive(Clone, Debug)]
struct Fickle(Rc<Words>);

impl Fickle {
    fn new() -> Fickle {
        Fickle(Rc::new(Words {
            words: RefCell::new(vec![0; WORDS]),
            is_fickle: Cell::new(false),
        }))
    }

    /// Changes words, as a writer does that breaks its word.
    fn spoil(&self, offset: usize, bytes: usize) {
        let words = offset / 8..(offset + bytes).div_ceil(8);
        self.0.words.borrow_mut()[words]
            .iter_mut()
            .for_each(|word| *word = !*word);
    }

    fn copy(&self, offset: usize, words: usize) -> Vec<u64> {
        let found = self.0.words.borrow()[offset / 8..offset / 8 + words].to_vec();
        if self.0.is_fickle.get() {
            self.spoil(offset, 8 * words);
        }
        found
    }
}

impl SegmentMemory for Fickle {
    fn bytes(&self) -> usize {
        8 * WORDS
    }

    fn load_u64(&self, offset: usize, _: Ordering) -> u64 {
        self.0.words.borrow()[offset / 8]
    }

    fn store_u64(&self, offset: usize, value: u64, _: Ordering) {
        self.0.words.borrow_mut()[offset / 8] = value;
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        u32::try_from(self.load_u64(offset, order)).expect("few rings")
    }

    fn increment_u32(&self, offset: usize, _: Ordering) {
        self.0.words.borrow_mut()[offset / 8] += 1;
    }

    fn fence(&self, _: Ordering) {}

    fn read_words<const N: usize>(&self, offset: usize) -> [u64; N] {
        self.copy(offset, N).try_into().expect("as many as asked")
    }

    fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        self.0.words.borrow_mut()[offset / 8..offset / 8 + N].copy_from_slice(&words);
    }

    fn read_bytes(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        let words = self.copy(offset, bytes.div_ceil(8));
        into.clear();
        into.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        into.truncate(bytes);
    }

    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let mut held = self.0.words.borrow_mut();
        for (into, word) in held[offset / 8..].iter_mut().zip(words) {
            *into = word;
        }
    }

    fn checksum(&self, offset: usize, bytes: usize) -> u32 {
        let words = self.0.words.borrow();
        let held: Vec<u8> = words[offset / 8..]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .take(bytes)
            .collect();
        crc32c::crc32c(&held)
    }

    fn futex_wait(&self, _: usize, _: u32, _: Duration) {}
    fn futex_wake(&self, _: usize) {}
}

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

struct Ends {
    /// What the writer writes, and what the reader does.
    ring: Fickle,
    progress: Fickle,
    writer: Producer<Fickle, Nobody>,
    reader: Consumer<Fickle, Nobody>,
}

fn ends(payload_checksums: bool) -> Ends {
    let (ring, progress) = (Fickle::new(), Fickle::new());
    let terms = RingTerms {
        capacity_bytes: MIN_CAPACITY,
        incarnation: Incarnation(3),
        payload_checksums,
    };
    Ends {
        writer: Producer::new(ring.clone(), progress.clone(), Nobody, terms),
        reader: Consumer::new(ring.clone(), progress.clone(), Nobody, terms),
        ring,
        progress,
    }
}

/// A record that is told from all others.
fn record(number: u64) -> (RecordHeader, Vec<u8>) {
    let bytes = number % 5 * 24;
    let payload = (0..bytes)
        .map(|at| u8::try_from((at + number) % 251).expect("small"))
        .collect();
    let mut header = RecordHeader::new(7, Tick(number));
    (header.incarnation, header.correlation) = (Incarnation(3), number * 11);
    header.tensor = (number.is_multiple_of(2)).then(|| {
        (
            DType::U8,
            Shape::new(&[3, bytes / 3]).expect("two dimensions"),
        )
    });
    (header, payload)
}

#[test]
fn what_a_writer_changes_after_the_check_is_not_seen() {
    for (payload_checksums, peeks) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut ends = ends(payload_checksums);
        let mut found = Vec::new();
        // Several laps, with and without dimensions.
        for number in 0..100 {
            let (header, payload) = record(number);
            assert_eq!(ends.writer.try_push(&header, &payload), Ok(true));
            ends.ring.0.is_fickle.set(true);
            let taken = if peeks {
                let peeked = ends
                    .reader
                    .try_peek(0)
                    .expect("sound")
                    .expect("it is there");
                peeked.copy_to(&mut found).expect("sound");
                let header = peeked.header;
                ends.reader.release(1);
                Ok(Some(header))
            } else {
                ends.reader.try_take(&mut found)
            };
            ends.ring.0.is_fickle.set(false);
            assert_eq!(taken, Ok(Some(header)));
            assert_eq!(found, payload, "record {number}");
        }
    }
}

#[test]
fn a_record_of_an_earlier_lap_is_not_there() {
    let mut ends = ends(true);
    let (mut found, mut position) = (Vec::new(), 0);
    for number in 0..100 {
        let at = CONTROL_BYTES + position % MIN_CAPACITY;
        for lap in 0..position / MIN_CAPACITY {
            let sequence = (position % MIN_CAPACITY + lap * MIN_CAPACITY + 1) as u64;
            ends.ring.store_u64(at, sequence, Ordering::Release);
            assert!(ends.reader.is_empty(), "record {number}, lap {lap}");
            assert_eq!(ends.reader.try_take(&mut found), Ok(None));
        }
        let mut header = RecordHeader::new(7, Tick(number));
        header.incarnation = Incarnation(3);
        assert_eq!(ends.writer.try_push(&header, &[1; LINE]), Ok(true));
        assert_eq!(ends.reader.try_take(&mut found), Ok(Some(header)));
        position += 2 * LINE;
    }
}

#[test]
fn a_payload_that_changed_is_refused() {
    for word in 0..LINE / 8 {
        let mut ends = ends(true);
        let header = RecordHeader::new(7, Tick(1));
        assert_eq!(ends.writer.try_push(&header, &[1; LINE]), Ok(true));
        ends.ring.spoil(CONTROL_BYTES + LINE + 8 * word, 8);
        let refused = ends.reader.try_take(&mut Vec::new());
        let expected = RingViolation {
            position: 0,
            reason: "the payload does not match its checksum",
        };
        assert_eq!(refused, Err(expected));
    }
}

#[test]
fn a_record_that_reaches_over_others_is_refused() {
    let mut ends = ends(true);
    let header = RecordHeader::new(7, Tick(1));
    let fit = MIN_CAPACITY / (2 * LINE);
    for ahead in 0..=fit {
        // The writer goes on as if everything were taken.
        let written = (ahead * 2 * LINE) as u64;
        ends.progress
            .store_u64(CONSUMED_AT, written, Ordering::Release);
        assert_eq!(ends.writer.try_push(&header, &[1; LINE]), Ok(true));
        let peeked = ends.reader.try_peek(ahead).map(|peeked| peeked.is_some());
        if ahead < fit {
            assert_eq!(peeked, Ok(true), "record {ahead}");
        } else {
            let violation = peeked.expect_err("there was no space for it");
            assert_eq!(violation.position, written);
        }
    }
}
