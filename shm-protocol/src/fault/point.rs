//! The named points of all crates at which faults can be injected. Fault plans, documentation and code use this one
//! list.

/// A process with fault points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultProcess {
    /// The supervisor.
    Supervisor,
    /// An agent host.
    AgentHost,
    /// The inference host.
    InferenceHost,
}

/// The relation between the tick of a rule and the tick of its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// The point belongs to one tick: a rule applies in that tick only.
    Exact,
    /// Not every tick has the point: a rule applies from its tick on.
    From,
    /// The process does not know the tick yet: the rule is armed when its tick has come.
    Start,
}

/// The properties of a [`FaultPoint`].
#[derive(Clone, Copy, Debug)]
struct PointInfo {
    point: FaultPoint,
    name: &'static str,
    /// The crate whose code the point is in.
    place: &'static str,
    processes: &'static [FaultProcess],
    pin: Pin,
    what: &'static str,
}

macro_rules! points {
    ($($point:ident $name:literal, $place:literal, $processes:expr, $pin:ident, $what:literal;)*) => {
        /// A named point of the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum FaultPoint {
            $(#[doc = $what] $point,)*
        }

        const FACTS: &[PointInfo] = &[$(PointInfo {
            point: FaultPoint::$point,
            name: $name,
            place: $place,
            processes: $processes,
            pin: Pin::$pin,
            what: $what,
        }),*];

        impl FaultPoint {
            /// Every point, in the order in which they are documented.
            pub const ALL: &[FaultPoint] = &[$(FaultPoint::$point),*];
        }
    };
}

const S: &[FaultProcess] = &[FaultProcess::Supervisor];
const A: &[FaultProcess] = &[FaultProcess::AgentHost];
const I: &[FaultProcess] = &[FaultProcess::InferenceHost];
const HOSTS: &[FaultProcess] = &[FaultProcess::AgentHost, FaultProcess::InferenceHost];

points! {
    BeforeSpawn "before-spawn", "supervisor", S, Start, "A host is about to be started, for the first time or again.";
    HostsReady "hosts-ready", "supervisor", S, Start, "All hosts have loaded what they run, and no tick is open.";
    TickOpened "tick-opened", "supervisor", S, Exact, "A tick is open and nothing of it was sent.";
    AfterStepsSent "after-steps-sent", "supervisor", S, Exact, "The steps of the tick are in the rings.";
    OutcomeReceived "outcome-received", "supervisor", S, Exact, "An outcome was taken out of a ring, and more are missing or not.";
    AnswerReceived "answer-received", "supervisor", S, From, "A part of a batch's answer was taken out of the ring.";
    BeforeWrite "before-write", "supervisor", S, Exact, "The tick is closed and its record not written.";
    AfterWriteBeforeCommit "after-write-before-commit", "supervisor", S, Exact, "The record is written and not known to be durable.";
    AfterCommit "after-commit", "supervisor", S, Exact, "The record is durable at the level of the run.";
    BeforeOutbox "before-outbox", "supervisor", S, From, "Outputs may leave and have not.";
    AfterOutbox "after-outbox", "supervisor", S, From, "Outputs are in the outbox.";
    CheckpointStarted "checkpoint-started", "supervisor", S, From, "Hosts were asked for the state of their agents.";
    CheckpointPages "checkpoint-pages", "supervisor", S, From, "Pages of a checkpoint are being written.";
    CheckpointBeforeRename "checkpoint-before-rename", "supervisor", S, From, "A checkpoint is on the disk and has not its name.";
    CheckpointAfterRename "checkpoint-after-rename", "supervisor", S, From, "A checkpoint has its name; those it replaces are still there.";
    RecoveryStarted "recovery-started", "supervisor", S, From, "A host is lost, and its place is empty.";
    RecoveryRestored "recovery-restored", "supervisor", S, From, "The agents of a lost host are restored and have nothing executed again.";
    RecoveryCaughtUp "recovery-caught-up", "supervisor", S, From, "The agents of a lost host are where they were, and the open tick is not sent.";
    ResumeStarted "resume-started", "supervisor", S, Start, "A run is being resumed, and its journal was not looked at.";
    ResumeTruncated "resume-truncated", "supervisor", S, Start, "The torn end of the journal is cut.";
    ResumeCaughtUp "resume-caught-up", "supervisor", S, Start, "All agents are where they were, and no tick is open.";
    BeforeSeal "before-seal", "supervisor", S, Start, "The last tick is committed and the journal not sealed.";
    AfterSeal "after-seal", "supervisor", S, Start, "The journal is sealed and the run not left.";

    ProcessStarted "process-started", "agent-host, inference-host", HOSTS, Start, "The process has attached its memory, and is not confined.";
    BeforeReady "before-ready", "agent-host, inference-host", HOSTS, Start, "The host is confined and has not said that it is ready.";
    AfterReady "after-ready", "agent-host, inference-host", HOSTS, Start, "The host has said that it is ready.";
    BeforeLoad "before-load", "agent-host", A, Start, "An agent is about to be loaded, or was asked for.";
    AfterLoad "after-load", "agent-host", A, Start, "An agent is loaded, and nobody was told.";
    BeforeRestore "before-restore", "agent-host", A, Start, "A part of an agent's state has come and was not applied.";
    AfterRestore "after-restore", "agent-host", A, Start, "A part of an agent's state is applied.";
    BeforeStep "before-step", "agent-host", A, Exact, "An agent is about to take its step.";
    InStep "in-step", "agent-host", A, Exact, "An agent calls its host within a step.";
    AfterStep "after-step", "agent-host", A, Exact, "An agent has taken its step, and nobody was told.";
    BeforeOutcomes "before-outcomes", "agent-host", A, Exact, "Outcomes are about to be sent.";
    AfterOutcomes "after-outcomes", "agent-host", A, Exact, "Outcomes are sent.";
    AwaitSent "await-sent", "agent-host", A, From, "What agents wait for within their steps is sent.";
    AwaitAnswered "await-answered", "agent-host", A, From, "The answer that an agent waits for has come, and it has not gone on.";
    BeforeSnapshot "before-snapshot", "agent-host", A, From, "The state of the agents was asked for.";
    MidSnapshot "mid-snapshot", "agent-host", A, From, "A part of the state of an agent is sent, and more may follow.";
    AfterSnapshot "after-snapshot", "agent-host", A, From, "The state of all agents of the host is sent.";

    BeforeEngine "before-engine", "inference-host", I, Start, "The engine's library is about to be loaded.";
    AfterEngine "after-engine", "inference-host", I, Start, "The engine is loaded, and nobody was told.";
    BeforeModel "before-model", "inference-host", I, Start, "A model is about to be loaded.";
    AfterModel "after-model", "inference-host", I, Start, "A model is loaded, and nobody was told.";
    BeforeBatch "before-batch", "inference-host", I, From, "A batch has come and was not run.";
    AfterRun "after-run", "inference-host", I, From, "The engine has run a batch, and nothing of it is published.";
    MidAnswer "mid-answer", "inference-host", I, From, "An output of a batch is published, and more may follow.";
    AfterAnswer "after-answer", "inference-host", I, From, "All outputs of a batch are published.";

    RingReserved "ring-reserved", "shm-protocol", HOSTS, From, "A record has a place in the ring up, and nothing of it is written.";
    RingHalfPayload "ring-half-payload", "shm-protocol", HOSTS, From, "Half of a record's payload is written.";
    RingBeforePublish "ring-before-publish", "shm-protocol", HOSTS, From, "A record is written and cannot be seen.";
    RingAfterPublish "ring-after-publish", "shm-protocol", HOSTS, From, "A record can be seen, and the supervisor was not woken for it.";
}

