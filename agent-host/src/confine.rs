//! What this process gives up before the first instruction of an agent runs.
//!
//! Agents are confined by WebAssembly. This is the wall behind that wall, for
//! the day on which the engine has a hole. Each layer says whether it holds;
//! nothing is assumed and nothing is silently left out.
//!
//! The order matters: [`before_threads`] gives up what the kernel takes from
//! one thread only, [`all_threads`] comes once the control thread is there and
//! filters both, and [`before_steps`] closes the door to new machine code once
//! everything is loaded.

mod filter;
mod syscalls;

use crate::error::HostError;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::sys::resource::{Resource, setrlimit};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;
use shm_protocol::agent_to_supervisor::Layer;
use std::fmt::Display;

/// The newest rights of Landlock that are asked for; an older kernel gives those that it knows.
const LANDLOCK: ABI = ABI::V6;

/// Most descriptors: three of its own, a channel with its parts, and the three that every process has.
const DESCRIPTORS: u64 = 32;

/// Most bytes of a file. The one file that can be open is a log that standard error was sent to.
const FILE_BYTES: u64 = 64 << 20;

/// Gives up what the kernel takes from the calling thread and from those it starts later.
pub(crate) fn before_threads() -> Vec<Layer> {
    vec![
        layer("no_new_privs", set_no_new_privs(true)),
        layer(
            "dumpable",
            set_dumpable_behavior(DumpableBehavior::NotDumpable),
        ),
        layer("rlimits", limits()),
        Layer {
            name: "landlock".to_owned(),
            missing: landlock(),
        },
    ]
}

/// Filters the system calls of all threads, which must have begun.
pub(crate) fn all_threads() -> Layer {
    layer(
        "seccomp",
        filter::allow_only(syscalls::ALLOWED, syscalls::REFUSED),
    )
}

/// Forbids new machine code: everything is loaded. Only for a process in which [`all_threads`] holds.
///
/// # Errors
/// When the kernel refuses what it granted before.
pub(crate) fn before_steps() -> Result<(), HostError> {
    filter::no_new_code().map_err(|error| HostError::Confine(error.to_string()))
}

/// The part of [`before_threads`] that fits a compiler too, which has limits of its own.
pub(crate) fn compiler() {
    // What this system does not have is missing in a host as well, and reported there.
    let _ = (
        set_no_new_privs(true),
        set_dumpable_behavior(DumpableBehavior::NotDumpable),
        landlock(),
    );
}

/// No core dumps, which would hold what agents know, and few descriptors. Address space is not limited: the 4 GiB
/// that each agent reserves are nothing but numbers.
fn limits() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, FILE_BYTES, FILE_BYTES)?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)
}

/// No right to any file, to TCP, or to processes outside. Gives what is missing.
fn landlock() -> Option<String> {
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => None,
        Ok(RulesetStatus::PartiallyEnforced) => {
            Some("this kernel knows only some of its rights".to_owned())
        }
        Ok(RulesetStatus::NotEnforced) => Some("this kernel does not have it".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

fn layer<E: Display>(name: &str, result: Result<(), E>) -> Layer {
    Layer {
        name: name.to_owned(),
        missing: result.err().map(|error| error.to_string()),
    }
}
