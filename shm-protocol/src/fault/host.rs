//! A host's side: looks whether a fault waits at a point, and lets it happen.

use super::MAY_FAULT;
use super::kind::FaultKind;
use super::point::FaultPoint;
use super::slot::{self, ANY, FaultSlot, SLOTS};
use crate::id::Tick;
use crate::ring::layout::{CONSUMED_AT, LINE, MAY_FAULT_AT};
use crate::ring::{Bell, SegmentMemory, Wake};
use crate::sys::{SharedMemory, crash};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a host that waits for its end sleeps at a time.
const NAP: Duration = Duration::from_millis(100);

/// What the points of this process look at.
struct HostFaults {
    down: SharedMemory,
    up: SharedMemory,
    bell: Bell,
    /// The last mark of each slot that has fired, so that no arming fires twice.
    fired: [u64; SLOTS],
    /// Tick and subject that were named last.
    now: (Tick, u32),
    /// What becomes of the next record.
    spoil: Option<FaultKind>,
}

static HOST: Mutex<Option<HostFaults>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<HostFaults>> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the points of this process look into the memory that it has attached, if faults may be armed there. Gives
/// whether they may.
pub(crate) fn attach(down: &SharedMemory, up: &SharedMemory, bell: &Bell) -> bool {
    let may_fault = down.load_u32(MAY_FAULT_AT, Ordering::Relaxed) != 0;
    if may_fault {
        *lock() = Some(HostFaults {
            down: down.clone(),
            up: up.clone(),
            bell: bell.clone(),
            fired: [0; SLOTS],
            now: (Tick::ZERO, ANY),
            spoil: None,
        });
        MAY_FAULT.store(true, Ordering::Relaxed);
    }
    may_fault
}

/// Passes a point. `true` if the caller must fail.
#[cold]
#[inline(never)]
pub(super) fn pass(phase: FaultPoint, now: Option<(Tick, u32)>) -> bool {
    let now = {
        let mut host = lock();
        let Some(host) = host.as_mut() else {
            return false;
        };
        host.now = now.unwrap_or(host.now);
        host.now
    };
    happen(phase, now)
}

/// Passes a point of the ring, for a record of this tick.
#[cold]
#[inline(never)]
pub(crate) fn at_ring(phase: FaultPoint, tick: Tick) {
    happen(phase, (tick, ANY));
}

/// Lets happen all that waits here. `true` if the caller must fail.
fn happen(phase: FaultPoint, (tick, subject): (Tick, u32)) -> bool {
    let mut fails = false;
    loop {
        let fired = lock()
            .as_mut()
            .and_then(|host| host.fire(phase, tick, subject));
        let Some(slot) = fired else { return fails };
        fails |= slot.kind == FaultKind::ModelGone;
        execute(&slot);
    }
}

impl HostFaults {
    /// A fault that waits at this point and has not fired. The supervisor is told.
    fn fire(&mut self, phase: FaultPoint, tick: Tick, subject: u32) -> Option<FaultSlot> {
        for (position, fired) in self.fired.iter_mut().enumerate() {
            let Some((slot, mark)) = slot::read(&self.down, position) else {
                continue;
            };
            if mark != *fired && slot.matches(phase, tick, subject) {
                *fired = mark;
                if slot.kind == FaultKind::IndexOutOfRange {
                    // No position that the supervisor has ever written to, and as well aligned as one.
                    let nowhere = u64::MAX - (LINE as u64 - 1);
                    self.up.store_u64(CONSUMED_AT, nowhere, Ordering::Release);
                }
                slot::echo(&self.up, position, mark);
                self.bell.wake();
                if slot.kind.spoils_record() {
                    self.spoil = Some(slot.kind);
                }
                return Some(slot);
            }
        }
        None
    }
}

/// What becomes of the next record, once.
#[cold]
pub(crate) fn take_spoil(takes: impl Fn(FaultKind) -> bool) -> Option<FaultKind> {
    lock().as_mut()?.spoil.take_if(|kind| takes(*kind))
}

fn execute(slot: &FaultSlot) {
    match slot.kind {
        FaultKind::Segfault => crash::write_to_null(),
        FaultKind::Abort => std::process::abort(),
        FaultKind::Exit | FaultKind::StartFailure => crash::exit_at_once(1),
        FaultKind::Slow => nap(Duration::from_millis(slot.ms.into())),
        FaultKind::Kill
        | FaultKind::Stop
        | FaultKind::SupervisorKill
        | FaultKind::IndexOutOfRange
        | FaultKind::RingStalled
        | FaultKind::NeverReady
        | FaultKind::InferenceTimeout => park(),
        // The next record suffers, or the caller, or nothing in a host does.
        FaultKind::TornSlot
        | FaultKind::StaleSequence
        | FaultKind::RepeatedSequence
        | FaultKind::CorruptHeader
        | FaultKind::CorruptPayload
        | FaultKind::ModelGone
        | FaultKind::DiskFull
        | FaultKind::WriteError
        | FaultKind::ShortWrite
        | FaultKind::FsyncError => {}
    }
}

/// Waits until the supervisor ends this process, which it knows of or has to notice.
#[cold]
pub(crate) fn park() -> ! {
    if let Some(host) = lock().as_ref() {
        // What was published before is to be seen.
        host.bell.wake();
    }
    loop {
        nap(NAP);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fault that was asked for: time is what it is about"
)]
fn nap(time: Duration) {
    std::thread::sleep(time);
}
