//! Model checking of the ring: loom runs each model in every order of events
//! that the memory model allows. The promises:
//!
//! * a record that is seen is seen whole;
//! * nothing is overwritten before it is read;
//! * no wake-up is lost, neither for a record nor for space.
//!
//! The code under test is the ring's own; only the memory is replaced. Every
//! model is run a second time over memory that weakens one ordering, and loom
//! must then find a failure: otherwise the model would prove nothing.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use shm_protocol::id::{Incarnation, Tick};
use shm_protocol::ring::layout::{
    CONSUMED_AT, CONTROL_BYTES, DOORBELL_AT, FOR_RECORDS, FOR_SPACE, LINE, MIN_CAPACITY, WAITING_AT,
};
use shm_protocol::ring::{
    Consumer, Producer, RecordHeader, RingTerms, SegmentMemory, Sleeper, Wake, ring_doorbell,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// An ordering that the memory does not honour.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weaken {
    Nothing,
    /// The store that publishes a record.
    Publish,
    /// The store that tells of freed space.
    Consumed,
    /// The fences of sleeping and waking.
    Fences,
    /// A word behind a record that spells a sequence is not cleared.
    Clearing,
}

/// A segment of cells that loom watches.
///
/// The first word of a line may be a sequence, so it is an atomic. The rest of
/// a line is never used by both ends at once, and loom fails if it is.
struct Twin {
    weaken: Weaken,
    doorbell: AtomicU32,
    consumed: AtomicU64,
    waiting: AtomicU64,
    lines: Vec<(AtomicU64, UnsafeCell<[u64; 7]>)>,
    /// The kernel's side of the futex.
    kernel: Mutex<()>,
    sleepers: Condvar,
}

#[derive(Clone)]
struct TwinMemory(Arc<Twin>);

impl TwinMemory {
    fn new(weaken: Weaken) -> Self {
        let line = |_| (AtomicU64::new(0), UnsafeCell::new([0; 7]));
        TwinMemory(Arc::new(Twin {
            weaken,
            doorbell: AtomicU32::new(0),
            consumed: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            lines: (0..MIN_CAPACITY / LINE).map(line).collect(),
            kernel: Mutex::new(()),
            sleepers: Condvar::new(),
        }))
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        match offset {
            CONSUMED_AT => &self.0.consumed,
            WAITING_AT => &self.0.waiting,
            _ if offset >= CONTROL_BYTES && offset.is_multiple_of(LINE) => {
                &self.0.lines[(offset - CONTROL_BYTES) / LINE].0
            }
            _ => panic!("no atomic word at {offset}"),
        }
    }

    fn doorbell(&self, offset: usize) -> &AtomicU32 {
        assert_eq!(offset, DOORBELL_AT);
        &self.0.doorbell
    }

    /// The line of an offset, and the word within it.
    fn cell(&self, offset: usize) -> (&(AtomicU64, UnsafeCell<[u64; 7]>), usize) {
        let at = offset - CONTROL_BYTES;
        (&self.0.lines[at / LINE], at % LINE / 8)
    }
}

impl SegmentMemory for TwinMemory {
    fn bytes(&self) -> usize {
        CONTROL_BYTES + MIN_CAPACITY
    }

    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.word(offset).load(order)
    }

    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        let is_data = offset >= CONTROL_BYTES;
        let order = match self.0.weaken {
            Weaken::Publish if is_data => Ordering::Relaxed,
            Weaken::Consumed if offset == CONSUMED_AT => Ordering::Relaxed,
            Weaken::Clearing if is_data && value == 0 => return,
            _ => order,
        };
        self.word(offset).store(value, order);
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.doorbell(offset).load(order)
    }

    fn increment_u32(&self, offset: usize, order: Ordering) {
        self.doorbell(offset).fetch_add(1, order);
    }

    fn fence(&self, order: Ordering) {
        if self.0.weaken != Weaken::Fences {
            fence(order);
        }
    }

    fn read_words<const N: usize>(&self, offset: usize) -> [u64; N] {
        std::array::from_fn(|at| {
            let (line, word) = self.cell(offset + 8 * at);
            match word {
                0 => line.0.load(Ordering::Relaxed),
                // SAFETY: loom fails the model if somebody writes meanwhile.
                _ => line.1.with(|cell| unsafe { (*cell)[word - 1] }),
            }
        })
    }

    fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]) {
        for (at, value) in words.into_iter().enumerate() {
            let (line, word) = self.cell(offset + 8 * at);
            match word {
                0 => line.0.store(value, Ordering::Relaxed),
                // SAFETY: loom fails the model if somebody reads or writes meanwhile.
                _ => line.1.with_mut(|cell| unsafe { (*cell)[word - 1] = value }),
            }
        }
    }

    fn read_bytes(&self, offset: usize, bytes: usize, into: &mut Vec<u8>) {
        into.clear();
        for at in (0..bytes).step_by(8) {
            into.extend(self.read_words::<1>(offset + at)[0].to_le_bytes());
        }
        into.truncate(bytes);
    }

    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        assert!(
            bytes.len().is_multiple_of(8),
            "the models write whole words"
        );
        for (at, word) in bytes.chunks(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            self.write_words(offset + 8 * at, [word]);
        }
    }

    fn checksum(&self, _: usize, _: usize) -> u32 {
        unreachable!("the models reserve nothing")
    }

    fn futex_wait(&self, offset: usize, expected: u32, _: Duration) {
        let guard = self.0.kernel.lock().expect("no panic");
        if self.doorbell(offset).load(Ordering::Relaxed) == expected {
            // Without a timeout, so that a lost wake-up is a deadlock, which loom reports.
            drop(self.0.sleepers.wait(guard).expect("no panic"));
        }
    }

    fn futex_wake(&self, _: usize) {
        let _guard = self.0.kernel.lock().expect("no panic");
        self.0.sleepers.notify_one();
    }
}

