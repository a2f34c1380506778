//! Events of hosts, as the pool reports them.

use shm_protocol::id::HostId;
use shm_protocol::ring::{RecordHeader, RingViolation};
use std::process::ExitStatus;

/// One event of a host, or of the wait for one.
#[derive(Debug)]
pub enum HostEvent {
    /// A record of a host; its payload is in [`super::HostPool::payload`].
    Record {
        /// The host that wrote it.
        host: HostId,
        /// Its header.
        header: RecordHeader,
    },
    /// A host process has ended. Everything that it had published was reported before.
    Exited {
        /// The host.
        host: HostId,
        /// The exit status of its process.
        status: ExitStatus,
    },
    /// A host's ring holds data that no correct host writes. Nothing more is read from it.
    InvalidRing {
        /// The host.
        host: HostId,
        /// The first rule of the ring that the data break.
        violation: RingViolation,
    },
    /// A host is dying and its exit status is not known yet, because the system still frees the memory of its process.
    /// Reported once, after everything that it had published.
    Dying {
        /// The host.
        host: HostId,
    },
    /// A host has reached a fault point that was armed in it.
    Fault {
        /// The host.
        host: HostId,
        /// The number of the fault rule.
        rule: u32,
    },
    /// SIGINT, SIGTERM or SIGHUP came; reported once.
    StopRequested,
    /// The time of the wait is over and nothing happened.
    TimedOut,
}
