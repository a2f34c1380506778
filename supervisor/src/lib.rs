//! The part of Lockstep that decides: schedule, journal, recovery.
//!
//! * [`fleet`]: the fleet file and what it means;
//! * [`faults`]: what is made to go wrong on purpose, and when;
//! * [`rundir`]: the directory of one run: lock, objects, journal, outbox;
//! * [`journal`]: the append-only record and its chain;
//! * [`checkpoint`]: the state of every agent at a committed tick;
//! * [`recovery`]: what becomes of a host that is lost;
//! * [`sys`]: the operating-system calls, with in-memory twins;
//! * [`artifact`]: machine code of components, compiled in a process of its own;
//! * [`tick`]: the pure state machine of a tick;
//! * [`host`]: the life of a host process;
//! * [`shell`]: performs what the machine asks for on the real world.
//!
//! The supervisor never runs guest code and never loads a model. It knows a
//! host only as a program to start and a protocol to speak.

pub mod artifact;
pub mod checkpoint;
pub mod faults;
pub mod fleet;
pub mod host;
pub mod journal;
mod planted;
pub mod recovery;
pub mod rundir;
pub mod shell;
pub mod sys;
#[cfg(test)]
#[path = "../../tests/teeth/mod.rs"]
mod teeth;
pub mod tick;
