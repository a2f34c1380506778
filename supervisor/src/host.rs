//! The life of a host process, from its start to its reaping.
//!
//! * [`Program`]: this binary, held open, so that hosts start from it even if the file is replaced;
//! * [`Lifecycle`]: where a host is in its life, with one transition function;
//! * [`Process`]: one incarnation: process, link, command channel, stderr tail;
//! * [`Pool`]: all of them, and the one place where the supervisor waits.
//!
//! A host that is lost is replaced by a new incarnation with new memory, in the
//! same place of the [`Pool`]. When, and what becomes of its agents, is decided
//! in [`crate::recovery`] and done in [`crate::session`].

pub(crate) mod batch_messages;
mod decode;
mod error;
mod host_set;
mod lifecycle;
mod pool;
mod process;
mod program;
mod socket_dir;
mod spare;
mod spawn_config;
mod startup_messages;
mod stderr_tail;
mod stop_signals;

pub use decode::decoded;
pub use error::{HostKind, HostSetError, ending, is_crash};
pub use host_set::{HostSet, LOAD_PATIENCE};
pub use lifecycle::{IllegalTransition, Lifecycle, LifecycleEvent};
pub use pool::{HostEvent, HostPool, PoolError};
pub use process::{CommandSender, HostProcess, SpawnError, SpawnParams};
pub use program::HostProgram;
pub use socket_dir::sweep_socket_folders;
pub use spawn_config::SpawnConfig;
pub use stderr_tail::StderrTail;
pub use stop_signals::StopSignals;
