//! The memory of a link. The promises: a host can never write what goes down, no
//! mapping ever loses its pages, only memory of its own incarnation is attached,
//! and whatever a host writes upwards, the supervisor stays whole.

mod common;

use common::{INCARNATION, record};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use shm_protocol::id::{Incarnation, Tick};
use shm_protocol::limit::MIN_RING_BYTES;
use shm_protocol::link::{
    HostDescriptors, HostLink, LinkSizes, SupervisorLink, WaitPolicy, WaitResult,
};
use shm_protocol::ring::layout::CONTROL_BYTES;
use shm_protocol::ring::{PushError, RecordHeader};
use shm_protocol::tensor::{DType, Shape};
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use test_support::TestRng;

const SIZES: LinkSizes = LinkSizes {
    down_bytes: 1,
    up_bytes: MIN_RING_BYTES + 1,
};

fn pair() -> (SupervisorLink, HostLink) {
    let (supervisor, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    let HostDescriptors { down, up, bell } = descriptors;
    (
        supervisor,
        HostLink::attach(down, up, bell, INCARNATION).expect("attaching"),
    )
}

/// Maps all of a segment and returns where, or why not.
fn map(fd: &OwnedFd, protection: ProtFlags, bytes: usize) -> Result<*mut u8, Errno> {
    // SAFETY: the kernel chooses a free address; the tests unmap or end.
    unsafe { mmap(ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) }
        .map(|start| start.cast())
}

#[test]
fn a_host_can_only_read_what_goes_down() {
    let (_supervisor, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    let bytes = CONTROL_BYTES + MIN_RING_BYTES;
    assert_eq!(
        map(&descriptors.down, ProtFlags::READ | ProtFlags::WRITE, bytes),
        Err(Errno::PERM)
    );
    let start = map(&descriptors.down, ProtFlags::READ, bytes).expect("reading is allowed");
    // SAFETY: these are the pages just mapped, which nobody uses.
    let turned = unsafe {
        mprotect(
            start.cast(),
            bytes,
            MprotectFlags::READ | MprotectFlags::WRITE,
        )
    };
    assert_eq!(
        turned,
        Err(Errno::ACCESS),
        "what is mapped for reading cannot be turned"
    );
    assert_eq!(
        rustix::io::pwrite(&descriptors.down, b"x", 0),
        Err(Errno::PERM)
    );
    // SAFETY: as above.
    unsafe { munmap(start.cast(), bytes) }.expect("unmapping");
}

#[test]
fn neither_segment_changes_its_size_or_its_seals() {
    let (_supervisor, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    for fd in [&descriptors.down, &descriptors.up] {
        assert_eq!(ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 1 << 30), Err(Errno::PERM));
        assert_eq!(fcntl_add_seals(fd, SealFlags::WRITE), Err(Errno::PERM));
    }
}

#[test]
fn only_memory_of_the_own_incarnation_is_attached() {
    let (_supervisor, HostDescriptors { down, up, bell }) =
        SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    let error = HostLink::attach(down, up, bell, Incarnation(8)).expect_err("another incarnation");
    assert!(error.to_string().contains("another incarnation"), "{error}");
}

#[test]
fn memory_that_no_supervisor_made_is_refused() {
    let make = |bytes: u64, seals| {
        let fd = memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("memory");
        ftruncate(&fd, bytes).expect("resizing");
        fcntl_add_seals(&fd, seals).expect("sealing");
        fd
    };
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::FUTURE_WRITE;
    let whole = (CONTROL_BYTES + MIN_RING_BYTES) as u64;
    let cases = [
        ("seals", make(whole, SealFlags::SHRINK)),
        ("control page", make(100, sealed)),
        ("size", make(whole + 1, sealed)),
        ("magic", make(whole, sealed)),
    ];
    for (reason, down) in cases {
        let (_supervisor, HostDescriptors { up, bell, .. }) =
            SupervisorLink::create(SIZES, INCARNATION).expect("a link");
        let error = HostLink::attach(down, up, bell, INCARNATION).expect_err(reason);
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
}

#[test]
fn what_is_sent_arrives_both_ways_with_its_header() {
    let (mut supervisor, mut host) = pair();
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for number in 0..5_000 {
        let header = record(number, 16 << 10, &mut sent);
        assert!(
            supervisor
                .down
                .try_push(&header, &sent)
                .expect("an honest host")
        );
        assert_eq!(
            host.wait(&WaitPolicy {
                spin: Duration::ZERO,
                timeout: Duration::ZERO
            }),
            WaitResult::Ready
        );
        let peeked = host
            .down
            .try_peek(0)
            .expect("an honest supervisor")
            .expect("a record");
        assert_eq!(peeked.header, header);
        peeked.copy_to(&mut received).expect("unchecked");
        assert_eq!(received, sent);
        host.down.release(1);
        host.push(&header, &received).expect("within the limit");
        assert_eq!(supervisor.up.try_take(&mut received), Ok(Some(header)));
        assert_eq!(received, sent);
    }
}

#[test]
fn records_are_read_in_place_and_in_any_depth() {
    let (mut supervisor, mut host) = pair();
    assert!(
        host.down
            .try_peek(0)
            .expect("an honest supervisor")
            .is_none()
    );
    for lap in 0..200_u64 {
        for number in 0..10_u64 {
            let shape = Shape::new(&[2, number]).expect("two dimensions");
            let mut header = RecordHeader::new(3, Tick(lap));
            header.tensor = Some((DType::U64, shape));
            let bytes = usize::try_from(16 * number).expect("small");
            let mut space = supervisor
                .down
                .try_reserve(&header, bytes)
                .expect("an honest host")
                .expect("space");
            assert!(space.as_mut_ptr().addr().is_multiple_of(64));
            for at in 0..2 * usize::try_from(number).expect("small") {
                space.write(8 * at, &(lap + number).to_ne_bytes());
            }
            space.publish();
        }
        assert!(
            host.down
                .try_peek(10)
                .expect("an honest supervisor")
                .is_none()
        );
        for number in (0..10).rev() {
            let peeked = host
                .down
                .try_peek(number)
                .expect("an honest supervisor")
                .expect("a record");
            assert!(peeked.as_ptr().addr().is_multiple_of(64));
            assert_eq!(peeked.payload_bytes(), 16 * number);
            for at in 0..2 * number {
                // SAFETY: the payload is as long, lies there until it is released, and nobody writes it meanwhile.
                let word = unsafe { peeked.as_ptr().cast::<u64>().add(at).read() };
                assert_eq!(word, lap + number as u64);
            }
        }
        host.down.release(4);
        assert_eq!(
            host.down
                .try_peek(0)
                .expect("an honest supervisor")
                .expect("a record")
                .payload_bytes(),
            64
        );
        host.down.release(6);
    }
}

#[test]
fn a_reservation_that_is_dropped_leaves_no_trace() {
    let (mut supervisor, mut host) = pair();
    let header = RecordHeader::new(1, Tick(1));
    for number in 0..2_000_u64 {
        let mut space = supervisor
            .down
            .try_reserve(&header, 1000)
            .expect("an honest host")
            .expect("space");
        space.write(0, &[0xff; 1000]);
        assert!(host.down.is_empty());
        assert!(
            supervisor
                .down
                .try_push(&header, &number.to_le_bytes())
                .expect("an honest host")
        );
        let mut received = Vec::new();
        assert!(
            host.down
                .try_take(&mut received)
                .expect("an honest supervisor")
                .is_some()
        );
        assert_eq!(received, number.to_le_bytes());
    }
}

#[test]
fn staged_records_are_seen_together() {
    let (mut supervisor, mut host) = pair();
    let mut received = Vec::new();
    for lap in 0..1_000_u64 {
        for number in 0..16_u64 {
            assert!(
                supervisor
                    .down
                    .try_stage(&RecordHeader::new(1, Tick(number)), &[1; 100])
                    .expect("an honest host")
            );
            assert!(
                host.down.is_empty(),
                "record {number} of lap {lap} is seen too early"
            );
        }
        supervisor.down.publish();
        for number in 0..16_u64 {
            let header = host
                .down
                .try_take(&mut received)
                .expect("an honest supervisor")
                .expect("a record");
            assert_eq!(header.tick, Tick(number));
        }
        assert!(host.down.is_empty());
    }
}

#[test]
fn what_can_never_fit_is_refused_and_a_full_ring_is_not() {
    let (mut supervisor, mut host) = pair();
    let limit = supervisor.down.max_payload_bytes();
    assert_eq!(limit, MIN_RING_BYTES / 4);
    let header = RecordHeader::new(1, Tick(1));
    let error = supervisor
        .down
        .try_push(&header, &vec![0; limit + 1])
        .expect_err("too large");
    assert_eq!(
        error,
        PushError::TooLarge {
            bytes: limit + 1,
            limit
        }
    );
    let mut described = header;
    described.tensor = Some((DType::F32, Shape::new(&[3]).expect("one dimension")));
    assert!(matches!(
        supervisor.down.try_push(&described, &[0; 8]),
        Err(PushError::Tensor(_))
    ));
    let mut pushed = 0;
    while supervisor
        .down
        .try_push(&header, &vec![0; limit])
        .expect("an honest host")
    {
        pushed += 1;
    }
    assert_eq!(
        pushed, 3,
        "three quarters and their headers; the fourth does not fit beside a header"
    );
    assert_eq!(supervisor.down.starved_for(), Some(limit));
    assert!(supervisor.arm(), "nothing to do but to wait for space");
    let mut received = Vec::new();
    assert!(
        host.down
            .try_take(&mut received)
            .expect("an honest supervisor")
            .is_some()
    );
    let bell = supervisor.bell();
    let mut descriptors = [rustix::event::PollFd::new(
        &bell,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut descriptors, Some(&now)),
        Ok(1),
        "the host rings when it frees space"
    );
    supervisor.disarm();
}

#[test]
fn the_supervisor_does_not_sleep_over_a_record() {
    let (mut supervisor, mut host) = pair();
    let header = RecordHeader::new(1, Tick(1));
    host.push(&header, b"before").expect("within the limit");
    assert!(!supervisor.arm(), "there is a record");
    let mut received = Vec::new();
    assert!(
        supervisor
            .up
            .try_take(&mut received)
            .expect("an honest host")
            .is_some()
    );
    assert!(supervisor.arm());
    let mut rings = [0; 8];
    assert_eq!(
        rustix::io::read(supervisor.bell(), &mut rings),
        Err(Errno::AGAIN)
    );
    for _ in 0..3 {
        host.push(&header, b"after").expect("within the limit");
    }
    assert_eq!(rustix::io::read(supervisor.bell(), &mut rings), Ok(8));
    assert_eq!(u64::from_ne_bytes(rings), 1, "one ring for one sleep");
    supervisor.disarm();
}

#[test]
fn a_wait_without_a_record_ends() {
    let (_supervisor, mut host) = pair();
    let policy = WaitPolicy {
        spin: Duration::from_micros(10),
        timeout: Duration::from_millis(5),
    };
    assert_eq!(host.wait(&policy), WaitResult::TimedOut);
}

/// A second mapping of a segment, for tests that write there against all rules.
struct Vandal {
    words: *const AtomicU64,
    count: usize,
}

// SAFETY: the mapping stays to the end of the process and is only used through atomics.
unsafe impl Send for Vandal {}

impl Vandal {
    fn new(fd: &OwnedFd, bytes: usize) -> Vandal {
        let words =
            map(fd, ProtFlags::READ | ProtFlags::WRITE, bytes).expect("the way up is writable");
        Vandal {
            words: words.cast::<AtomicU64>(),
            count: bytes / 8,
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.count);
        // SAFETY: within the mapping, aligned, and never unmapped.
        unsafe { &*self.words.add(at) }
    }
}

#[test]
fn scribbled_memory_is_a_violation_and_never_a_wrong_record() {
    let mut violations = 0;
    for round in 0..200 {
        let (mut supervisor, HostDescriptors { down, up, bell }) =
            SupervisorLink::create(SIZES, INCARNATION).expect("a link");
        let vandal = Vandal::new(&up, CONTROL_BYTES + 2 * MIN_RING_BYTES);
        let mut host = HostLink::attach(down, up, bell, INCARNATION).expect("attaching");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let vandal = vandal;
                let mut random = TestRng::new(round);
                while !is_over.load(Ordering::Relaxed) {
                    let at = random.below(vandal.count as u64);
                    let value = if random.below(2) == 0 {
                        random.below(70_000)
                    } else {
                        random.next_u64()
                    };
                    vandal
                        .word(usize::try_from(at).expect("small"))
                        .store(value, Ordering::Relaxed);
                }
            });
            let (mut sent, mut received, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for number in 0..200 {
                let header = record(number, 16 << 10, &mut sent);
                host.up
                    .try_push(&header, &sent)
                    .expect("what comes down is not scribbled on");
                match supervisor.up.try_take(&mut received) {
                    Ok(Some(header)) => {
                        assert_eq!(
                            header,
                            record(header.tick.0, 16 << 10, &mut expected),
                            "round {round}"
                        );
                        assert!(
                            received == expected,
                            "a payload of other bytes was believed in round {round}"
                        );
                    }
                    Ok(None) => {}
                    Err(violation) => {
                        assert_eq!(
                            supervisor.up.try_take(&mut received),
                            Err(violation),
                            "nothing is read after it"
                        );
                        assert!(
                            !supervisor.up.is_empty(),
                            "who waits for records must learn of it"
                        );
                        violations += 1;
                        break;
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
    assert!(violations > 0, "the scribbling is meant to be noticed");
}

#[test]
fn an_impossible_progress_is_a_violation() {
    let (mut supervisor, HostDescriptors { up, .. }) =
        SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    let vandal = Vandal::new(&up, CONTROL_BYTES + 2 * MIN_RING_BYTES);
    let header = RecordHeader::new(1, Tick(1));
    vandal
        .word(shm_protocol::ring::layout::CONSUMED_AT / 8)
        .store(1 << 40, Ordering::Relaxed);
    let outcome = loop {
        match supervisor.down.try_push(&header, &[0; 10_000]) {
            Ok(true) => {}
            other => break other,
        }
    };
    assert!(
        matches!(outcome, Err(PushError::Violation(violation)) if violation.position == 1 << 40),
        "{outcome:?}"
    );
}
