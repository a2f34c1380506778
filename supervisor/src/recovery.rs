//! The recovery of lost hosts: decisions only, no process and no clock.
//!
//! * [`RestartPolicy`]: the decision to restart a lost host, to quarantine an agent, or to stop the run;
//! * [`RecoveryLimits`]: the limits of restarts, from the fleet file.

mod limits;
mod policy;

pub use limits::{RecoveryLimits, RestartLimit};
pub use policy::{HostLoss, HostWork, LossCause, RecoveryDecision, RestartPolicy, StopReason};
