//! The operating system as the supervisor and the command line use it.
//!
//! * [`clock`]: the only clock;
//! * [`disk`]: files, as one interface; [`memory_disk`] is its in-memory twin for tests and simulation;
//! * everything else is a flat list of functions and types, one folder for each operating system: [`Poller`],
//!   [`ProcessHandle`], sockets by name, stop signals, memory, and facts of the machine.
//!
//! No type of `nix`, `rustix` or `libc` crosses this interface, and no other module names these crates
//! (`tests/architecture` of the workspace holds it). Another system is a folder beside `linux` with the same names.

pub(crate) mod clock;
pub mod disk;
pub mod memory_disk;

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::*;