/// Rings the doorbell of one end.
struct Doorbell(TwinMemory);

impl Wake for Doorbell {
    fn wake(&self) {
        ring_doorbell(&self.0);
    }
}

const TERMS: RingTerms = RingTerms {
    capacity_bytes: MIN_CAPACITY,
    incarnation: Incarnation(1),
    payload_checksums: false,
};

/// Two ends and their segments.
struct Ends {
    producer: Producer<TwinMemory, Doorbell>,
    consumer: Consumer<TwinMemory, Doorbell>,
    of_producer: TwinMemory,
    of_consumer: TwinMemory,
}

fn ends(weaken: Weaken) -> Ends {
    let (of_producer, of_consumer) = (TwinMemory::new(weaken), TwinMemory::new(weaken));
    let (down, up) = (of_producer.clone(), of_consumer.clone());
    let producer = Producer::new(down.clone(), up.clone(), Doorbell(down.clone()), TERMS);
    let consumer = Consumer::new(down, up.clone(), Doorbell(up), TERMS);
    Ends {
        producer,
        consumer,
        of_producer,
        of_consumer,
    }
}

/// A record that fills a quarter of the ring, header included, so that a few make a lap.
const PAYLOAD: usize = MIN_CAPACITY / 4 - LINE;

fn payload(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(PAYLOAD / 8)
}

fn push(producer: &mut Producer<TwinMemory, Doorbell>, number: u64) -> bool {
    producer
        .try_push(&RecordHeader::new(1, Tick(number)), &payload(number))
        .expect("an honest reader")
}

fn take(consumer: &mut Consumer<TwinMemory, Doorbell>, number: u64) -> bool {
    let mut into = Vec::new();
    let found = consumer.try_take(&mut into).expect("an honest writer");
    if let Some(header) = found {
        assert_eq!(header.tick, Tick(number));
        assert_eq!(into, payload(number));
    }
    found.is_some()
}

/// Runs a model in every order.
fn check(model: impl Fn(Weaken) + Sync + Send + Copy + 'static, weaken: Weaken) {
    let mut builder = loom::model::Builder::new();
    // More switches between threads than this find nothing new in models of two threads that meet at a few words.
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || model(weaken));
}

/// The model holds, and fails once the memory is weakened.
fn check_and_break(
    model: impl Fn(Weaken) + Sync + Send + Copy + 'static,
    weaken: Weaken,
    failure: &str,
) {
    check(model, Weaken::Nothing);
    let broken = catch_unwind(AssertUnwindSafe(|| check(model, weaken)));
    let reason = broken.expect_err("the model does not notice that an ordering is missing");
    let reason = reason.downcast_ref::<String>().map_or_else(
        || reason.downcast_ref::<&str>().copied(),
        |reason| Some(reason),
    );
    let reason = reason.expect("a message");
    assert!(
        reason.contains(failure),
        "the model fails for another reason: {reason}"
    );
}

/// The writer pushes two records while the reader looks a few times.
fn publish_and_take(weaken: Weaken) {
    let Ends {
        mut producer,
        mut consumer,
        ..
    } = ends(weaken);
    let writer = loom::thread::spawn(move || {
        assert!(push(&mut producer, 0));
        assert!(push(&mut producer, 1));
    });
    let mut taken = 0;
    for _ in 0..2 {
        taken += u64::from(take(&mut consumer, taken));
    }
    writer.join().expect("no panic");
    while taken < 2 {
        assert!(take(&mut consumer, taken), "a published record is there");
        taken += 1;
    }
    assert!(!take(&mut consumer, taken));
}

#[test]
fn a_record_that_is_seen_is_whole() {
    check_and_break(publish_and_take, Weaken::Publish, "Causality violation");
}

