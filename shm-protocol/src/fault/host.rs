//! The host's side: the calls at fault points, which execute the faults that are armed there.

use super::kind::FaultKind;
use super::point::FaultPoint;
use super::slot::{self, ANY, FaultSlot};
use crate::id::Tick;
use crate::limit::FAULT_SLOTS;
use crate::ring::layout::{CONSUMED_AT, LINE, MAY_FAULT_AT};
use crate::ring::{Bell, SegmentMemory, Wake};
use crate::sys::{SharedMemory, crash};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// True in a host process in which faults may be armed. Set once, when the host attaches its memory.
static MAY_FAULT: AtomicBool = AtomicBool::new(false);

/// Passes a fault point of a host, for the tick and subject of the point that was passed last.
#[inline(always)]
pub fn point(phase: FaultPoint) {
    // Relaxed: the flag guards no data; the slow path takes a lock before it reads what the flag is about.
    if MAY_FAULT.load(Ordering::Relaxed) {
        pass(phase, None);
    }
}

/// Passes a fault point of a host in a tick, for an agent, a model, or [`ANY`].
#[inline(always)]
pub fn at(phase: FaultPoint, tick: Tick, subject: u32) {
    if MAY_FAULT.load(Ordering::Relaxed) {
        pass(phase, Some((tick, subject)));
    }
}

/// Passes a fault point of a host at which the calling operation can fail. `true` if it must:
/// [`FaultKind::ModelGone`].
#[inline(always)]
#[must_use]
pub fn fails(phase: FaultPoint, tick: Tick, subject: u32) -> bool {
    MAY_FAULT.load(Ordering::Relaxed) && pass(phase, Some((tick, subject)))
}

/// Interval at which a parked host sleeps.
const NAP: Duration = Duration::from_millis(100);

/// The state of fault injection in this process.
struct HostFaults {
    down: SharedMemory,
    up: SharedMemory,
    bell: Bell,
    /// The mark of each slot that fired last, so that no arming fires twice.
    fired: [u64; FAULT_SLOTS],
    /// Tick and subject of the last point.
    now: (Tick, u32),
    /// The fault of the next record.
    spoil: Option<FaultKind>,
}

static HOST: Mutex<Option<HostFaults>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<HostFaults>> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enables the fault points of this process, if its memory allows faults. Returns whether it does.
pub(crate) fn attach(down: &SharedMemory, up: &SharedMemory, bell: &Bell) -> bool {
    let may_fault = down.load_u32(MAY_FAULT_AT, Ordering::Relaxed) != 0;
    if may_fault {
        *lock() = Some(HostFaults {
            down: down.clone(),
            up: up.clone(),
            bell: bell.clone(),
            fired: [0; FAULT_SLOTS],
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
fn pass(point: FaultPoint, now: Option<(Tick, u32)>) -> bool {
    let now = {
        let mut host = lock();
        let Some(host) = host.as_mut() else {
            return false;
        };
        host.now = now.unwrap_or(host.now);
        host.now
    };
    execute_armed(point, now)
}

/// Passes a point of the ring for a record of this tick.
#[cold]
#[inline(never)]
pub(crate) fn at_ring(point: FaultPoint, tick: Tick) {
    execute_armed(point, (tick, ANY));
}

/// Executes all faults that are armed here. `true` if the caller must fail.
fn execute_armed(point: FaultPoint, (tick, subject): (Tick, u32)) -> bool {
    let mut fails = false;
    loop {
        let fired = lock()
            .as_mut()
            .and_then(|host| host.fire(point, tick, subject));
        let Some(slot) = fired else { return fails };
        fails |= slot.kind == FaultKind::ModelGone;
        execute(&slot);
    }
}

impl HostFaults {
    /// A fault that is armed at this point and has not fired. Acknowledges it to the supervisor.
    fn fire(&mut self, point: FaultPoint, tick: Tick, subject: u32) -> Option<FaultSlot> {
        for (position, fired) in self.fired.iter_mut().enumerate() {
            let Some((slot, mark)) = slot::read(&self.down, position) else {
                continue;
            };
            if mark != *fired && slot.matches(point, tick, subject) {
                *fired = mark;
                if slot.kind == FaultKind::IndexOutOfRange {
                    // An aligned position that the supervisor has never written.
                    let impossible = u64::MAX - (LINE as u64 - 1);
                    self.up
                        .store_u64(CONSUMED_AT, impossible, Ordering::Release);
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

/// Takes the fault of the next record, if `takes` accepts it.
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
        // These affect the next record or the caller, or nothing in a host.
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

/// Sleeps until the supervisor ends this process.
#[cold]
pub(crate) fn park() -> ! {
    if let Some(host) = lock().as_ref() {
        // The supervisor must see the records that were published before.
        host.bell.wake();
    }
    loop {
        nap(NAP);
    }
}

#[allow(clippy::disallowed_methods, reason = "a fault whose effect is a delay")]
fn nap(time: Duration) {
    std::thread::sleep(time);
}
