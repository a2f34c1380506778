//! The operating-system calls of the supervisor, each with an in-memory twin of
//! the same interface for tests and simulation.

pub(crate) mod clock;
pub mod disk;
pub(crate) mod memory;
pub mod memory_disk;
