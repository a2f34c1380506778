//! Ways to end a process for which the standard library has no safe function. Only injected faults use them.

use rustix::process::Signal;

/// Writes to address zero, which is never mapped.
pub(crate) fn write_to_null() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the page at address zero is never mapped for a process without special rights, so the instruction
    // writes nothing and the process ends by a signal. It is assembly, so the compiler assumes nothing about it.
    unsafe {
        std::arch::asm!("mov dword ptr [{0}], 0", in(reg) 0_usize, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("str wzr, [{0}]", in(reg) 0_usize, options(nostack));
    }
    // On other architectures, or if the page is mapped, the signal is sent.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::SEGV);
    std::process::abort()
}

/// Ends the process with this code, without output and without exit handlers.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: `_exit` takes any number, has no conditions, and does not return.
    unsafe { nix::libc::_exit(code) }
}
