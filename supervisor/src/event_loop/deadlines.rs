//! Deadlines: how long a host that owes an answer may go without a sign of progress. An answer is one, a report of
//! progress another; see [`shm_protocol::progress`].
//!
//! Time is counted in slices, and a slice never counts for more than it was meant to last: a supervisor that was stopped,
//! or a machine that slept, does not hold its own absence against its hosts.

use super::host_slot::{HostSlot, HostStage};
use super::host_slots::HostSlots;
use super::hosts::Hosts;
use super::timeouts::Timeouts;
use crate::host::HostKind;
use shm_protocol::id::Tick;
use std::time::Duration;

/// Slices of the shortest deadline: a host is found to hang within a deadline and one of them.
const SLICES: u32 = 8;

/// The longest slice.
const MAX_SLICE: Duration = Duration::from_millis(50);

/// The deadlines of all hosts.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// When time was counted last.
    last: Duration,
    slice: Duration,
}

/// A deadline that a host has missed.
#[derive(Debug)]
pub(super) struct MissedDeadline {
    /// The key of the fleet file that gives it.
    pub(super) key: &'static str,
    /// The message for people.
    pub(super) text: String,
}

impl Deadlines {
    pub(super) fn new(now: Duration, timeouts: &Timeouts) -> Deadlines {
        Deadlines {
            last: now,
            slice: (timeouts.deadline / SLICES).min(MAX_SLICE),
        }
    }

    /// The longest wait until time is counted again.
    pub(super) fn slice(&self) -> Duration {
        self.slice
    }

    /// Counts the time since the last call against every host that owes an answer and reports no progress.
    pub(super) fn count(&mut self, hosts: &mut dyn Hosts, slots: &mut HostSlots) {
        let now = hosts.clock();
        let most = self.slice + self.slice / SLICES;
        let passed = now.saturating_sub(self.last).min(most);
        self.last = now;
        for (host, slot) in slots.iter_mut() {
            if slot.outstanding == 0 {
                continue;
            }
            slot.silent += passed;
            // Most hosts answer within a slice, and need not be asked.
            if slot.silent >= self.slice {
                let reports = hosts.progress(host);
                if reports != slot.reports {
                    (slot.reports, slot.silent) = (reports, Duration::ZERO);
                }
            }
        }
    }
}

/// The deadline that a host has missed, if it has: twice as long after each time that it was missed in the open tick.
/// `is_loading` says of an inference host that it was told to load models while it serves.
pub(super) fn missed(
    slot: &mut HostSlot,
    kind: HostKind,
    is_loading: bool,
    timeouts: &Timeouts,
    open: Tick,
) -> Option<MissedDeadline> {
    let (key, deadline) = deadline(&slot.stage, kind, is_loading, timeouts);
    let allowed = deadline * 2_u32.saturating_pow(slot.misses(key, open).min(16));
    if slot.outstanding == 0 || slot.silent < allowed {
        return None;
    }
    slot.miss(key, open);
    let what = match slot.stage {
        HostStage::Starting => "become ready",
        HostStage::Loading(_) => "reported progress of loading",
        _ => "answered or reported progress",
    };
    let allowed = allowed.as_millis();
    Some(MissedDeadline {
        key,
        text: format!("it has not {what} for {allowed} ms ({key})"),
    })
}

/// The deadline that counts for a host, and the key of the fleet file that gives it.
fn deadline(
    stage: &HostStage,
    kind: HostKind,
    is_loading: bool,
    timeouts: &Timeouts,
) -> (&'static str, Duration) {
    match (stage, kind) {
        (HostStage::Starting, HostKind::Agents) => ("agent_ready_ms", timeouts.agent_ready),
        (HostStage::Starting, HostKind::Inference) => {
            ("inference_ready_ms", timeouts.inference_ready)
        }
        (HostStage::Loading(_), _) => ("load_ms", timeouts.load),
        (_, HostKind::Inference) if is_loading => ("load_ms", timeouts.load),
        _ => ("deadline_ms", timeouts.deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::{RecoveryLimits, RestartLimit};

    fn timeouts() -> Timeouts {
        let limit = RestartLimit {
            restarts: 5,
            window: Duration::from_secs(30),
        };
        Timeouts {
            deadline: Duration::from_millis(100),
            agent_ready: Duration::from_millis(200),
            inference_ready: Duration::from_millis(300),
            load: Duration::from_millis(400),
            limits: RecoveryLimits {
                host: limit,
                run: limit,
                quarantine_after: 3,
            },
        }
    }

    #[test]
    fn a_missed_deadline_doubles_within_its_tick() {
        let timeouts = timeouts();
        let mut slot = HostSlot {
            outstanding: 1,
            silent: Duration::from_millis(150),
            ..HostSlot::default()
        };
        let mut miss = |silent, tick| {
            slot.silent = Duration::from_millis(silent);
            let missed = missed(&mut slot, HostKind::Agents, false, &timeouts, Tick(tick));
            missed.map(|missed| missed.key)
        };
        assert_eq!(miss(99, 1), None);
        assert_eq!(miss(100, 1), Some("deadline_ms"));
        assert_eq!(miss(199, 1), None);
        assert_eq!(miss(200, 1), Some("deadline_ms"));
        assert_eq!(miss(399, 1), None);
        assert_eq!(
            miss(100, 2),
            Some("deadline_ms"),
            "another tick begins anew"
        );
    }

    #[test]
    fn each_stage_has_its_deadline() {
        let timeouts = timeouts();
        let key = |stage, kind, is_loading| deadline(&stage, kind, is_loading, &timeouts).0;
        let (agents, inference) = (HostKind::Agents, HostKind::Inference);
        assert_eq!(key(HostStage::Starting, agents, false), "agent_ready_ms");
        assert_eq!(
            key(HostStage::Starting, inference, false),
            "inference_ready_ms"
        );
        assert_eq!(key(HostStage::Serving, inference, true), "load_ms");
        assert_eq!(key(HostStage::Serving, agents, true), "deadline_ms");
    }
}
