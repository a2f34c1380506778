//! The two rings between the supervisor and one host.
//!
//! The supervisor creates both segments and the bell, keeps its mappings, and passes the descriptors. The host can map
//! the segment *down* only for reading: the seal `F_SEAL_FUTURE_WRITE` is set after the supervisor has mapped it. The
//! supervisor maps the segment *up* for reading. A restart makes a new link, so a late write of a dead incarnation goes
//! to memory that nobody reads.

mod error;
mod host;
mod segment;
mod spin;
mod supervisor;

pub use error::LinkError;
pub use host::{HostLink, WaitPolicy, WaitResult};
pub use spin::Spinner;
pub use supervisor::{HostDescriptors, LinkSizes, SupervisorLink};
