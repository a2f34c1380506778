//! Fault injection: plans, and the rules that are due.
//!
//! * [`FaultRule`], [`FaultPlan`]: a plan and its text; read by [`crate::fleet`], which reports errors with their
//!   place;
//! * [`Faults`]: the rules that are due now, and those that have fired;
//! * [`FaultyDisk`]: a disk with injected faults.
//!
//! The fault points and their kinds are in [`shm_protocol::fault`]. A fault never reaches the journal: whatever fires,
//! the record of a tick is the same. A fault is recorded before it happens, so that a resumed run does not repeat it.

mod faulty_disk;
mod fired;
mod injector;
mod plan;
mod rule;

pub(crate) use crate::sys::kill_self;
pub use faulty_disk::{DiskSwitch, FaultyDisk, FileClass};
pub use fired::{FaultRecorder, FiredFault, Injection};
pub use injector::{Faults, HostView};
pub use plan::FaultPlan;
pub use rule::{DEFAULT_MS, FaultRule, FaultTarget, RuleId};

#[cfg(test)]
mod tests;
