//! Processes: handles of children, signals, names.

use super::poller::wait_readable;
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal,
};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Duration;

/// A handle of one process (pidfd). Unlike a process number it never names another process. Its descriptor is
/// readable once the process has ended, whether it is reaped or not.
#[derive(Debug)]
pub struct ProcessHandle {
    pidfd: OwnedFd,
}

impl ProcessHandle {
    /// The handle of a child that was not reaped yet.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn of_child(child: &Child) -> io::Result<ProcessHandle> {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        Ok(ProcessHandle { pidfd })
    }

    /// Waits until the process has ended. `false` when `timeout` is over before.
    ///
    /// # Errors
    /// When the system refuses to wait.
    pub fn wait_exit(&self, timeout: Duration) -> io::Result<bool> {
        wait_readable(&[self.as_fd()], Some(timeout))
    }

    /// Ends the process at once (SIGKILL). Does nothing when it has ended.
    pub fn kill(&self) {
        // The only error is that the process has ended, which is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Suspends the process, which then hangs (SIGSTOP). Does nothing when it has ended.
    pub fn suspend(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::STOP);
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Asks a child that was not reaped yet to stop, as Ctrl-C does (SIGINT). Does nothing when it has ended.
pub fn interrupt(child: &Child) {
    let _ = kill_process(Pid::from_child(child), Signal::INT);
}

/// Ends this process at once (SIGKILL), as the kernel would when memory is short.
pub fn kill_self() -> ! {
    // A process may always signal itself.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

/// Whether a signal reports a fault of the process itself. Other signals come from outside: from a person, or from a
/// kernel that is short of memory.
#[must_use]
pub fn is_fault_signal(signal: i32) -> bool {
    const FAULTS: [Signal; 7] = [
        Signal::ABORT,
        Signal::BUS,
        Signal::FPE,
        Signal::ILL,
        Signal::SEGV,
        Signal::SYS,
        Signal::TRAP,
    ];
    FAULTS.iter().any(|fault| fault.as_raw() == signal)
}

/// Names this process in process lists; call it on the main thread. The system keeps the first 15 bytes.
///
/// # Errors
/// When the system refuses it.
pub fn set_process_name(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_handle_waits_for_and_kills_its_process() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let process = ProcessHandle::of_child(&child).expect("a handle");
        assert!(!process.wait_exit(Duration::ZERO).expect("waited"));
        process.suspend();
        process.kill();
        assert!(process.wait_exit(Duration::from_secs(60)).expect("waited"));
        let signal = child.wait().expect("reaped").signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()));
        process.kill();
        assert!(process.wait_exit(Duration::ZERO).expect("waited"));
    }

    #[test]
    fn only_signals_of_the_process_itself_are_faults() {
        assert!(is_fault_signal(Signal::SEGV.as_raw()));
        assert!(!is_fault_signal(Signal::KILL.as_raw()) && !is_fault_signal(0));
    }
}
