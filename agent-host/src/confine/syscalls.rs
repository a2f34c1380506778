//! The system calls of an agent host, as data. What is in neither list kills
//! the process: the engine and the C library of this build never make it.

use nix::libc;

/// A system call, the values its first argument may have, and who needs it.
pub(super) type Entry = (i64, First, &'static str);

/// Values that the first argument of a call may have.
#[derive(Clone, Copy, Debug)]
pub(super) enum First {
    Any,
    OneOf(&'static [i32]),
    OwnProcess,
}

use First::{Any, OneOf, OwnProcess};

/// What the process may do.
pub(super) const ALLOWED: &[Entry] = &[
    (libc::SYS_futex, Any, "rings and channels wait"),
    (libc::SYS_write, Any, "the bell; messages on standard error"),
    (libc::SYS_read, Any, "the bell"),
    (libc::SYS_close, Any, "descriptors of the control channel"),
    (
        libc::SYS_fcntl,
        Any,
        "checked builds test a descriptor before they close it",
    ),
    (libc::SYS_accept, Any, "the supervisor connects"),
    (libc::SYS_setsockopt, Any, "the control channel lingers"),
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
        "memories of agents grow; code becomes executable",
    ),
    (libc::SYS_mremap, Any, "allocations grow"),
    (libc::SYS_madvise, Any, "allocations are given back"),
    (libc::SYS_brk, Any, "allocations"),
    (
        libc::SYS_membarrier,
        Any,
        "new code is made known to all cores",
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
        "waiting is measured, where the kernel has no faster way",
    ),
    (libc::SYS_clock_nanosleep, Any, "a full ring is waited for"),
    (libc::SYS_sched_yield, Any, "spinning lets others go first"),
    (
        libc::SYS_sched_getaffinity,
        Any,
        "a thread looks for its stack when it begins",
    ),
    (
        libc::SYS_getrandom,
        Any,
        "seeds of hash tables and of the allocator",
    ),
    (libc::SYS_set_robust_list, Any, "a thread begins"),
    (libc::SYS_rseq, Any, "a thread begins"),
    (
        libc::SYS_restart_syscall,
        Any,
        "a wait goes on after a signal",
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
        "a thread begins; the filter below; the allocator names its memory",
    ),
    (
        libc::SYS_seccomp,
        Any,
        "forbids new code later; it only ever forbids more",
    ),
    (libc::SYS_exit, Any, "the end of a thread"),
    (libc::SYS_exit_group, Any, "the end"),
];

/// What the process may try, and is told that it may not: the C library and the control channel go on without.
pub(super) const REFUSED: &[Entry] = &[
    (
        libc::SYS_openat,
        Any,
        "the control channel empties its folder; a panic looks for its symbols",
    ),
    (
        libc::SYS_unlinkat,
        Any,
        "the control channel removes its folder; the supervisor does it in the end",
    ),
    (
        libc::SYS_statx,
        Any,
        "the control channel looks at its folder",
    ),
    (
        libc::SYS_faccessat,
        Any,
        "an allocator looks for its settings",
    ),
    (
        libc::SYS_faccessat2,
        Any,
        "an allocator looks for its settings",
    ),
    (libc::SYS_getcwd, Any, "a panic shortens paths"),
    (libc::SYS_readlinkat, Any, "a panic looks for its symbols"),
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
