//! Statistics of a launch: committed ticks, steps, inferences, restarts, and time.

use crate::record::{TickRecord, Verdict};
use crate::rundir::RunEvent;
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::Effect;
use shm_protocol::id::Tick;
use std::time::{Duration, Instant};

/// Statistics of a launch.
#[derive(Debug)]
pub(crate) struct RunStats {
    pub(crate) ticks: u64,
    pub(crate) steps: u64,
    pub(crate) inferences: u64,
    pub(crate) restarts: u64,
    /// Verdicts, with their ticks.
    pub(crate) verdicts: Vec<(Tick, Verdict)>,
    pub(crate) first_commit: Option<Instant>,
    began: Instant,
    last_commit: Instant,
}

impl RunStats {
    /// Statistics before the first tick, which begins now.
    pub(crate) fn begin() -> RunStats {
        let began = now();
        RunStats {
            ticks: 0,
            steps: 0,
            inferences: 0,
            restarts: 0,
            verdicts: Vec::new(),
            first_commit: None,
            began,
            last_commit: began,
        }
    }

    pub(crate) fn count_tick(&mut self, tick: Tick, record: &TickRecord) {
        self.ticks += 1;
        self.steps += record.outcomes.len() as u64;
        let verdicts = record.verdicts.iter().cloned();
        self.verdicts
            .extend(verdicts.map(|verdict| (tick, verdict)));
        let effects = record.outcomes.iter().flat_map(|outcome| &outcome.effects);
        self.inferences += effects
            .filter(|effect| matches!(effect, Effect::Submit { .. } | Effect::Infer { .. }))
            .count() as u64;
        self.last_commit = now();
        self.first_commit.get_or_insert(self.last_commit);
    }

    pub(crate) fn count_event(&mut self, event: &RunEvent) {
        self.restarts += u64::from(matches!(event, RunEvent::HostRestarted { .. }));
    }

    /// Time from the beginning to the last tick.
    pub(crate) fn wall(&self) -> Duration {
        self.last_commit.duration_since(self.began)
    }
}
