//! Signals whose handling this process changes.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction, signal};
use std::sync::atomic::{AtomicBool, Ordering};

/// Makes a write beyond the limit on file sizes fail instead of ending the process.
pub(crate) fn ignore_file_size_signal() -> Result<(), Errno> {
    // SAFETY: ignoring a signal installs no handler, so no code can run at an unexpected moment.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.map(|_| ())
}

/// The last line on standard error of an abort within [`while_rendering`].
const RENDERING: &[u8] = b"this was while the model's chat template was rendered\n";

static IS_RENDERING: AtomicBool = AtomicBool::new(false);

/// Does `work`, which renders a chat template. Memory can only be refused to it by an abort, and then the end of
/// standard error says where.
pub(crate) fn while_rendering<T>(work: impl FnOnce() -> T) -> T {
    let action = SigAction::new(
        SigHandler::Handler(on_abort),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler reads an atomic and calls `write`, which both may be done in any handler. It returns, and the
    // abort goes on as if there were none.
    let _ = unsafe { sigaction(Signal::SIGABRT, &action) };
    IS_RENDERING.store(true, Ordering::Relaxed);
    let result = work();
    IS_RENDERING.store(false, Ordering::Relaxed);
    result
}

extern "C" fn on_abort(_signal: libc::c_int) {
    if IS_RENDERING.load(Ordering::Relaxed) {
        // SAFETY: the bytes are static, and standard error stays open for the life of the process.
        let _ = unsafe {
            libc::write(
                libc::STDERR_FILENO,
                RENDERING.as_ptr().cast(),
                RENDERING.len(),
            )
        };
    }
}
