//! SIGINT, SIGTERM and SIGHUP as a descriptor in the one loop.
//!
//! The first asks the run to finish its tick; the second ends the process at
//! once, in the handler. Handlers do no other work.

use rustix::event::{EventfdFlags, eventfd};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code when a second signal ends the process at once.
const AT_ONCE: i32 = 130;

/// The signals that ask a run to end.
#[derive(Clone, Debug)]
pub struct StopSignals {
    asked: Arc<AtomicBool>,
    readable: Arc<OwnedFd>,
}

impl StopSignals {
    /// Takes over the signals for the rest of the process's life.
    ///
    /// # Errors
    /// What the system says.
    pub fn install() -> io::Result<StopSignals> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The order matters: the second signal finds the flag that the first one set.
            flag::register_conditional_shutdown(signal, AT_ONCE, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(StopSignals {
            asked,
            readable: Arc::new(receiver.into()),
        })
    }

    /// Signals that never come, for callers that have their own.
    ///
    /// # Errors
    /// What the system says.
    pub fn none() -> io::Result<StopSignals> {
        Ok(StopSignals {
            asked: Arc::default(),
            readable: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
        })
    }

    /// Lets one come, of those that never come by themselves.
    pub fn raise(&self) {
        self.asked.store(true, Ordering::Relaxed);
        let _ = rustix::io::write(&self.readable, &1_u64.to_ne_bytes());
    }

    /// Whether one has come.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Readable once one has come.
    pub(crate) fn readable(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
