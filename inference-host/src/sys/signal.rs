//! The one signal whose handling this process changes.

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a write beyond the limit on file sizes fail instead of ending the process.
pub(crate) fn ignore_file_size_signal() -> Result<(), Errno> {
    // SAFETY: ignoring a signal installs no handler, so no code can run at an unexpected moment.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map(|_| ())
}
