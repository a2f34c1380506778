//! What can be made to go wrong, and at which points it can.

use super::point::{FaultPoint, FaultProcess, Pin};

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FaultKind {
    /// The supervisor kills the host at the point.
    Kill,
    /// The supervisor stops the host at the point, and has to notice by itself.
    Stop,
    /// The host writes to address zero.
    Segfault,
    /// The host aborts.
    Abort,
    /// The host exits with code 1.
    Exit,
    /// The process sleeps and goes on.
    Slow,
    /// The next record stays half written, and the host is killed.
    TornSlot,
    /// The next record has the sequence of an earlier lap.
    StaleSequence,
    /// The next record comes twice.
    RepeatedSequence,
    /// One bit of the header of the next record is wrong.
    CorruptHeader,
    /// One bit of the payload of the next record is wrong.
    CorruptPayload,
    /// The host says that it has consumed what was never written.
    IndexOutOfRange,
    /// The host neither reads nor writes any more.
    RingStalled,
    /// The host never says that it is ready.
    NeverReady,
    /// The host exits with code 1 before anything else.
    StartFailure,
    /// A batch is never run.
    InferenceTimeout,
    /// A model is refused.
    ModelGone,
    /// The disk is full: a write fails with `ENOSPC`.
    DiskFull,
    /// A write fails with `EIO`.
    WriteError,
    /// A write takes a part of the bytes and fails.
    ShortWrite,
    /// A sync fails with `EIO`.
    FsyncError,
    /// The supervisor kills itself.
    SupervisorKill,
}

use FaultKind::{
    Abort, CorruptHeader, CorruptPayload, DiskFull, Exit, FsyncError, IndexOutOfRange,
    InferenceTimeout, Kill, ModelGone, NeverReady, RepeatedSequence, RingStalled, Segfault,
    ShortWrite, Slow, StaleSequence, StartFailure, Stop, SupervisorKill, TornSlot, WriteError,
};

/// How a supervisor answers a host that has come to a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultResponse {
    /// Kill it.
    Kill,
    /// Stop it, and do nothing more until the deadline says so.
    Stop,
    /// Kill itself.
    KillSelf,
    /// Nothing: the host does it alone.
    Nothing,
}

/// Names, in the order of the enum.
const NAMES: &[(FaultKind, &str, &str)] = &[
    (
        Kill,
        "kill",
        "The supervisor kills the host at the point (SIGKILL).",
    ),
    (
        Stop,
        "stop",
        "The supervisor stops the host at the point (SIGSTOP), and notices by the deadline only.",
    ),
    (Segfault, "segfault", "The host writes to address zero."),
    (Abort, "abort", "The host aborts."),
    (Exit, "exit", "The host exits with code 1."),
    (Slow, "slow", "The process sleeps `ms` and goes on."),
    (
        TornSlot,
        "torn-slot",
        "The next record stays half written, and the host is killed.",
    ),
    (
        StaleSequence,
        "stale-sequence",
        "The next record has the sequence of an earlier lap; the host does no more.",
    ),
    (
        RepeatedSequence,
        "repeated-sequence",
        "The next record comes twice; the host does no more.",
    ),
    (
        CorruptHeader,
        "corrupt-header",
        "One bit of the next record's header is wrong; the host does no more.",
    ),
    (
        CorruptPayload,
        "corrupt-payload",
        "One bit of the next record's payload is wrong; the host does no more.",
    ),
    (
        IndexOutOfRange,
        "index-out-of-range",
        "The host says that it has consumed what was never written, and does no more.",
    ),
    (
        RingStalled,
        "ring-stalled",
        "The host neither reads nor writes any more.",
    ),
    (
        NeverReady,
        "never-ready",
        "The host never says that it is ready.",
    ),
    (
        StartFailure,
        "start-failure",
        "The host exits with code 1 before anything else.",
    ),
    (
        InferenceTimeout,
        "inference-timeout",
        "A batch is never run.",
    ),
    (ModelGone, "model-gone", "The load of a model is refused."),
    (DiskFull, "disk-full", "The next write fails with ENOSPC."),
    (WriteError, "write-error", "The next write fails with EIO."),
    (
        ShortWrite,
        "short-write",
        "The next write takes half of the bytes and fails with EIO.",
    ),
    (FsyncError, "fsync-error", "The next sync fails with EIO."),
    (
        SupervisorKill,
        "supervisor-kill",
        "The supervisor kills itself (SIGKILL).",
    ),
];

impl FaultKind {
    /// Every kind, in the order in which they are documented.
    pub const ALL: [FaultKind; 22] = [
        Kill,
        Stop,
        Segfault,
        Abort,
        Exit,
        Slow,
        TornSlot,
        StaleSequence,
        RepeatedSequence,
        CorruptHeader,
        CorruptPayload,
        IndexOutOfRange,
        RingStalled,
        NeverReady,
        StartFailure,
        InferenceTimeout,
        ModelGone,
        DiskFull,
        WriteError,
        ShortWrite,
        FsyncError,
        SupervisorKill,
    ];

