//! The part of Lockstep that decides: schedule, journal, recovery.
//!
//! The modules stand in one order; each imports only from those below it (`tests/architecture/` holds it):
//!
//! 1. [`session`]: run, resume, replay;
//! 2. [`control`]: requests from other processes to a live run;
//! 3. [`event_loop`]: the loop between tick machine, hosts and journal;
//! 4. [`launch`]: from a fleet or a journal to hosts with everything loaded;
//! 5. [`error`], [`observer`]: what a caller is told;
//! 6. [`analysis`]: reading a journal: diff, inspect, provenance; [`checkpoint`]: the state of every agent at a
//!    committed tick;
//! 7. [`journal`]: the append-only record of a run and its chain;
//! 8. [`rundir`]: the directory of a run: lock, objects, outbox, events;
//! 9. [`fleet`]: the fleet file; [`models`]: the files and versions of models; [`host`]: the life of a host process;
//! 10. [`tick`]: the pure state machine of a tick; [`faults`]: injected faults; [`recovery`]: the pure restart policy;
//!     [`artifact`]: machine code of components, compiled in a process of its own;
//! 11. [`record`]: what a run is and what a tick was; [`sys`]: calls to the operating system, with in-memory twins.
//!
//! The supervisor never runs guest code and never loads a model. It knows a
//! host only as a program to start and a protocol to speak.

#![forbid(unsafe_code)]

pub mod analysis;
pub mod artifact;
pub mod checkpoint;
pub mod control;
pub mod error;
pub mod event_loop;
pub mod faults;
pub mod fleet;
pub mod host;
pub mod journal;
pub mod launch;
pub mod models;
pub mod observer;
mod planted;
pub mod record;
pub mod recovery;
pub mod rundir;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod sys;
pub mod tick;
