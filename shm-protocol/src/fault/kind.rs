//! The kinds of faults, and the points at which each can be injected.

use super::point::{FaultPoint, FaultProcess, Pin};

macro_rules! kinds {
    ($($kind:ident $name:literal, $what:literal;)*) => {
        /// The effect of a fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum FaultKind {
            $(#[doc = $what] $kind,)*
        }

        /// Name and effect of each kind, in the order of the enum.
        const INFO: &[(&str, &str)] = &[$(($name, $what)),*];

        impl FaultKind {
            /// Every kind, in the order in which they are documented.
            pub const ALL: [FaultKind; INFO.len()] = [$(FaultKind::$kind),*];
        }
    };
}

kinds! {
    Kill "kill", "The supervisor kills the host at the point (SIGKILL).";
    Stop "stop", "The supervisor stops the host at the point (SIGSTOP), and notices by the deadline only.";
    Segfault "segfault", "The host writes to address zero.";
    Abort "abort", "The host aborts.";
    Exit "exit", "The host exits with code 1.";
    Slow "slow", "The process sleeps `delay_ms` and goes on.";
    TornSlot "torn-slot", "The next record stays half written, and the host is killed.";
    StaleSequence "stale-sequence", "The next record has the sequence of an earlier lap; the host does no more.";
    RepeatedSequence "repeated-sequence", "The next record comes twice; the host does no more.";
    CorruptHeader "corrupt-header", "One bit of the next record's header is wrong; the host does no more.";
    CorruptPayload "corrupt-payload", "One bit of the next record's payload is wrong; the host does no more.";
    IndexOutOfRange "index-out-of-range", "The host says that it has consumed what was never written, and does no more.";
    RingStalled "ring-stalled", "The host neither reads nor writes any more.";
    NeverReady "never-ready", "The host never says that it is ready.";
    StartFailure "start-failure", "The host exits with code 1 before anything else.";
    InferenceTimeout "inference-timeout", "A batch is never run.";
    ModelGone "model-gone", "The load of a model is refused.";
    DiskFull "disk-full", "The next write fails with ENOSPC.";
    WriteError "write-error", "The next write fails with EIO.";
    ShortWrite "short-write", "The next write takes half of the bytes and fails with EIO.";
    FsyncError "fsync-error", "The next sync fails with EIO.";
    SupervisorKill "supervisor-kill", "The supervisor kills itself (SIGKILL).";
}

use FaultKind::{
    Abort, CorruptHeader, CorruptPayload, DiskFull, Exit, FsyncError, IndexOutOfRange,
    InferenceTimeout, Kill, ModelGone, NeverReady, RepeatedSequence, RingStalled, Segfault,
    ShortWrite, Slow, StaleSequence, StartFailure, Stop, SupervisorKill, TornSlot, WriteError,
};

/// The supervisor's response to a fault that has fired in a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultResponse {
    /// Kill it.
    Kill,
    /// Stop it, and do nothing more until its deadline has passed.
    Stop,
    /// Kill itself.
    KillSelf,
    /// Nothing: the host executes the fault by itself.
    Nothing,
}

