//! The two rings between the supervisor and one host.
//!
//! The supervisor creates both segments and the bell, keeps its mappings and
//! passes the descriptors. What goes *down* lies in memory that the host can
//! only map for reading: the seal `F_SEAL_FUTURE_WRITE` is set after the
//! supervisor has mapped it. What goes *up* lies in memory that the supervisor
//! maps for reading. A restart makes a new link, so a late writer of a dead
//! incarnation writes into memory that nobody reads.

mod error;
mod host;
mod segment;
mod spin;
mod supervisor;

pub use error::LinkError;
pub use host::{HostLink, WaitPolicy, WaitResult};
pub use spin::Spinner;
pub use supervisor::{HostDescriptors, LEAST_RING_BYTES, LinkSizes, SupervisorLink};
