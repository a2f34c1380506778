//! SIGINT, SIGTERM and SIGHUP as a descriptor for the event loop.
//!
//! The first asks the run to finish its tick; the second ends the process at
//! once, in the handler. Handlers do no other work.

use crate::sys::notify_stop_signals;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code when a second signal ends the process at once.
const EXIT_CODE_OF_SECOND_SIGNAL: i32 = 130;

/// The signals that ask a run to end.
#[derive(Clone, Debug)]
pub struct StopSignals {
    asked: Arc<AtomicBool>,
    /// Becomes readable with the first signal and stays so.
    receiver: Arc<UnixStream>,
    /// The other end.
    sender: Arc<UnixStream>,
}

impl StopSignals {
    /// Handles the signals for the rest of the process's life.
    ///
    /// # Errors
    /// When the system refuses a handler or no descriptor is left.
    pub fn install() -> io::Result<StopSignals> {
        let signals = StopSignals::none()?;
        notify_stop_signals(&signals.asked, &signals.sender, EXIT_CODE_OF_SECOND_SIGNAL)?;
        Ok(signals)
    }

    /// Signals that come by [`StopSignals::raise`] only.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn none() -> io::Result<StopSignals> {
        let (receiver, sender) = UnixStream::pair()?;
        // Neither a handler nor `raise` may wait for a reader.
        sender.set_nonblocking(true)?;
        Ok(StopSignals {
            asked: Arc::default(),
            receiver: Arc::new(receiver),
            sender: Arc::new(sender),
        })
    }

    /// Does what a signal does: asks the run to end.
    pub fn raise(&self) {
        self.asked.store(true, Ordering::Relaxed);
        // When the buffer is full it is readable already.
        let _ = (&*self.sender).write(&[0]);
    }

    /// Whether one has come.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Readable once one has come.
    pub(crate) fn readable(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