    /// The name that plans use.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// What it does, as a sentence.
    #[must_use]
    pub fn what(self) -> &'static str {
        NAMES[self as usize].2
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<FaultKind> {
        NAMES
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(kind, _, _)| *kind)
    }

    /// Whether it spoils the next record of the ring up.
    #[must_use]
    pub fn spoils_record(self) -> bool {
        [
            TornSlot,
            StaleSequence,
            RepeatedSequence,
            CorruptHeader,
            CorruptPayload,
        ]
        .contains(&self)
    }

    /// Whether it is a fault of the disk.
    #[must_use]
    pub fn is_of_disk(self) -> bool {
        [DiskFull, WriteError, ShortWrite, FsyncError].contains(&self)
    }

    /// Whether nothing but a deadline tells of it, so that it costs one.
    #[must_use]
    pub fn costs_deadline(self) -> bool {
        [
            Stop,
            StaleSequence,
            IndexOutOfRange,
            RingStalled,
            NeverReady,
            InferenceTimeout,
        ]
        .contains(&self)
    }

    /// How the supervisor answers a host that says that it has come to this fault.
    #[must_use]
    pub fn answer(self) -> FaultResponse {
        match self {
            Kill | TornSlot => FaultResponse::Kill,
            Stop => FaultResponse::Stop,
            SupervisorKill => FaultResponse::KillSelf,
            _ => FaultResponse::Nothing,
        }
    }

    /// Whether this can happen at that point.
    #[must_use]
    pub fn fits(self, phase: FaultPoint) -> bool {
        let of_host = !phase.is_of_supervisor();
        match self {
            Kill | Stop => of_host || !is_without_hosts(phase),
            Slow | SupervisorKill => true,
            Segfault | Abort | Exit => of_host,
            TornSlot | StaleSequence | RepeatedSequence | CorruptHeader | CorruptPayload => {
                let of_ring = phase.place() == "shm-protocol";
                of_host
                    && phase != FaultPoint::HostBorn
                    && (!of_ring || phase == FaultPoint::RingReserved)
            }
            IndexOutOfRange | RingStalled => of_host && phase.pin() != Pin::Start,
            NeverReady => matches!(phase, FaultPoint::HostBorn | FaultPoint::BeforeReady),
            StartFailure => phase == FaultPoint::HostBorn,
            InferenceTimeout => phase == FaultPoint::BeforeBatch,
            ModelGone => phase == FaultPoint::BeforeModel,
            DiskFull | WriteError | ShortWrite => writes(phase),
            FsyncError => syncs(phase),
        }
    }

    pub(super) fn from_code(code: u8) -> Option<FaultKind> {
        FaultKind::ALL.get(usize::from(code)).copied()
    }

    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

/// Points at which no host runs that could be killed.
fn is_without_hosts(phase: FaultPoint) -> bool {
    use FaultPoint::{AfterSeal, BeforeSeal, BeforeSpawn, ResumeBegun, ResumeCut};
    [BeforeSpawn, ResumeBegun, ResumeCut, BeforeSeal, AfterSeal].contains(&phase)
}

/// Points after which the supervisor writes.
fn writes(phase: FaultPoint) -> bool {
    use FaultPoint::{BeforeOutbox, BeforeSeal, BeforeWrite, CheckpointBegun, CheckpointPages};
    [
        BeforeWrite,
        BeforeOutbox,
        BeforeSeal,
        CheckpointBegun,
        CheckpointPages,
    ]
    .contains(&phase)
}

/// Points after which the supervisor syncs.
fn syncs(phase: FaultPoint) -> bool {
    use FaultPoint::{AfterWriteBeforeCommit, CheckpointBegun, CheckpointPages};
    let of_journal = [
        AfterWriteBeforeCommit,
        FaultPoint::BeforeSeal,
        FaultPoint::BeforeOutbox,
    ];
    of_journal.contains(&phase) || [CheckpointBegun, CheckpointPages].contains(&phase)
}

impl FaultProcess {
    /// The crate that is the process.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultProcess::Supervisor => "supervisor",
            FaultProcess::AgentHost => "agent host",
            FaultProcess::InferenceHost => "inference host",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back_to_their_kind() {
        assert_eq!(NAMES.len(), FaultKind::ALL.len());
        for (position, kind) in FaultKind::ALL.iter().enumerate() {
            assert_eq!(NAMES[position].0, *kind);
            assert_eq!(FaultKind::from_name(kind.name()), Some(*kind));
            assert_eq!(FaultKind::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(FaultKind::from_name("explode"), None);
        assert_eq!(FaultKind::from_code(22), None);
    }

    #[test]
    fn every_kind_fits_somewhere_and_every_phase_has_a_kind() {
        for kind in FaultKind::ALL {
            assert!(
                FaultPoint::ALL.iter().any(|phase| kind.fits(*phase)),
                "{kind:?}"
            );
        }
        for phase in FaultPoint::ALL {
            assert!(
                FaultKind::ALL.iter().any(|kind| kind.fits(*phase)),
                "{phase:?}"
            );
        }
    }

    #[test]
    fn what_cannot_happen_does_not_fit() {
        assert!(!Segfault.fits(FaultPoint::BeforeWrite));
        assert!(!Kill.fits(FaultPoint::ResumeBegun));
        assert!(!DiskFull.fits(FaultPoint::BeforeStep));
        assert!(!ModelGone.fits(FaultPoint::BeforeLoad));
        assert!(!StartFailure.fits(FaultPoint::AfterReady));
        assert!(!TornSlot.fits(FaultPoint::RingAfterPublish));
        assert!(TornSlot.fits(FaultPoint::RingReserved) && Kill.fits(FaultPoint::RingAfterPublish));
    }
}
