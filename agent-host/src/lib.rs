//! Runs the agents of a fleet in wasmtime, and compiles them.
//!
//! Two roles of the same program. A **host** is a child of the supervisor that
//! lives as long as a run: [`boot`] takes what it was born with, [`confine`]
//! gives up what it does not need, [`serve`] answers the steps of each tick,
//! and [`error`] says why a host cannot go on. A **compiler** lives for one
//! component: it reads it, audits it, and writes machine code.
//!
//! What makes a step the same on every machine is in [`determinism`].
//!
//! Between two ticks the state of an agent can be captured, and a new process
//! takes it up from there. What that state is and how the compiler makes it
//! accessible is in [`capture`]; memories are our own (`sys`); and [`agent`]
//! finds the pages that have changed and turns states into records and back.
#![deny(unsafe_code)]

mod agent;
mod agents;
mod audit;
pub mod bare;
mod bindings;
mod boot;
mod capture;
mod compile;
mod confine;
pub mod determinism;
mod effects;
pub mod error;
mod events;
mod fleet;
#[cfg(test)]
mod handwritten;
mod imports;
mod limiter;
mod list_record;
mod program;
mod random;
mod serve;
mod state;
mod sys;
mod waits;

pub use determinism::WASMTIME_VERSION;
pub use determinism::fingerprint as config_fingerprint;

/// Runs an agent host. `arguments` are those after the role; gives the exit code.
#[must_use]
pub fn main(arguments: &[String]) -> u8 {
    match boot::run(arguments) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("agent host: {error}");
            error.exit_code()
        }
    }
}

/// Compiles one component. `arguments` are those after the role; gives the exit code: 0, 2 for a component that
/// cannot be used, with one line on standard error that says why, or 70.
#[must_use]
pub fn compiler_main(arguments: &[String]) -> u8 {
    match compile::run(arguments) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}
