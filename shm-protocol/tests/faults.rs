//! Faults that are injected into a real host process. The promises:
//!
//! * a fault happens at its point, in its tick, once for each arming, and nowhere else;
//! * the supervisor hears of it, whatever becomes of the host;
//! * whatever the host writes, the supervisor takes whole records in order and then refuses or hears nothing;
//! * a link that was made without faults has none.

mod common;

use common::{INCARNATION, role, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_protocol::boot;
use shm_protocol::fault::{self, ANY, ANY_TICK, FaultKind, FaultPoint, FaultSlot};
use shm_protocol::id::Tick;
use shm_protocol::limit::FAULT_SLOTS;
use shm_protocol::link::{HostLink, LinkSizes, SupervisorLink, WaitPolicy};
use shm_protocol::ring::RecordHeader;
use shm_protocol::sys::inherited;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

const SIZES: LinkSizes = LinkSizes {
    down_bytes: 64 << 10,
    up_bytes: 64 << 10,
};

/// Kind of the records of a tick.
const WORK: u16 = 1;
/// Kind of the record that asks for ticks: as many as its tick says.
const GO: u16 = 2;
/// The agent for which the host passes its points.
const AGENT: u32 = 4;
/// Exit code of a host that was told that it must fail.
const FAILED: i32 = 3;
/// Exit code of the test program, which ends without complaint once it has nothing left to do.
const DONE: i32 = 0;

/// Plays the host when this program was started as one, and nothing otherwise.
#[test]
#[allow(clippy::exit, reason = "the exit code is what is looked at")]
fn host() {
    if role().is_none() {
        return;
    }
    let take = |number| inherited::take(number).expect("passed by the parent");
    let (down, up, bell) = (take(boot::TO_HOST), take(boot::FROM_HOST), take(boot::BELL));
    let mut link = HostLink::attach(down, up, bell, INCARNATION).expect("a link");
    fault::point(FaultPoint::ProcessStarted);
    if fault::fails(FaultPoint::BeforeModel, Tick::ZERO, 0) {
        std::process::exit(FAILED);
    }
    let (mut payload, mut tick) = (Vec::new(), Tick::ZERO);
    loop {
        link.wait(&WaitPolicy::HOST);
        while let Some(header) = link.down.try_take(&mut payload).expect("honest") {
            if header.kind != GO {
                std::process::exit(DONE);
            }
            for _ in 0..header.tick.0 {
                tick = tick.next();
                work(&mut link, tick);
            }
        }
    }
}

/// One tick of the host: a step, and a record, by turns copied and written in place.
fn work(link: &mut HostLink, tick: Tick) {
    fault::at(FaultPoint::BeforeStep, tick, AGENT);
    fault::point(FaultPoint::InStep);
    let payload = expected(tick);
    let header = RecordHeader::new(WORK, tick);
    if tick.0.is_multiple_of(2) {
        let mut space = link
            .up
            .try_reserve(&header, payload.len())
            .expect("it fits")
            .expect("there is room");
        space.write(0, &payload);
        space.publish();
        link.up.notify();
    } else {
        link.push(&header, &payload).expect("it fits");
    }
}

/// The payload of a tick.
fn expected(tick: Tick) -> Vec<u8> {
    (0..100)
        .map(|at: u8| at ^ tick.0.to_le_bytes()[0])
        .collect()
}

/// A host that does as it is told, and its supervisor.
struct Pair {
    link: SupervisorLink,
    child: Child,
    heard: Vec<Tick>,
}

impl Pair {
    fn with(slots: &[FaultSlot]) -> Pair {
        let (mut link, descriptors) =
            SupervisorLink::create_with(SIZES, INCARNATION, true).expect("a link");
        for slot in slots {
            assert!(link.faults().expect("faults may be").arm(slot));
        }
        let child = start("host", "faulty", descriptors);
        let heard = Vec::new();
        Pair { link, child, heard }
    }

    fn go(&mut self, ticks: u64) {
        let header = RecordHeader::new(GO, Tick(ticks));
        assert!(self.link.down.try_push(&header, &[]).expect("honest"));
        self.link.down.notify();
    }

    /// Takes whole records until the host has come to a fault, and gives its rule.
    fn until_fired(&mut self) -> u32 {
        loop {
            if let Some(rule) = self.link.faults().expect("faults may be").fired() {
                return rule;
            }
            self.take_all().expect("no record is wrong before a fault");
            self.sleep();
        }
    }

    fn take_all(&mut self) -> Result<(), &'static str> {
        let mut payload = Vec::new();
        while let Some(header) = self
            .link
            .up
            .try_take(&mut payload)
            .map_err(|violation| violation.reason)?
        {
            assert_eq!(header.kind, WORK);
            assert_eq!(payload, expected(header.tick));
            self.heard.push(header.tick);
        }
        Ok(())
    }

    /// Takes records until the last that the host writes, or one is refused.
    fn take_until(&mut self, tick: Tick) -> Result<(), &'static str> {
        loop {
            self.take_all()?;
            if self.heard.last() >= Some(&tick) {
                return Ok(());
            }
            self.sleep();
        }
    }

    /// Waits for the bell. A host that never rings for a fault would show as a wait that never ends.
    fn sleep(&mut self) {
        if self.link.arm() {
            let bell = self.link.bell();
            let mut descriptors = [PollFd::new(&bell, PollFlags::IN)];
            let patience = Timespec {
                tv_sec: 60,
                tv_nsec: 0,
            };
            let rung = poll(&mut descriptors, Some(&patience)).expect("poll");
            assert_eq!(rung, 1, "the host never rang");
            self.link.disarm();
        }
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }

    /// Ends a host that waits for its end.
    fn kill(mut self) -> Vec<Tick> {
        std::thread::yield_now();
        assert_eq!(
            self.child.try_wait().expect("a child"),
            None,
            "the host waits for its end"
        );
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
        self.take_all().expect("nothing wrong was written");
        std::mem::take(&mut self.heard)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A test that failed leaves no host behind. One that ended is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn slot(point: FaultPoint, kind: FaultKind, tick: Tick) -> FaultSlot {
    FaultSlot {
        rule: 7,
        point,
        kind,
        tick,
        subject: ANY,
        ms: 0,
    }
}

fn ticks(count: u64) -> Vec<Tick> {
    (1..=count).map(Tick).collect()
}

#[test]
fn a_host_to_be_killed_waits_at_its_fault_point() {
    let before = [
        (FaultPoint::BeforeStep, 2),
        (FaultPoint::InStep, 2),
        (FaultPoint::RingReserved, 2),
        (FaultPoint::RingHalfPayload, 2),
        (FaultPoint::RingBeforePublish, 2),
        (FaultPoint::RingAfterPublish, 3),
    ];
    for (point, heard) in before {
        for kind in [FaultKind::Kill, FaultKind::Stop, FaultKind::RingStalled] {
            let mut pair = Pair::with(&[slot(point, kind, Tick(3))]);
            pair.go(10);
            assert_eq!(pair.until_fired(), 7, "{point:?}");
            assert_eq!(pair.kill(), ticks(heard), "{point:?}");
        }
    }
}

#[test]
fn a_fault_is_for_its_agent_alone() {
    let mut other = slot(FaultPoint::BeforeStep, FaultKind::Kill, Tick(3));
    other.subject = AGENT + 1;
    let mut own = slot(FaultPoint::BeforeStep, FaultKind::Kill, Tick(5));
    (own.subject, own.rule) = (AGENT, 8);
    let mut pair = Pair::with(&[other, own]);
    pair.go(10);
    assert_eq!(pair.until_fired(), 8);
    assert_eq!(pair.kill(), ticks(4));
}

#[test]
fn a_host_ends_as_it_is_told_and_the_supervisor_hears_of_it() {
    let ends = [
        (FaultKind::Segfault, Some(11), None),
        (FaultKind::Abort, Some(6), None),
        (FaultKind::Exit, None, Some(1)),
    ];
    for (kind, signal, code) in ends {
        let mut pair = Pair::with(&[slot(FaultPoint::InStep, kind, Tick(2))]);
        pair.go(10);
        assert_eq!(pair.until_fired(), 7);
        let status = pair.end();
        assert_eq!((status.signal(), status.code()), (signal, code), "{kind:?}");
    }
    let pair = Pair::with(&[slot(
        FaultPoint::ProcessStarted,
        FaultKind::StartFailure,
        ANY_TICK,
    )]);
    assert_eq!(pair.end().code(), Some(1));
}

#[test]
fn who_must_fail_is_told() {
    let pair = Pair::with(&[slot(
        FaultPoint::BeforeModel,
        FaultKind::ModelGone,
        ANY_TICK,
    )]);
    assert_eq!(pair.end().code(), Some(FAILED));
}

#[test]
fn a_slow_host_goes_on_and_is_slow_once_for_each_arming() {
    let mut slow = slot(FaultPoint::BeforeStep, FaultKind::Slow, ANY_TICK);
    slow.ms = 1;
    let mut pair = Pair::with(&[slow]);
    pair.go(5);
    assert_eq!(pair.until_fired(), 7);
    pair.take_until(Tick(5)).expect("all records are whole");
    assert_eq!(pair.link.faults().expect("may be").fired(), None);
    assert!(pair.link.faults().expect("may be").arm(&slow));
    pair.go(5);
    assert_eq!(pair.until_fired(), 7);
    pair.take_until(Tick(10)).expect("all records are whole");
    assert_eq!(pair.heard, ticks(10));
}

#[test]
fn a_record_that_is_spoiled_is_refused_in_every_word() {
    let spoils = [
        (FaultKind::CorruptHeader, "header"),
        (FaultKind::CorruptPayload, "payload"),
    ];
    for (kind, part) in spoils {
        for tick in 1..=16 {
            let mut pair = Pair::with(&[slot(FaultPoint::BeforeStep, kind, Tick(tick))]);
            pair.go(20);
            let refused = pair.take_until(Tick(tick)).expect_err("it is spoiled");
            assert!(refused.contains(part), "tick {tick}: {refused}");
            assert_eq!(pair.link.faults().expect("may be").fired(), Some(7));
            assert_eq!(pair.heard, ticks(tick - 1));
        }
    }
}

#[test]
fn a_record_with_an_old_sequence_is_never_seen() {
    // More than a lap, so that the old sequence is one that was there.
    for last in [3, 500] {
        let mut pair = Pair::with(&[slot(
            FaultPoint::RingReserved,
            FaultKind::StaleSequence,
            Tick(last),
        )]);
        for _ in 0..last / 100 {
            pair.go(100);
            let until = Tick(pair.heard.len() as u64 + 100);
            if until < Tick(last) {
                pair.take_until(until).expect("all records are whole");
            }
        }
        pair.go(100);
        assert_eq!(pair.until_fired(), 7);
        assert_eq!(pair.kill(), ticks(last - 1));
    }
}

#[test]
fn a_record_that_is_repeated_comes_twice() {
    for tick in [3, 4] {
        let mut pair = Pair::with(&[slot(
            FaultPoint::InStep,
            FaultKind::RepeatedSequence,
            Tick(tick),
        )]);
        pair.go(20);
        assert_eq!(pair.until_fired(), 7);
        let mut expected = ticks(tick);
        expected.push(Tick(tick));
        loop {
            pair.take_all().expect("both are whole");
            if pair.heard.len() >= expected.len() {
                break;
            }
            pair.sleep();
        }
        assert_eq!(pair.kill(), expected);
    }
}

#[test]
fn a_record_that_is_torn_is_never_seen() {
    for tick in [3, 4] {
        let mut pair = Pair::with(&[slot(FaultPoint::InStep, FaultKind::TornSlot, Tick(tick))]);
        pair.go(20);
        assert_eq!(pair.until_fired(), 7);
        assert_eq!(pair.kill(), ticks(tick - 1));
    }
}

#[test]
fn an_impossible_progress_is_refused() {
    let mut pair = Pair::with(&[slot(
        FaultPoint::InStep,
        FaultKind::IndexOutOfRange,
        Tick(3),
    )]);
    pair.go(20);
    assert_eq!(pair.until_fired(), 7);
    let refused = pair.link.down.has_space_for(1).expect_err("it cannot be");
    assert!(
        refused.to_string().contains("impossible position"),
        "{refused}"
    );
}

#[test]
fn what_is_taken_back_does_not_happen_and_leaves_its_slot() {
    let kill = slot(FaultPoint::BeforeStep, FaultKind::Kill, Tick(3));
    let mut pair = Pair::with(&[kill; FAULT_SLOTS]);
    let faults = pair.link.faults().expect("may be");
    assert!(!faults.arm(&kill), "there are no more slots");
    assert!(faults.is_armed(7));
    faults.disarm(7);
    assert!(!faults.is_armed(7));
    let later = FaultSlot {
        rule: 9,
        tick: Tick(5),
        ..kill
    };
    assert!(faults.arm(&later));
    pair.go(20);
    assert_eq!(pair.until_fired(), 9);
    assert_eq!(pair.kill(), ticks(4));
}

#[test]
fn a_link_without_faults_has_none_and_its_host_looks_for_none() {
    let (mut link, descriptors) = SupervisorLink::create(SIZES, INCARNATION).expect("a link");
    assert!(link.faults().is_none());
    let child = start("host", "faulty", descriptors);
    let mut pair = Pair {
        link,
        child,
        heard: Vec::new(),
    };
    pair.go(50);
    pair.take_until(Tick(50)).expect("all records are whole");
    let stop = RecordHeader::new(WORK, Tick::ZERO);
    assert!(pair.link.down.try_push(&stop, &[]).expect("honest"));
    pair.link.down.notify();
    assert_eq!(pair.heard, ticks(50));
    assert_eq!(pair.end().code(), Some(DONE));
}