impl FaultPoint {
    fn facts(self) -> &'static PointInfo {
        &FACTS[self as usize]
    }

    /// Its name in fault plans.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The point of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<FaultPoint> {
        let facts = FACTS.iter().find(|facts| facts.name == name)?;
        Some(facts.point)
    }

    /// The crate, or the crates, whose code the point is in.
    #[must_use]
    pub fn place(self) -> &'static str {
        self.facts().place
    }

    /// The processes that pass it.
    #[must_use]
    pub fn processes(self) -> &'static [FaultProcess] {
        self.facts().processes
    }

    /// The relation of a rule's tick to it.
    #[must_use]
    pub fn pin(self) -> Pin {
        self.facts().pin
    }

    /// The situation at the point, as a sentence.
    #[must_use]
    pub fn what(self) -> &'static str {
        self.facts().what
    }

    /// True for a point of the supervisor.
    #[must_use]
    pub fn is_of_supervisor(self) -> bool {
        self.facts().processes == S
    }

    /// True if only agents that await pass it.
    #[must_use]
    pub fn needs_waits(self) -> bool {
        matches!(self, FaultPoint::AwaitSent | FaultPoint::AwaitAnswered)
    }

    /// True if the point names an agent.
    #[must_use]
    pub fn names_agent(self) -> bool {
        use FaultPoint::{
            AfterLoad, AfterRestore, AfterStep, BeforeLoad, BeforeRestore, BeforeStep,
        };
        let snapshot = self == FaultPoint::MidSnapshot;
        let of_agent = [
            BeforeLoad,
            AfterLoad,
            BeforeRestore,
            AfterRestore,
            BeforeStep,
            FaultPoint::InStep,
            AfterStep,
            FaultPoint::AwaitAnswered,
        ];
        snapshot || of_agent.contains(&self)
    }

    /// True if the point names a model.
    #[must_use]
    pub fn names_model(self) -> bool {
        let of_model = [
            FaultPoint::BeforeModel,
            FaultPoint::AfterModel,
            FaultPoint::BeforeBatch,
            FaultPoint::AfterRun,
            FaultPoint::MidAnswer,
            FaultPoint::AfterAnswer,
        ];
        of_model.contains(&self)
    }

    pub(super) fn from_code(code: u8) -> Option<FaultPoint> {
        FaultPoint::ALL.get(usize::from(code)).copied()
    }

    pub(super) fn code(self) -> u8 {
        self as u8
    }
}

const _: () = assert!(FACTS.len() == FaultPoint::ALL.len() && FACTS.len() < 256);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_codes_lead_back_to_their_point() {
        for point in FaultPoint::ALL {
            assert_eq!(FaultPoint::from_name(point.name()), Some(*point));
            assert_eq!(FaultPoint::from_code(point.code()), Some(*point));
        }
        assert_eq!(FaultPoint::from_name("before-everything"), None);
        assert_eq!(FaultPoint::from_code(u8::MAX), None);
    }

    #[test]
    fn no_two_points_have_one_name() {
        let names: BTreeSet<&str> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), FaultPoint::ALL.len());
    }

    #[test]
    fn a_fault_point_names_an_agent_or_a_model_of_its_process() {
        for point in FaultPoint::ALL {
            assert!(!point.names_agent() || point.processes() == A, "{point:?}");
            assert!(!point.names_model() || point.processes() == I, "{point:?}");
        }
    }
}
