//! The events of one supervisor: their consistency, and the time of each recovery
//! with the fault before it.

use shm_protocol::fault::FaultKind;
use shm_protocol::id::{HostId, Incarnation};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use supervisor::rundir::RunEvent;
use supervisor::rundir::events::INFERENCE;

/// The role of a resumed supervisor in lists of recoveries.
pub(super) const SUPERVISOR: &str = "supervisor";

/// The kind of a recovery without a known fault.
const NO_FAULT: &str = "no fault";

/// One recovery.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recovery {
    /// The role of the process that recovered.
    pub(super) role: String,
    /// The kind of the fault before it.
    pub(super) kind: String,
    /// Milliseconds from the failure to the recovery.
    pub(super) ms: f64,
}

/// Contradictions in the events of one supervisor: an incarnation is lost once, and a host is restarted once after one
/// or more losses, as a new incarnation.
pub(super) fn contradictions(events: &[RunEvent]) -> Vec<String> {
    let mut dead: BTreeSet<Incarnation> = BTreeSet::new();
    let mut away: BTreeSet<HostId> = BTreeSet::new();
    let mut found = Vec::new();
    for event in events {
        match event {
            RunEvent::HostLost {
                host, incarnation, ..
            } => {
                if !dead.insert(*incarnation) {
                    found.push(format!(
                        "incarnation {incarnation} of host {host} was lost twice"
                    ));
                }
                away.insert(*host);
            }
            RunEvent::HostRestarted {
                host, incarnation, ..
            } => {
                if !away.remove(host) {
                    found.push(format!("host {host} was restarted and had not failed"));
                }
                if dead.contains(incarnation) {
                    found.push(format!(
                        "host {host} was restarted as incarnation {incarnation}, which was lost"
                    ));
                }
            }
            RunEvent::Unreadable { line, reason } => {
                found.push(format!("line {line} of the events: {reason}"));
            }
            _ => {}
        }
    }
    found
}

/// Host failures beyond the faults that end a host: deadlines that were missed without a fault, or failures that caused
/// others.
pub(super) fn unexplained(events: &[RunEvent]) -> u64 {
    let faults = fired(events).filter(|kind| ends_host(*kind)).count();
    losses(events).saturating_sub(faults) as u64
}

/// The number of host failures.
pub(super) fn losses(events: &[RunEvent]) -> usize {
    let is_loss = |event: &&RunEvent| matches!(event, RunEvent::HostLost { .. });
    events.iter().filter(is_loss).count()
}

/// The kinds of the faults that fired.
pub(super) fn fired(events: &[RunEvent]) -> impl Iterator<Item = FaultKind> {
    events.iter().filter_map(|event| match event {
        RunEvent::FaultFired { kind, .. } => FaultKind::from_name(kind),
        _ => None,
    })
}

fn ends_host(kind: FaultKind) -> bool {
    kind != FaultKind::Slow && kind != FaultKind::SupervisorKill && !kind.is_of_disk()
}

/// Every recovery in the events of one supervisor, with the fault before it. `ended` is the fault that ended the
/// supervisor before.
///
/// Events do not name the fault of a host failure: it is taken to be the oldest one for the role that explains no other
/// failure. Of two hosts that fail at the same time, each may get the fault of the other.
pub(super) fn recoveries(events: &[RunEvent], ended: Option<FaultKind>) -> Vec<Recovery> {
    let mut waiting: BTreeMap<bool, VecDeque<String>> = BTreeMap::new();
    let mut lost_to: BTreeMap<HostId, String> = BTreeMap::new();
    let mut found = Vec::new();
    for event in events {
        match event {
            RunEvent::FaultFired { kind, target, .. }
                if FaultKind::from_name(kind).is_some_and(ends_host) =>
            {
                let of_inference = is_of_inference(target);
                waiting
                    .entry(of_inference)
                    .or_default()
                    .push_back(kind.clone());
            }
            RunEvent::HostLost { host, role, .. } => {
                let kind = waiting
                    .get_mut(&(role == INFERENCE))
                    .and_then(VecDeque::pop_front)
                    .unwrap_or_else(|| NO_FAULT.to_owned());
                // A host that fails again while it restarts has one recovery, which begins with the first failure.
                lost_to.entry(*host).or_insert(kind);
            }
            RunEvent::HostRestarted { host, role, ms, .. } => found.push(Recovery {
                role: role.clone(),
                kind: lost_to.remove(host).unwrap_or_else(|| NO_FAULT.to_owned()),
                ms: *ms,
            }),
            RunEvent::Resumed { ms, .. } => found.push(Recovery {
                role: SUPERVISOR.to_owned(),
                kind: ended.map_or(NO_FAULT, FaultKind::name).to_owned(),
                ms: *ms,
            }),
            _ => {}
        }
    }
    found
}

