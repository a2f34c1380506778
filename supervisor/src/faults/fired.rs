//! The forms of a due rule: a slot in a host's memory, an injection by the supervisor, and a record that it fired.

use crate::faults::faulty_disk::FileClass;
use crate::faults::rule::{FaultRule, FaultTarget, RuleId};
use serde::{Serialize, Serializer};
use shm_protocol::fault::{ANY, ANY_TICK, FaultKind, FaultPoint, FaultSlot, Pin};
use shm_protocol::id::{HostId, Tick};
use std::io;
use std::time::Duration;

/// A rule that has fired, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FiredFault {
    /// Its number in the plan.
    pub rule: RuleId,
    /// The open tick.
    pub tick: Tick,
    /// Its fault point.
    #[serde(serialize_with = "point_name")]
    pub point: FaultPoint,
    /// Its kind.
    #[serde(serialize_with = "kind_name")]
    pub kind: FaultKind,
    /// The host in which it fired, unless it is the supervisor.
    pub host: Option<HostId>,
}

/// Records that a rule has fired. It returns once the record survives the death of the supervisor.
pub type FaultRecorder = Box<dyn FnMut(&FiredFault) -> io::Result<()> + Send>;

/// An injection, to be done where its fault point was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// Kill the host of this target.
    Kill(RuleId, FaultTarget),
    /// Stop the host of this target, and leave it to the deadline to notice.
    Stop(RuleId, FaultTarget),
    /// Sleep for this time.
    Slow(Duration),
    /// Kill this process.
    KillSelf,
    /// Nothing more: the disk switch is set.
    Disk(FileClass, FaultKind),
}

/// The fault slot of a rule in a host.
pub(super) fn slot(id: RuleId, rule: &FaultRule) -> FaultSlot {
    let subject = match &rule.target {
        FaultTarget::Agent(agent, _) if rule.point.names_agent() => agent.0,
        FaultTarget::Model(model, _) if rule.point.names_model() => model.0,
        _ => ANY,
    };
    let tick = match rule.point.pin() {
        Pin::Start => ANY_TICK,
        Pin::Exact | Pin::From => rule.tick.unwrap_or(ANY_TICK),
    };
    FaultSlot {
        rule: id.0,
        point: rule.point,
        kind: rule.kind,
        tick,
        subject,
        ms: rule.delay_ms,
    }
}

/// The injection of a rule at a fault point of the supervisor.
pub(super) fn injection(id: RuleId, rule: &FaultRule) -> Option<Injection> {
    Some(match rule.kind {
        FaultKind::Kill => Injection::Kill(id, rule.target.clone()),
        FaultKind::Stop => Injection::Stop(id, rule.target.clone()),
        FaultKind::Slow => Injection::Slow(Duration::from_millis(rule.delay_ms.into())),
        FaultKind::SupervisorKill => Injection::KillSelf,
        kind if kind.is_of_disk() => Injection::Disk(files_behind(rule.point), kind),
        _ => return None,
    })
}

/// The files that the supervisor writes behind a fault point.
fn files_behind(point: FaultPoint) -> FileClass {
    match point {
        FaultPoint::BeforeOutbox => FileClass::Outbox,
        FaultPoint::CheckpointStarted | FaultPoint::CheckpointPages => FileClass::Checkpoint,
        _ => FileClass::Journal,
    }
}

fn point_name<S: Serializer>(point: &FaultPoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(point.name())
}

fn kind_name<S: Serializer>(kind: &FaultKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}
