//! Two real processes over one link. The promise: every record arrives once, in
//! order and whole, whoever sleeps or spins; and a writer that is killed at any
//! instant leaves nothing but whole records behind.

mod common;

use common::{INCARNATION, record, role, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getppid;
use shm_protocol::boot;
use shm_protocol::id::Tick;
use shm_protocol::link::{HostLink, LinkSizes, SupervisorLink, WaitPolicy, WaitResult};
use shm_protocol::ring::RecordHeader;
use shm_protocol::sys::inherited;
use std::time::Duration;

const SIZES: LinkSizes = LinkSizes {
    down_bytes: 64 << 10,
    up_bytes: 64 << 10,
};
use test_support::TestRng;
const LIMIT: u64 = 16 << 10;
const RECORDS: u64 = 100_000;
const STOP: u16 = 1000;

/// Plays the host when this program was started as one, and nothing otherwise.
#[test]
fn host() {
    match role().as_deref() {
        Some("echo") => echo(attach()),
        Some("stream") => stream(attach()),
        _ => {}
    }
}

fn attach() -> HostLink {
    let take = |number| inherited::take(number).expect("passed by the parent");
    HostLink::attach(
        take(boot::TO_HOST),
        take(boot::FROM_HOST),
        take(boot::BELL),
        INCARNATION,
    )
    .expect("a link")
}

/// Sends back what comes, now spinning, now sleeping at once, until it is told to stop or has no parent.
fn echo(mut link: HostLink) {
    let mut payload = Vec::new();
    let mut random = TestRng::new(99);
    let parent = getppid();
    loop {
        let spin =
            Duration::from_micros([0, 0, 5, 50][usize::try_from(random.below(4)).expect("small")]);
        match link.wait(&WaitPolicy {
            spin,
            timeout: Duration::from_millis(200),
        }) {
            WaitResult::TimedOut if getppid() != parent => return,
            WaitResult::TimedOut => continue,
            WaitResult::Ready => {}
        }
        while let Some(header) = link
            .down
            .try_take(&mut payload)
            .expect("an honest supervisor")
        {
            if header.kind == STOP {
                return;
            }
            link.push(&header, &payload).expect("the same length fits");
        }
    }
}

/// Pushes records for ever.
fn stream(mut link: HostLink) {
    let mut payload = Vec::new();
    for number in 0.. {
        let header = record(number, LIMIT, &mut payload);
        link.push(&header, &payload).expect("within the limit");
    }
}

/// Sleeps until the host rings. `false` when it never does.
fn sleep(link: &SupervisorLink) -> bool {
    let bell = link.bell();
    let mut descriptors = [PollFd::new(&bell, PollFlags::IN)];
    poll(
        &mut descriptors,
        Some(&Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        }),
    )
    .expect("poll")
        == 1
}

#[test]
fn every_record_comes_back_once_in_order_and_whole() {
    let (mut link, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    let mut child = start("host", "echo", descriptors);
    let (mut sent, mut received) = (0, 0);
    let (mut ours, mut theirs, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    let mut random = TestRng::new(5);
    let mut sleeps = 0;
    while received < RECORDS {
        let before = sent + received;
        let burst = random.below(64);
        for _ in 0..burst.min(RECORDS - sent) {
            let header = record(sent, LIMIT, &mut ours);
            if !link.down.try_push(&header, &ours).expect("an honest host") {
                break;
            }
            sent += 1;
        }
        link.down.notify();
        for _ in 0..random.below(64) {
            let Some(header) = link.up.try_take(&mut theirs).expect("an honest host") else {
                break;
            };
            assert_eq!(header, record(received, LIMIT, &mut expected));
            assert!(
                theirs == expected,
                "the payload of record {received} has changed"
            );
            received += 1;
        }
        if sent + received == before && received < sent && link.arm() {
            sleeps += 1;
            assert!(
                sleep(&link),
                "a wake-up was lost at {sent} sent, {received} received"
            );
            link.disarm();
        }
    }
    assert!(sleeps > 0, "the test is meant to sleep as well");
    assert_eq!(link.up.try_take(&mut theirs), Ok(None));
    assert!(
        link.down
            .try_push(&RecordHeader::new(STOP, Tick::ZERO), &[])
            .expect("an honest host")
    );
    link.down.notify();
    assert!(child.wait().expect("a child").success());
}

#[test]
fn a_killed_writer_leaves_whole_records_and_then_silence() {
    let mut random = TestRng::new(1);
    for round in 0..20 {
        let (mut link, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
        let mut child = start("host", "stream", descriptors);
        let (mut payload, mut expected) = (Vec::new(), Vec::new());
        let mut number = 0;
        let mut take = |link: &mut SupervisorLink| {
            let found = link
                .up
                .try_take(&mut payload)
                .expect("no violation, whenever the writer dies");
            if let Some(header) = found {
                assert_eq!(
                    header,
                    record(number, LIMIT, &mut expected),
                    "round {round}"
                );
                assert!(
                    payload == expected,
                    "the payload of record {number} has changed in round {round}"
                );
                number += 1;
            }
            found.is_some()
        };
        let lives = 100 + random.below(3000);
        let mut taken = 0;
        while taken < lives {
            taken += u64::from(take(&mut link));
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
        while take(&mut link) {}
        assert!(!take(&mut link), "nothing more can come");
    }
}
