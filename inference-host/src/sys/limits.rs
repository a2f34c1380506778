//! Rights and limits of this process that the kernel keeps.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// A limit that the kernel keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// Bytes of a core dump.
    CoreBytes,
    /// Open descriptors.
    Descriptors,
    /// Bytes of a file that is written.
    FileBytes,
}

/// Sets a limit, in its unit, and checks that the kernel keeps it. It cannot be taken back.
///
/// # Errors
/// When the kernel refuses it or keeps another one.
pub(crate) fn set_limit(limit: Limit, value: u64) -> io::Result<()> {
    let resource = match limit {
        Limit::CoreBytes => Resource::Core,
        Limit::Descriptors => Resource::Nofile,
        Limit::FileBytes => Resource::Fsize,
    };
    let value = Some(value);
    setrlimit(
        resource,
        Rlimit {
            current: value,
            maximum: value,
        },
    )?;
    let kept = getrlimit(resource).current;
    if kept == value {
        Ok(())
    } else {
        Err(io::Error::other(format!("the limit is {kept:?}")))
    }
}

/// Does `work` while this process may have at most so many bytes of private writable memory. A lower limit that holds
/// already goes on holding.
pub(crate) fn with_data_limit<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Data);
    let bytes = before.current.map_or(bytes, |current| bytes.min(current));
    let during = Rlimit {
        current: Some(bytes),
        ..before
    };
    let _ = setrlimit(Resource::Data, during);
    let done = work();
    let _ = setrlimit(Resource::Data, before);
    done
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

/// Gives up new rights through programs that have some of their own, for the calling thread and those that it starts.
///
/// # Errors
/// When the kernel refuses it or does not keep it.
pub(crate) fn give_up_new_privileges() -> io::Result<()> {
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
pub(crate) fn forbid_dumps() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    match rustix::process::dumpable_behavior()? {
        DumpableBehavior::NotDumpable => Ok(()),
        _ => Err(not_kept()),
    }
}

fn not_kept() -> io::Error {
    io::Error::other("the kernel does not keep it")
}
