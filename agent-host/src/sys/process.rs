//! Rights and limits of this process. None of them can be taken back.

use nix::sys::resource::{Resource, setrlimit};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::io;

/// A limit that the kernel keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
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

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Limit::AddressSpace => Resource::RLIMIT_AS,
            Limit::Data => Resource::RLIMIT_DATA,
            Limit::ProcessorSeconds => Resource::RLIMIT_CPU,
            Limit::FileBytes => Resource::RLIMIT_FSIZE,
            Limit::Descriptors => Resource::RLIMIT_NOFILE,
            Limit::CoreBytes => Resource::RLIMIT_CORE,
        }
    }
}

/// Sets limits, each to a value in its unit.
///
/// # Errors
/// When the kernel refuses one; those before it hold.
pub(crate) fn set_limits(limits: &[(Limit, u64)]) -> io::Result<()> {
    for (limit, value) in limits {
        setrlimit(limit.resource(), *value, *value)?;
    }
    Ok(())
}

/// Gives up new rights through programs that have some of their own, for the calling thread and those that it starts.
///
/// # Errors
/// When the kernel refuses it.
pub(crate) fn give_up_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Keeps other processes of the same user from reading the memory of this one.
///
/// # Errors
/// When the kernel refuses it.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
