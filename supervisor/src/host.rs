//! The life of host processes, from their start to their reaping.
//!
//! * [`HostProgram`]: this binary, held open, so that hosts start from it even if the file is replaced;
//! * [`SpawnConfig`]: the configuration that hosts are started with;
//! * [`Lifecycle`]: the states of a host, with one transition function;
//! * [`HostProcess`]: one incarnation: process, link, command channel, stderr tail;
//! * [`HostPool`]: the living incarnations, and the one place where the supervisor waits;
//! * [`HostSet`]: the hosts of a run, with the hot standby that takes the place of a failed agent host.
//!
//! A failed host is replaced by a new incarnation with new memory in the same
//! slot. When that happens is decided in [`crate::recovery`]; the event loop
//! does it and restores the agents.

pub(crate) mod batch_messages;
mod command_sender;
mod decode;
mod error;
mod event;
mod host_set;
mod hot_standby;
mod lifecycle;
mod load_sequence;
mod pending_memory;
mod poll_source;
mod pool;
mod process;
mod program;
mod socket_dir;
mod spawn;
mod spawn_config;
mod startup_messages;
mod stderr_tail;
mod stop_signals;

pub use command_sender::CommandSender;
pub use decode::decoded;
pub use error::{HostKind, HostSetError, ending, is_crash};
pub use event::HostEvent;
pub use host_set::{HostSet, LOAD_TIMEOUT};
pub use lifecycle::{IllegalTransition, Lifecycle, LifecycleEvent};
pub use load_sequence::LoadSequence;
pub use pool::{HostPool, PoolError};
pub use process::HostProcess;
pub use program::HostProgram;
pub use socket_dir::sweep_socket_folders;
pub use spawn::{SpawnError, SpawnParams};
pub use spawn_config::SpawnConfig;
pub use stderr_tail::StderrTail;
pub use stop_signals::StopSignals;
