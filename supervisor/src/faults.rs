//! Faults on purpose: what a plan says, and when it is due.
//!
//! * [`Rule`], [`Plan`]: a plan and its text; read by [`crate::fleet`], which knows how to point at what is wrong;
//! * `random`: plans for `lockstep chaos`;
//! * [`Faults`]: which rules are due now, and which have fired;
//! * [`FaultyDisk`]: a disk that fails when it is told to.
//!
//! What can happen where is in [`shm_protocol::fault`]. A fault never reaches the
//! journal: whatever fires, the record of a tick is the same. What has fired is
//! written down before it happens, so that a run that is resumed does not do it
//! again.

mod faulty_disk;
mod fired;
mod injector;
mod plan;
mod random;
mod rule;

pub use faulty_disk::{DiskSwitch, FaultyDisk, FileClass};
pub use fired::{FaultRecorder, FiredFault, Injection};
pub(crate) use injector::kill_self;
pub use injector::{Faults, HostView};
pub use plan::FaultPlan;
pub use random::{RunShape, Weights};
pub use rule::{DEFAULT_MS, FaultRule, FaultTarget, RuleId};

#[cfg(test)]
mod tests;
