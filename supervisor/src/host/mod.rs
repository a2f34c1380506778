//! The life of a host process, from its start to its reaping.
//!
//! * [`Program`]: this binary, held open, so that hosts start from it even if the file is replaced;
//! * [`Lifecycle`]: where a host is in its life, with one transition function;
//! * [`Process`]: one incarnation: process, link, command channel, last words;
//! * [`Pool`]: all of them, and the one place where the supervisor waits.
//!
//! A host that is lost is replaced by a new incarnation with new memory, in the
//! same place of the [`Pool`]. When, and what becomes of its agents, is decided
//! in [`crate::recovery`] and done in [`crate::shell`].

mod crew;
mod error;
mod folder;
mod hearing;
mod last_words;
mod lifecycle;
mod muster;
mod pool;
mod process;
mod program;
mod records;
mod spare;
mod stop;

pub use crew::{Crew, LOAD_PATIENCE};
pub use error::{CrewError, Kind, ending, is_crash};
pub use folder::sweep_socket_folders;
pub use last_words::LastWords;
pub use lifecycle::{IllegalTransition, Lifecycle, Moment};
pub use muster::Muster;
pub use pool::{News, Pool, PoolError};
pub use process::{Birth, Commands, Process, SpawnError};
pub use program::Program;
pub use records::decoded;
pub use stop::StopSignals;
