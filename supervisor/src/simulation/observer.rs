//! Who watches a simulated run from outside, and what must hold of what it saw.

use crate::observer::Observer;
use crate::record::TickRecord;
use crate::rundir::RunEvent;
use shm_protocol::id::{HostId, Incarnation, Tick};
use std::collections::BTreeMap;

/// What was told of one host.
#[derive(Clone, Copy, Debug, Default)]
struct HostRecord {
    losses: u64,
    /// Losses since it was told that it is back, or given up.
    open: u64,
    /// The incarnation that was lost last.
    lost: Incarnation,
}

/// Watches a run.
#[derive(Debug, Default)]
pub(super) struct RunObserver {
    hosts: BTreeMap<HostId, HostRecord>,
    last: Option<Tick>,
    /// What was told, in words.
    pub(super) story: Vec<String>,
    pub(super) verdicts: u64,
    pub(super) restored: u64,
    /// Those of them that began with a checkpoint.
    pub(super) from_checkpoint: u64,
    pub(super) lost: u64,
    /// Times that a run was said to go on.
    pub(super) resumed: u64,
    /// Those of them that began with a checkpoint.
    pub(super) resumed_from_checkpoint: u64,
    /// After which tick it was said to go on last, and how many bytes were cut.
    pub(super) cut: Option<(Tick, u64)>,
    /// What was told of checkpoints that are no good.
    pub(super) checkpoints: u64,
    /// What was told of an outbox that was repaired.
    pub(super) repaired: Option<OutboxRepair>,
}

/// What was told of an outbox that was repaired: bytes that were found, kept and written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxRepair {
    pub(super) found: u64,
    pub(super) kept: u64,
    pub(super) written: u64,
}

impl RunObserver {
    /// The last tick that was committed.
    pub(super) fn committed(&self) -> Tick {
        self.last.unwrap_or(Tick::ZERO)
    }

    /// The losses of each host that were told of.
    pub(super) fn losses(&self) -> BTreeMap<HostId, u64> {
        let told = self.hosts.iter().filter(|(_, told)| told.losses > 0);
        told.map(|(host, told)| (*host, told.losses)).collect()
    }
}

impl Observer for RunObserver {
    fn event(&mut self, event: &RunEvent) {
        self.story.push(event.to_string());
        match event {
            RunEvent::HostLost {
                host, incarnation, ..
            } => {
                let told = self.hosts.entry(*host).or_default();
                (told.losses, told.open) = (told.losses + 1, told.open + 1);
                told.lost = *incarnation;
                self.lost += 1;
            }
            RunEvent::HostRestarted {
                host,
                incarnation,
                checkpoint,
                ..
            } => {
                let told = self.hosts.entry(*host).or_default();
                assert!(
                    told.open > 0,
                    "host {host} is said to be back, and was not lost"
                );
                assert!(
                    *incarnation > told.lost,
                    "host {host} is said to be back as {incarnation}, and {} is dead",
                    told.lost
                );
                told.open = 0;
                self.restored += 1;
                self.from_checkpoint += u64::from(checkpoint.is_some());
            }
            RunEvent::Verdict { .. } => self.verdicts += 1,
            RunEvent::CheckpointFailed { .. } => self.checkpoints += 1,
            RunEvent::OutboxRepaired {
                found_bytes,
                kept_bytes,
                written_bytes,
                ..
            } => {
                self.repaired = Some(OutboxRepair {
                    found: *found_bytes,
                    kept: *kept_bytes,
                    written: *written_bytes,
                });
            }
            RunEvent::Resumed {
                tick,
                cut_bytes,
                checkpoint,
                ..
            } => {
                self.resumed += 1;
                self.resumed_from_checkpoint += u64::from(checkpoint.is_some());
                self.cut = Some((*tick, *cut_bytes));
            }
            RunEvent::ProviderRefused { .. } | RunEvent::ProbeFailed { .. } => {}
            RunEvent::FaultFired { .. } | RunEvent::Unreadable { .. } => {
                panic!("nobody makes that happen here: {event}")
            }
        }
    }

    fn committed(&mut self, tick: Tick, _record: &TickRecord) {
        if let Some(last) = self.last {
            assert_eq!(tick, last.next(), "ticks are committed one after the other");
        }
        self.last = Some(tick);
    }
}
