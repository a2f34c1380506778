//! Runs the agents of a fleet in wasmtime, and compiles them.
//!
//! The crate has two roles of the same program:
//!
//! * A **host** is a child process of the supervisor that lives as long as a run. [`boot`] attaches what the process
//!   inherits, [`confine`] drops its privileges, [`command_loop`] executes the supervisor's commands, [`serve`] answers
//!   the steps of each tick, and [`error`] lists what ends a host. The inference host has the same files.
//! * A **compiler** ([`compile`]) is a process that lives for one component: it checks the component and writes machine
//!   code.
//!
//! [`determinism`] lists the settings that make a step the same on every machine.
//!
//! The state of an agent can be captured between two ticks and restored in a new process. [`capture`] defines what the
//! state is and how the compiler makes it accessible, `sys` owns the memory of agents, and [`agent`] finds the changed
//! pages and converts states to records and back.
#![deny(unsafe_code)]

mod agent;
mod agent_set;
mod awaits;
pub mod bench_support;
mod bindings;
mod boot;
mod capture;
mod command_loop;
mod compile;
mod compiled_component;
mod component_check;
mod confine;
pub mod determinism;
mod effects;
pub mod error;
mod events;
mod imports;
mod interface_version;
mod limiter;
mod random;
mod record_batcher;
mod serve;
mod shared_config;
mod store_data;
#[allow(
    unsafe_code,
    reason = "the calls into wasmtime and the kernel that the compiler cannot check"
)]
mod sys;

pub use determinism::WASMTIME_VERSION;
pub use determinism::fingerprint as config_fingerprint;

/// Runs an agent host and returns its exit code. `arguments` are those after the role.
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

/// Compiles one component and returns one of the codes of [`shm_protocol::exit_code`], with the reason of a failure on one
/// line of standard error. `arguments` are those after the role.
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
