//! What this process gives up, and when.
//!
//! A model file is untrusted input to a large engine, so whoever takes over this
//! process must find little in it. [`early`] holds before the first command;
//! [`after_engine`] as soon as the engine needs no more files: right after it is
//! loaded when it is the embedded one, which has no drivers to open, and
//! otherwise at the start, when it is known that every model runs on the processor.
//!
//! Landlock restricts the calling thread and those that it starts later. With the
//! embedded engine that is every thread: the control thread and the engine's
//! workers are started after it. With another library they are older; the layer
//! then holds for the thread that runs the engine.
//!
//! A seccomp filter has its place at the end of [`after_engine`]. There is none
//! yet: drivers of graphics processors need system calls in plenty.

use crate::sys::signal;
use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use shm_protocol::agent_to_supervisor::Layer;

/// Most descriptors of this process. It is born with fewer than ten.
const DESCRIPTORS: u64 = 64;

/// What holds before the first command.
#[must_use]
pub fn early() -> Vec<Layer> {
    vec![
        layer("no_new_privs", no_new_privileges()),
        layer("dumpable", not_dumpable()),
    ]
}

/// Gives up what the engine needed while it was loaded.
#[must_use]
pub fn after_engine() -> Vec<Layer> {
    vec![layer("rlimits", limits()), layer("landlock", landlock())]
}

fn layer(name: &str, held: Result<(), String>) -> Layer {
    Layer {
        name: name.to_owned(),
        missing: held.err(),
    }
}

fn no_new_privileges() -> Result<(), String> {
    rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())?;
    let holds = rustix::thread::no_new_privs().map_err(|error| error.to_string())?;
    if holds {
        Ok(())
    } else {
        Err("the kernel does not keep it".to_owned())
    }
}

fn not_dumpable() -> Result<(), String> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| error.to_string())?;
    match rustix::process::dumpable_behavior() {
        Ok(DumpableBehavior::NotDumpable) => Ok(()),
        Ok(_) => Err("the kernel does not keep it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// No core dumps, few descriptors, and no writes to files. Standard error may be a file, and a message must not end
/// the process.
fn limits() -> Result<(), String> {
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    signal::ignore_file_size_signal().map_err(|error| error.to_string())?;
    limit(Resource::Fsize, 0)
}

fn limit(resource: Resource, most: u64) -> Result<(), String> {
    let most = Some(most);
    rustix::process::setrlimit(
        resource,
        Rlimit {
            current: most,
            maximum: most,
        },
    )
    .map_err(|error| error.to_string())?;
    let held = rustix::process::getrlimit(resource);
    if held.current == most {
        Ok(())
    } else {
        Err(format!("the limit is {:?}", held.current))
    }
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
