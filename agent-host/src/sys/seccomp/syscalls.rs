//! The system calls of an agent host, as data. A call in neither list kills the process, because the engine and the C
//! library of this build never make it.

use nix::libc;

/// A system call, the admitted values of its first argument, and its purpose.
pub(super) type SyscallRule = (i64, FirstArgument, &'static str);

/// The admitted values of a call's first argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum FirstArgument {
    Any,
    OneOf(&'static [i32]),
    OwnProcess,
}

use FirstArgument::{Any, OneOf, OwnProcess};

/// The calls that are allowed.
pub(super) const ALLOWED: &[SyscallRule] = &[
    (libc::SYS_futex, Any, "waits of rings and channels"),
    (libc::SYS_write, Any, "the bell; messages on standard error"),
    (libc::SYS_read, Any, "the bell"),
    (libc::SYS_close, Any, "descriptors of the control channel"),
    (
        libc::SYS_fcntl,
        Any,
        "checked builds test a descriptor before they close it",
    ),
    (libc::SYS_accept, Any, "the connection of the supervisor"),
    (
        libc::SYS_setsockopt,
        Any,
        "the linger option of the control channel",
    ),
    (
        libc::SYS_getsockopt,
        Any,
        "the control channel asks for its packet size",
    ),
    (
        libc::SYS_socketpair,
        OneOf(&[libc::AF_UNIX]),
        "the control channel asks for its packet size, on a socket of its own",
    ),
    (
        libc::SYS_fstat,
        Any,
        "the control channel asks whether a descriptor is a socket",
    ),
    (libc::SYS_newfstatat, Any, "as fstat, in newer C libraries"),
    (libc::SYS_recvmsg, Any, "commands"),
    (libc::SYS_recvfrom, Any, "commands longer than a packet"),
    (
        libc::SYS_mmap,
        Any,
        "allocations, memories and code of agents",
    ),
    (libc::SYS_munmap, Any, "allocations; the end of an agent"),
    (
        libc::SYS_mprotect,
        Any,
        "growth of agent memories; executable code",
    ),
    (libc::SYS_mremap, Any, "growth of allocations"),
    (libc::SYS_madvise, Any, "release of allocations"),
    (libc::SYS_brk, Any, "allocations"),
    (
        libc::SYS_membarrier,
        Any,
        "publication of new code to all cores",
    ),
    (
        libc::SYS_rt_sigaction,
        Any,
        "the engine catches traps; an abort resets its signal",
    ),
    (
        libc::SYS_rt_sigprocmask,
        Any,
        "an abort; the end of a thread",
    ),
    (libc::SYS_rt_sigreturn, Any, "the end of a trap"),
    (
        libc::SYS_sigaltstack,
        Any,
        "traps have a stack of their own",
    ),
    (
        libc::SYS_clock_gettime,
        Any,
        "duration of waits, where the kernel has no faster way",
    ),
    (
        libc::SYS_clock_nanosleep,
        Any,
        "waits for space in a full ring",
    ),
    (libc::SYS_sched_yield, Any, "yields between polls"),
    (
        libc::SYS_sched_getaffinity,
        Any,
        "a new thread looks up its stack",
    ),
    (
        libc::SYS_getrandom,
        Any,
        "seeds of hash tables and of the allocator",
    ),
    (libc::SYS_set_robust_list, Any, "the start of a thread"),
    (libc::SYS_rseq, Any, "the start of a thread"),
    (
        libc::SYS_restart_syscall,
        Any,
        "a wait continues after a signal",
    ),
    (libc::SYS_gettid, Any, "an abort"),
    (libc::SYS_getpid, Any, "an abort"),
    (libc::SYS_tgkill, OwnProcess, "an abort"),
    (
        libc::SYS_prctl,
        OneOf(&[
            libc::PR_SET_NAME,
            libc::PR_SET_NO_NEW_PRIVS,
            libc::PR_SET_VMA,
        ]),
        "the start of a thread; the filter below; the allocator names its memory",
    ),
    (
        libc::SYS_seccomp,
        Any,
        "the later filter against new code; filters can only be added",
    ),
    (libc::SYS_exit, Any, "the end of a thread"),
    (libc::SYS_exit_group, Any, "the end of the process"),
];

/// The calls that fail with an error. The C library and the control channel continue without them.
pub(super) const REFUSED: &[SyscallRule] = &[
    (
        libc::SYS_openat,
        Any,
        "the control channel empties its folder; a panic looks up symbols",
    ),
    (
        libc::SYS_unlinkat,
        Any,
        "the control channel removes its folder, which the supervisor does later",
    ),
    (
        libc::SYS_statx,
        Any,
        "the control channel inspects its folder",
    ),
    (
        libc::SYS_faccessat,
        Any,
        "an allocator looks up its settings",
    ),
    (
        libc::SYS_faccessat2,
        Any,
        "an allocator looks up its settings",
    ),
    (libc::SYS_getcwd, Any, "a panic shortens paths"),
    (libc::SYS_readlinkat, Any, "a panic looks up symbols"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, Any, "as openat, in older C libraries"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, Any, "as faccessat, in older C libraries"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, Any, "as unlinkat, in older C libraries"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, Any, "as unlinkat, in older C libraries"),
    #[cfg(target_arch = "x86_64")]
    (
        libc::SYS_readlink,
        Any,
        "as readlinkat, in older C libraries",
    ),
];
