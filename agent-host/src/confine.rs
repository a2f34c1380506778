//! Confinement of the process before the first instruction of an agent runs.
//!
//! Agents are confined by WebAssembly. This is the second line of defence, for a vulnerability of the engine. Each
//! layer reports whether it holds; none is assumed or silently left out.
//!
//! The order matters: [`before_threads`] drops the rights that the kernel takes from the calling thread and its future
//! children only, [`all_threads`] filters the system calls of all threads once the control thread exists, and
//! [`before_steps`] forbids new machine code once everything is loaded.

use crate::error::AgentHostError;
use crate::sys::seccomp;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use shm_protocol::agent_to_supervisor::Layer;
use shm_protocol::sys::own_process::{
    ResourceLimit, forbid_dumps, give_up_new_privileges, set_limits,
};
use std::fmt::Display;

/// The newest version of Landlock whose rights are dropped. An older kernel drops those that it knows.
const LANDLOCK: ABI = ABI::V6;

/// Maximum number of descriptors. The process has three for the link, those of the control channel, and the three that
/// every process has.
const MAX_DESCRIPTORS: u64 = 32;

/// Maximum bytes of a file. The only file that can be open is a log to which standard error is redirected.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// No core dumps, which would hold what agents know, and few descriptors. Address space is not limited: the 4 GiB
/// that each agent reserves are nothing but numbers.
const LIMITS: [(ResourceLimit, u64); 3] = [
    (ResourceLimit::CoreBytes, 0),
    (ResourceLimit::FileBytes, MAX_FILE_BYTES),
    (ResourceLimit::Descriptors, MAX_DESCRIPTORS),
];

/// Drops the rights of the calling thread, and of the threads that it starts later.
pub(crate) fn before_threads() -> Vec<Layer> {
    vec![
        layer("no_new_privs", give_up_new_privileges()),
        layer("dumpable", forbid_dumps()),
        layer("rlimits", set_limits(&LIMITS)),
        Layer {
            name: "landlock".to_owned(),
            missing: landlock(),
        },
    ]
}

/// Filters the system calls of all threads. They must have been started.
pub(crate) fn all_threads() -> Layer {
    layer("seccomp", seccomp::allow_listed_calls())
}

/// Forbids new machine code, once everything is loaded. Only for a process in which [`all_threads`] holds.
///
/// # Errors
/// When the kernel refuses the filter, although it accepted the one before.
pub(crate) fn before_steps() -> Result<(), AgentHostError> {
    seccomp::no_new_code().map_err(|error| AgentHostError::Confine(error.to_string()))
}

/// The part of [`before_threads`] for a compiler, which has its own resource limits.
pub(crate) fn compiler() {
    // A layer that this system lacks is reported by the hosts.
    let _ = (give_up_new_privileges(), forbid_dumps(), landlock());
}

/// Drops the rights to files, to TCP, and to processes outside. Returns the reason if the layer does not hold.
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