/// True if the target of a fault, as events name it, belongs to the inference host.
fn is_of_inference(target: &str) -> bool {
    target.starts_with("model") || target == "the inference host"
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::id::Tick;
    use supervisor::rundir::events::AGENTS;

    fn fault(kind: &str, target: &str) -> RunEvent {
        RunEvent::FaultFired {
            rule: 1,
            kind: kind.to_owned(),
            point: "before-step".to_owned(),
            tick: Tick(1),
            target: target.to_owned(),
        }
    }

    fn lost(host: u32, role: &str, incarnation: u32) -> RunEvent {
        RunEvent::HostLost {
            host: HostId(host),
            role: role.to_owned(),
            incarnation: Incarnation(incarnation),
            tick: Tick(1),
            cause: String::new(),
        }
    }

    fn restarted(host: u32, role: &str, incarnation: u32, ms: f64) -> RunEvent {
        RunEvent::HostRestarted {
            host: HostId(host),
            role: role.to_owned(),
            incarnation: Incarnation(incarnation),
            tick: Tick(1),
            checkpoint: None,
            reexecuted: 0,
            ms,
            cause: String::new(),
        }
    }

    #[test]
    fn a_host_may_fail_twice_before_it_is_restarted_once() {
        let events = [
            lost(0, AGENTS, 1),
            lost(0, AGENTS, 2),
            restarted(0, AGENTS, 3, 1.0),
        ];
        assert_eq!(contradictions(&events), Vec::<String>::new());
        // A loss just before the end of the run or of the supervisor.
        assert_eq!(contradictions(&events[..2]), Vec::<String>::new());
    }

    #[test]
    fn contradictions_are_named() {
        let said = |events: &[RunEvent]| contradictions(events).join("; ");
        assert!(said(&[lost(0, AGENTS, 1), lost(0, AGENTS, 1)]).contains("lost twice"));
        assert!(said(&[restarted(0, AGENTS, 2, 1.0)]).contains("had not failed"));
        let twice = [
            lost(0, AGENTS, 1),
            restarted(0, AGENTS, 2, 1.0),
            restarted(0, AGENTS, 2, 1.0),
        ];
        assert!(said(&twice).contains("had not failed"));
        let dead = [lost(0, AGENTS, 1), restarted(0, AGENTS, 1, 1.0)];
        assert!(said(&dead).contains("incarnation 1, which was lost"));
        let unreadable = RunEvent::Unreadable {
            line: 3,
            reason: "why".to_owned(),
        };
        assert!(said(&[unreadable]).contains("line 3"));
    }

    #[test]
    fn a_loss_without_a_fault_is_counted() {
        let events = [
            fault("kill", "agent `a`"),
            fault("slow", "agent `a`"),
            lost(0, AGENTS, 1),
            lost(1, AGENTS, 2),
        ];
        assert_eq!(unexplained(&events), 1);
        assert_eq!(unexplained(&events[..3]), 0);
    }

    #[test]
    fn a_recovery_belongs_to_the_fault_of_its_role() {
        let events = [
            fault("kill", "agent `a`"),
            fault("abort", "the inference host"),
            lost(1, INFERENCE, 2),
            lost(0, AGENTS, 1),
            restarted(0, AGENTS, 3, 5.0),
            restarted(1, INFERENCE, 4, 6.0),
        ];
        let kinds: Vec<(String, String)> = recoveries(&events, None)
            .into_iter()
            .map(|recovery| (recovery.role, recovery.kind))
            .collect();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            kinds,
            [
                (text(AGENTS), text("kill")),
                (text(INFERENCE), text("abort"))
            ]
        );
    }

    #[test]
    fn a_resumed_run_has_recovered_from_what_ended_it() {
        let resumed = RunEvent::Resumed {
            tick: Tick(4),
            checkpoint: None,
            cut_bytes: 0,
            reexecuted: 4,
            ms: 7.5,
        };
        let found = recoveries(&[resumed], Some(FaultKind::SupervisorKill));
        assert_eq!(found[0].role, SUPERVISOR);
        assert_eq!(found[0].kind, "supervisor-kill");
    }
}
