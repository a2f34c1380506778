//! What becomes of a host that is lost: decisions only, no process and no clock.
//!
//! * [`Policy`]: whether and when a lost host comes back, or is given up;
//! * [`Limits`]: how often, from the fleet file.

mod limits;
mod policy;

pub use limits::{RestartLimit, RestartLimits};
pub use policy::{HostLoss, HostWork, LossCause, RecoveryDecision, RestartPolicy, StopReason};
