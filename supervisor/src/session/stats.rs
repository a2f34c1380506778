//! Counts what was committed, and how long it took.

use crate::record::{TickRecord, Verdict};
use crate::rundir::RunEvent;
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::Tick;
use std::time::{Duration, Instant};

/// Counts what was committed.
#[derive(Debug)]
pub(crate) struct RunStats {
    pub(crate) ticks: u64,
    pub(crate) steps: u64,
    pub(crate) inferences: u64,
    pub(crate) restarts: u64,
    /// What was decided, with the tick.
    pub(crate) verdicts: Vec<(Tick, Verdict)>,
    pub(crate) first: Option<Instant>,
    began: Instant,
    last: Instant,
}

impl RunStats {
    /// Nothing yet; the first tick begins now.
    pub(crate) fn begin() -> RunStats {
        let began = now();
        RunStats {
            ticks: 0,
            steps: 0,
            inferences: 0,
            restarts: 0,
            verdicts: Vec::new(),
            first: None,
            began,
            last: began,
        }
    }

    pub(crate) fn count(&mut self, tick: Tick, record: &TickRecord) {
        self.ticks += 1;
        self.steps += record.outcomes.len() as u64;
        let verdicts = record.verdicts.iter().cloned();
        self.verdicts
            .extend(verdicts.map(|verdict| (tick, verdict)));
        let effects = record.outcomes.iter().flat_map(|outcome| &outcome.effects);
        self.inferences += effects
            .filter(|effect| matches!(effect, Effect::Submit { .. } | Effect::Infer { .. }))
            .count() as u64;
        self.last = now();
        self.first.get_or_insert(self.last);
    }

    pub(crate) fn note(&mut self, event: &RunEvent) {
        self.restarts += u64::from(matches!(event, RunEvent::HostRestored { .. }));
    }

    /// Time from the beginning to the last tick.
    pub(crate) fn wall(&self) -> Duration {
        self.last.duration_since(self.began)
    }
}
