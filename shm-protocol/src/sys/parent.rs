//! The tie between a process and the one that started it.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::io;

/// Makes the kernel kill this process when the thread that started it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Takes [`die_with_parent`] back.
#[cfg(test)]
pub(crate) fn outlive_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(None)?)
}
