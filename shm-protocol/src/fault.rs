//! Faults that are injected on purpose, at named points of the code.
//!
//! The points are part of the released binary, so that the tests exercise what is shipped. In a run without a fault
//! plan a point costs one branch.
//!
//! * [`FaultPoint`]: the points of all crates; [`FaultKind`]: what can go wrong at a point;
//! * [`FaultSlot`]: an armed fault, in shared memory;
//! * [`ArmedFaults`]: the supervisor's side, which arms faults and learns which have fired;
//! * [`point`], [`at`], [`fails`]: the host's side, called at the points.
//!
//! The supervisor arms a fault by writing to the control page of the segment down, and the host acknowledges in that of
//! the segment up, never by a message: injecting a fault does not disturb what the host is doing. The host first
//! acknowledges a fault and then executes it, so the supervisor learns of a fault that ends the host.

mod host;
mod kind;
mod point;
mod slot;
mod supervisor;

pub use host::{at, fails, point};
pub use kind::{FaultKind, FaultResponse};
pub use point::{FaultPoint, FaultProcess, Pin};
pub use slot::{ANY, ANY_TICK, FaultSlot};
pub use supervisor::ArmedFaults;

pub(crate) use host::{at_ring, attach, park, take_spoil};
