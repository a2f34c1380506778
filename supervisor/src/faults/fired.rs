//! What a rule becomes once it is due: a slot in a host's memory, something that
//! the supervisor does, and a line that says so.

use crate::faults::faulty_disk::FileClass;
use crate::faults::rule::{FaultRule, FaultTarget, RuleId};
use serde::{Serialize, Serializer};
use shm_protocol::fault::{ANY, ANY_TICK, FaultKind, FaultPoint, FaultSlot, Pin};
use shm_protocol::id::{HostId, Tick};
use std::io;
use std::time::Duration;

/// A rule that has fired, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FiredFault {
    /// Its number in the plan.
    pub rule: RuleId,
    /// The open tick.
    pub tick: Tick,
    /// Where.
    #[serde(serialize_with = "phase_name")]
    pub phase: FaultPoint,
    /// What.
    #[serde(serialize_with = "kind_name")]
    pub kind: FaultKind,
    /// The host that has come to it, unless it is the supervisor.
    pub host: Option<HostId>,
}

/// Writes down that a rule has fired. It returns once the supervisor can die and it is still known.
pub type FaultRecorder = Box<dyn FnMut(&FiredFault) -> io::Result<()> + Send>;

/// Something that whoever passed a point has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Kill the host of this target.
    Kill(RuleId, FaultTarget),
    /// Stop the host of this target, and leave it to the deadline to notice.
    Stop(RuleId, FaultTarget),
    /// Sleep so long and go on.
    Slow(Duration),
    /// Kill this process.
    KillSelf,
    /// Nothing more: the disk has been told.
    Disk(FileClass, FaultKind),
}

/// What waits in a host for a rule.
pub(super) fn slot(id: RuleId, rule: &FaultRule) -> FaultSlot {
    let subject = match &rule.target {
        FaultTarget::Agent(agent, _) if rule.phase.names_agent() => agent.0,
        FaultTarget::Model(model, _) if rule.phase.names_model() => model.0,
        _ => ANY,
    };
    let tick = match rule.phase.pin() {
        Pin::Start => ANY_TICK,
        Pin::Exact | Pin::From => rule.tick.unwrap_or(ANY_TICK),
    };
    FaultSlot {
        rule: id.0,
        phase: rule.phase,
        kind: rule.kind,
        tick,
        subject,
        ms: rule.ms,
    }
}

/// What a rule asks for at a point of the supervisor.
pub(super) fn injection(id: RuleId, rule: &FaultRule) -> Option<Injection> {
    Some(match rule.kind {
        FaultKind::Kill => Injection::Kill(id, rule.target.clone()),
        FaultKind::Stop => Injection::Stop(id, rule.target.clone()),
        FaultKind::Slow => Injection::Slow(Duration::from_millis(rule.ms.into())),
        FaultKind::SupervisorKill => Injection::KillSelf,
        kind if kind.is_of_disk() => Injection::Disk(files_behind(rule.phase), kind),
        _ => return None,
    })
}

/// The files that the supervisor works on behind a point.
fn files_behind(phase: FaultPoint) -> FileClass {
    match phase {
        FaultPoint::BeforeOutbox => FileClass::Outbox,
        FaultPoint::CheckpointBegun | FaultPoint::CheckpointPages => FileClass::Checkpoint,
        _ => FileClass::Journal,
    }
}

fn phase_name<S: Serializer>(phase: &FaultPoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(phase.name())
}

fn kind_name<S: Serializer>(kind: &FaultKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}
