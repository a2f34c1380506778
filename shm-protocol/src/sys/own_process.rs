//! Rights and limits of this process, which the kernel keeps. None of them can be taken back.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior,
    setrlimit,
};
use std::io;

/// A limit that the kernel keeps.
#[derive(Clone, Copy, Debug)]
pub enum ResourceLimit {
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of private writable memory.
    Data,
    /// Seconds of processor time.
    ProcessorSeconds,
    /// Bytes of a file that is written.
    FileBytes,
    /// Open descriptors.
    Descriptors,
    /// Bytes of a core dump.
    CoreBytes,
}

impl ResourceLimit {
    fn resource(self) -> Resource {
        match self {
            ResourceLimit::AddressSpace => Resource::As,
            ResourceLimit::Data => Resource::Data,
            ResourceLimit::ProcessorSeconds => Resource::Cpu,
            ResourceLimit::FileBytes => Resource::Fsize,
            ResourceLimit::Descriptors => Resource::Nofile,
            ResourceLimit::CoreBytes => Resource::Core,
        }
    }
}

/// Sets limits, each to a value in its unit, and checks that the kernel keeps them.
///
/// # Errors
/// When the kernel refuses one or keeps another value; those before it hold.
pub fn set_limits(limits: &[(ResourceLimit, u64)]) -> io::Result<()> {
    for (limit, value) in limits {
        let (resource, value) = (limit.resource(), Some(*value));
        setrlimit(
            resource,
            Rlimit {
                current: value,
                maximum: value,
            },
        )?;
        let kept = getrlimit(resource).current;
        if kept != value {
            return Err(io::Error::other(format!("the limit is {kept:?}")));
        }
    }
    Ok(())
}

/// Gives up new rights through programs that have some of their own, for the calling thread and those that it starts.
///
/// # Errors
/// When the kernel refuses it or does not keep it.
pub fn give_up_new_privileges() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    match rustix::thread::no_new_privs()? {
        true => Ok(()),
        false => Err(not_kept()),
    }
}

/// Keeps other processes of the same user from reading the memory of this one.
///
/// # Errors
/// When the kernel refuses it or does not keep it.
pub fn forbid_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    match dumpable_behavior()? {
        DumpableBehavior::NotDumpable => Ok(()),
        _ => Err(not_kept()),
    }
}

fn not_kept() -> io::Error {
    io::Error::other("the kernel does not keep it")
}
