//! Confinement: the rights that this process gives up, and when.
//!
//! A model file is untrusted input to a large engine, so an attacker who takes over this process must find few rights
//! in it. [`early`] holds before the first command; [`after_engine`] as soon as the engine needs no more files: right
//! after it is loaded if it is the embedded one, which has no drivers to open, and otherwise at the start, if every
//! model runs on the CPU.
//!
//! Landlock restricts the calling thread and those that it starts later. With the embedded engine that is every thread:
//! the control thread and the engine's workers are started after it. With another library they are older; the layer
//! then holds for the thread that runs the engine.
//!
//! A seccomp filter would belong at the end of [`after_engine`]. There is none yet: drivers of GPUs need many system
//! calls.

use crate::sys::signal;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use shm_protocol::agent_to_supervisor::Layer;
use shm_protocol::sys::own_process::{
    ResourceLimit, forbid_dumps, give_up_new_privileges, set_limits,
};
use std::fmt::Display;
use std::io;

/// Most descriptors of this process. It starts with fewer than ten.
const DESCRIPTORS: u64 = 64;

/// The layers before the first command.
#[must_use]
pub fn early() -> Vec<Layer> {
    vec![
        layer("no_new_privs", give_up_new_privileges()),
        layer("dumpable", forbid_dumps()),
    ]
}

/// The layers once the engine is loaded.
#[must_use]
pub fn after_engine() -> Vec<Layer> {
    vec![layer("rlimits", limits()), layer("landlock", landlock())]
}

fn layer<E: Display>(name: &str, current: Result<(), E>) -> Layer {
    Layer {
        name: name.to_owned(),
        missing: current.err().map(|error| error.to_string()),
    }
}

/// No core dumps, few descriptors, and no writes to files. Standard error may be a file, and a message must not end
/// the process.
fn limits() -> io::Result<()> {
    signal::ignore_file_size_signal()?;
    set_limits(&[
        (ResourceLimit::CoreBytes, 0),
        (ResourceLimit::Descriptors, DESCRIPTORS),
        (ResourceLimit::FileBytes, 0),
    ])
}

/// No right to any file, no TCP, no signals and no abstract sockets beyond this process.
fn landlock() -> Result<(), String> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V6))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V6)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err(format!(
            "this kernel enforces only a part of it ({:?})",
            status.landlock
        )),
        RulesetStatus::NotEnforced => Err(format!(
            "this kernel does not enforce it ({:?})",
            status.landlock
        )),
    }
}