impl FaultKind {
    /// Its name in fault plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        INFO[self as usize].0
    }

    /// Its effect, as a sentence.
    #[must_use]
    pub fn what(self) -> &'static str {
        INFO[self as usize].1
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<FaultKind> {
        let mut kinds = FaultKind::ALL.into_iter();
        kinds.find(|kind| kind.name() == name)
    }

    /// True if it corrupts the next record of the ring up.
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

    /// True for a fault of the disk.
    #[must_use]
    pub fn is_of_disk(self) -> bool {
        [DiskFull, WriteError, ShortWrite, FsyncError].contains(&self)
    }

    /// True if it is detected by a deadline only.
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

    /// The supervisor's response when the fault has fired.
    #[must_use]
    pub fn answer(self) -> FaultResponse {
        match self {
            Kill | TornSlot => FaultResponse::Kill,
            Stop => FaultResponse::Stop,
            SupervisorKill => FaultResponse::KillSelf,
            _ => FaultResponse::Nothing,
        }
    }

    /// True if the fault can be injected at the point.
    #[must_use]
    pub fn fits(self, point: FaultPoint) -> bool {
        let of_host = !point.is_of_supervisor();
        match self {
            Kill | Stop => of_host || !is_without_hosts(point),
            Slow | SupervisorKill => true,
            Segfault | Abort | Exit => of_host,
            TornSlot | StaleSequence | RepeatedSequence | CorruptHeader | CorruptPayload => {
                let of_ring = point.place() == "shm-protocol";
                of_host
                    && point != FaultPoint::ProcessStarted
                    && (!of_ring || point == FaultPoint::RingReserved)
            }
            IndexOutOfRange | RingStalled => of_host && point.pin() != Pin::Start,
            NeverReady => matches!(point, FaultPoint::ProcessStarted | FaultPoint::BeforeReady),
            StartFailure => point == FaultPoint::ProcessStarted,
            InferenceTimeout => point == FaultPoint::BeforeBatch,
            ModelGone => point == FaultPoint::BeforeModel,
            DiskFull | WriteError | ShortWrite => writes(point),
            FsyncError => syncs(point),
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
fn is_without_hosts(point: FaultPoint) -> bool {
    use FaultPoint::{AfterSeal, BeforeSeal, BeforeSpawn, ResumeStarted, ResumeTruncated};
    [
        BeforeSpawn,
        ResumeStarted,
        ResumeTruncated,
        BeforeSeal,
        AfterSeal,
    ]
    .contains(&point)
}

/// Points after which the supervisor writes.
fn writes(point: FaultPoint) -> bool {
    use FaultPoint::{BeforeOutbox, BeforeSeal, BeforeWrite, CheckpointPages, CheckpointStarted};
    [
        BeforeWrite,
        BeforeOutbox,
        BeforeSeal,
        CheckpointStarted,
        CheckpointPages,
    ]
    .contains(&point)
}

/// Points after which the supervisor syncs.
fn syncs(point: FaultPoint) -> bool {
    use FaultPoint::{AfterWriteBeforeCommit, CheckpointPages, CheckpointStarted};
    let of_journal = [
        AfterWriteBeforeCommit,
        FaultPoint::BeforeSeal,
        FaultPoint::BeforeOutbox,
    ];
    of_journal.contains(&point) || [CheckpointStarted, CheckpointPages].contains(&point)
}

impl FaultProcess {
    /// The name of the process.
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
    fn names_and_codes_identify_their_kind() {
        for kind in &FaultKind::ALL {
            assert_eq!(FaultKind::from_name(kind.name()), Some(*kind));
            assert_eq!(FaultKind::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(FaultKind::from_name("explode"), None);
        assert_eq!(FaultKind::from_code(22), None);
    }

    #[test]
    fn every_kind_fits_somewhere_and_every_point_has_a_kind() {
        for kind in FaultKind::ALL {
            assert!(
                FaultPoint::ALL.iter().any(|point| kind.fits(*point)),
                "{kind:?}"
            );
        }
        for point in FaultPoint::ALL {
            assert!(
                FaultKind::ALL.iter().any(|kind| kind.fits(*point)),
                "{point:?}"
            );
        }
    }

    #[test]
    fn impossible_combinations_do_not_fit() {
        assert!(!Segfault.fits(FaultPoint::BeforeWrite));
        assert!(!Kill.fits(FaultPoint::ResumeStarted));
        assert!(!DiskFull.fits(FaultPoint::BeforeStep));
        assert!(!ModelGone.fits(FaultPoint::BeforeLoad));
        assert!(!StartFailure.fits(FaultPoint::AfterReady));
        assert!(!TornSlot.fits(FaultPoint::RingAfterPublish));
        assert!(TornSlot.fits(FaultPoint::RingReserved) && Kill.fits(FaultPoint::RingAfterPublish));
    }
}
