//! Faults that are injected on purpose, at named points of the code.
//!
//! The points stand in the released binary, so that what is tested is what is
//! shipped. A run without a fault plan pays one branch for each that it passes.
//!
//! * [`FaultPoint`]: the points of all crates; [`Kind`]: what can go wrong there;
//! * [`Slot`]: a fault that waits in shared memory for its point;
//! * [`ArmedFaults`]: the supervisor's side: arms, and hears what has fired;
//! * [`point`], [`at`], [`fails`]: a host's side.
//!
//! The supervisor arms by writing into the control page of the segment down, and
//! a host answers in that of the segment up, never by a message: a fault comes
//! without any effect on what else the host is doing. A host first says that a
//! fault has fired and then lets it happen, so the supervisor knows of it even
//! if that is the last thing that the host ever does.

mod host;
mod kind;
mod point;
mod slot;
mod supervisor;

pub use kind::{FaultKind, FaultResponse};
pub use point::{FaultPoint, FaultProcess, Pin};
pub use slot::{ANY, ANY_TICK, FaultSlot, SLOTS};
pub use supervisor::ArmedFaults;

pub(crate) use host::{at_ring, attach, park, take_spoil};

use crate::id::Tick;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this process is a host in which faults may be armed. It is set once, when a host attaches its memory.
static MAY_FAULT: AtomicBool = AtomicBool::new(false);

/// Passes a point of a host that belongs to the tick and subject that were named last.
#[inline(always)]
pub fn point(phase: FaultPoint) {
    // Relaxed: the flag guards nothing; who sees it set looks at what it is about behind a lock.
    if MAY_FAULT.load(Ordering::Relaxed) {
        host::pass(phase, None);
    }
}

/// Passes a point of a host in a tick, for an agent or a model, or [`ANY`].
#[inline(always)]
pub fn at(phase: FaultPoint, tick: Tick, subject: u32) {
    if MAY_FAULT.load(Ordering::Relaxed) {
        host::pass(phase, Some((tick, subject)));
    }
}

/// Passes a point of a host at which the caller itself can fail. `true` if it must: [`Kind::ModelGone`].
#[inline(always)]
#[must_use]
pub fn fails(phase: FaultPoint, tick: Tick, subject: u32) -> bool {
    MAY_FAULT.load(Ordering::Relaxed) && host::pass(phase, Some((tick, subject)))
}