/// The ring is full; the writer may go on only where the reader has been.
///
/// The reader takes one record only: a second one would be told of after the fence that follows the first telling,
/// and that fence orders what came before it, even where the telling itself orders nothing.
fn full_ring(weaken: Weaken) {
    let Ends {
        mut producer,
        mut consumer,
        ..
    } = ends(weaken);
    let mut pushed = 0;
    while push(&mut producer, pushed) {
        pushed += 1;
    }
    let writer = loom::thread::spawn(move || {
        // The first goes into what is left of the lap, the second over the first record.
        let is_pushed = push(&mut producer, pushed);
        is_pushed
            && producer
                .try_push(&RecordHeader::new(2, Tick(0)), &[])
                .expect("an honest reader")
    });
    assert!(take(&mut consumer, 0));
    let has_gone_on = writer.join().expect("no panic");
    let mut taken = 1;
    while taken < pushed + u64::from(has_gone_on) {
        assert!(take(&mut consumer, taken));
        taken += 1;
    }
}

#[test]
fn nothing_is_overwritten_before_it_is_read() {
    check_and_break(full_ring, Weaken::Consumed, "Causality violation");
}

/// After a lap, old payload bytes lie where the next header will be. Those here look like its sequence.
fn stale_bytes(weaken: Weaken) {
    let Ends {
        mut producer,
        mut consumer,
        ..
    } = ends(weaken);
    let next_lap = MIN_CAPACITY as u64;
    let mut forged = vec![0; PAYLOAD];
    // Word by word, the payload of the first record spells the sequences of the positions of the next lap.
    for (at, word) in forged.chunks_mut(8).enumerate() {
        word.copy_from_slice(&(next_lap + (LINE + 8 * at) as u64 + 1).to_le_bytes());
    }
    assert!(
        producer
            .try_push(&RecordHeader::new(1, Tick(0)), &forged)
            .expect("an honest reader")
    );
    let mut into = Vec::new();
    assert!(
        consumer
            .try_take(&mut into)
            .expect("an honest writer")
            .is_some()
    );
    for number in 1..4 {
        assert!(push(&mut producer, number));
        assert!(take(&mut consumer, number));
    }
    // The next record is empty, so the one behind it begins where the forged bytes lie.
    let writer = loom::thread::spawn(move || {
        assert!(
            producer
                .try_push(&RecordHeader::new(1, Tick(4)), &[])
                .expect("an honest reader")
        );
    });
    let found = [(); 3].map(|()| consumer.try_take(&mut into));
    writer.join().expect("no panic");
    let taken: usize = found
        .into_iter()
        .map(|found| usize::from(found.expect("no forged sequence is believed").is_some()))
        .sum();
    assert!(taken <= 1);
}

#[test]
fn bytes_of_an_earlier_lap_are_never_taken_for_a_record() {
    check_and_break(
        stale_bytes,
        Weaken::Clearing,
        "no forged sequence is believed",
    );
}

/// The reader sleeps until there is a record.
fn sleep_for_a_record(weaken: Weaken) {
    let Ends {
        mut producer,
        mut consumer,
        of_producer,
        of_consumer,
    } = ends(weaken);
    let writer = loom::thread::spawn(move || {
        assert!(
            producer
                .try_push(&RecordHeader::new(1, Tick(0)), &[])
                .expect("an honest reader")
        );
        producer.notify();
    });
    let mut sleeper = Sleeper::new(of_consumer);
    while consumer.is_empty() {
        sleeper.sleep(&of_producer, FOR_RECORDS, Duration::MAX, || {
            !consumer.is_empty()
        });
    }
    let mut into = Vec::new();
    assert!(
        consumer
            .try_take(&mut into)
            .expect("an honest writer")
            .is_some()
    );
    writer.join().expect("no panic");
}

#[test]
fn no_wake_up_for_a_record_is_lost() {
    check_and_break(sleep_for_a_record, Weaken::Fences, "deadlock");
}

/// The writer sleeps until the reader has freed space.
fn sleep_for_space(weaken: Weaken) {
    let Ends {
        mut producer,
        mut consumer,
        of_producer,
        of_consumer,
    } = ends(weaken);
    let mut pushed = 0;
    while push(&mut producer, pushed) {
        pushed += 1;
    }
    let reader = loom::thread::spawn(move || {
        assert!(take(&mut consumer, 0));
    });
    let mut sleeper = Sleeper::new(of_producer);
    while !push(&mut producer, pushed) {
        sleeper.sleep(&of_consumer, FOR_SPACE, Duration::MAX, || {
            producer
                .has_space_for(PAYLOAD - LINE)
                .expect("an honest reader")
        });
    }
    reader.join().expect("no panic");
}

#[test]
fn no_wake_up_for_space_is_lost() {
    check_and_break(sleep_for_space, Weaken::Fences, "deadlock");
}
