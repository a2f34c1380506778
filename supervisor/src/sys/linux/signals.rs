//! The signals that ask a process to stop.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Handles SIGINT, SIGTERM and SIGHUP for the rest of the process's life: the first one sets `asked` and writes a byte
/// to `notify`, the second one ends the process at once with `exit_code`.
///
/// # Errors
/// When the system refuses a handler or no descriptor is left.
pub fn notify_stop_signals(
    asked: &Arc<AtomicBool>,
    notify: &UnixStream,
    exit_code: i32,
) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the second signal finds the flag that the first one set.
        flag::register_conditional_shutdown(signal, exit_code, Arc::clone(asked))?;
        flag::register(signal, Arc::clone(asked))?;
        low_level::pipe::register(signal, notify.try_clone()?)?;
    }
    Ok(())
}
