//! Deadlines: how long a host that owes an answer may go without a sign of progress. An answer is one, a report of
//! progress another; see [`shm_protocol::progress`].
//!
//! Time is counted in slices, and a slice never counts for more than it was
//! meant to last: a supervisor that was stopped, or a machine that slept, does
//! not hold its own absence against its hosts.

use super::host_slot::HostStage;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::host::{HostEvent, HostKind};
use crate::recovery::LossCause;
use shm_protocol::id::HostId;
use std::time::Duration;

/// How long the supervisor sleeps at most while records wait for room in a ring.
const ROOM_PATIENCE: Duration = Duration::from_millis(1);

/// Slices of the shortest deadline: a host is found to hang within a deadline and one of them.
const SLICES: u32 = 8;

/// The longest slice.
const LONGEST_SLICE: Duration = Duration::from_millis(50);

/// When it was looked at last.
#[derive(Debug)]
pub(super) struct Deadlines {
    last: Duration,
}

impl Deadlines {
    pub(super) fn new(now: Duration) -> Deadlines {
        Deadlines { last: now }
    }

    /// The time since the last call, but not more than a slice.
    fn passed(&mut self, now: Duration, slice: Duration) -> Duration {
        let passed = now.saturating_sub(self.last).min(slice);
        self.last = now;
        passed
    }
}

impl EventLoop<'_> {
    /// Waits for the next thing that happens, and lets it happen.
    pub(super) fn listen(&mut self) -> Result<(), RunError> {
        self.ledger.idle()?;
        self.acknowledge_durable_changes();
        self.advance_restarts()?;
        let waits_for_room = self.flush()?;
        let slice = (self.patience.deadline / SLICES).min(LONGEST_SLICE);
        let patience = if waits_for_room { ROOM_PATIENCE } else { slice };
        let patience = self.until_next_start(patience);
        let news = self.hosts.next(patience)?;
        let now = self.hosts.clock();
        let passed = self.watch.passed(now, slice + slice / SLICES);
        for (position, station) in self.stations.iter_mut().enumerate() {
            if station.outstanding == 0 {
                continue;
            }
            station.silent += passed;
            // Most hosts answer within a slice, and need not be asked.
            if station.silent >= slice {
                let reports = self.hosts.progress(HostId::from_index(position));
                if reports != station.reports {
                    (station.reports, station.silent) = (reports, Duration::ZERO);
                }
            }
        }
        match news {
            HostEvent::Silence => self.check_deadlines(),
            news => {
                self.on_event(news)?;
                self.check_deadlines()
            }
        }
    }

    /// Publishes what waits for room. Says whether some still does.
    fn flush(&mut self) -> Result<bool, RunError> {
        let mut waits = false;
        for position in 0..self.stations.len() {
            let host = HostId::from_index(position);
            let station = &mut self.stations[position];
            if station.send_queue.is_empty() {
                continue;
            }
            match station.send_queue.flush(self.hosts, host) {
                Ok(true) => station.silent = Duration::ZERO,
                Ok(false) => {}
                Err(source) => {
                    let broken = LoopError::Host(format!("its ring is broken: {source}"));
                    self.handle_host_error(host, Err(broken))?;
                }
            }
            waits |= !self.stations[position].send_queue.is_empty();
        }
        Ok(waits)
    }

    /// How long to wait at most, so that a pause before a start is not overslept.
    fn until_next_start(&mut self, patience: Duration) -> Duration {
        let pauses = self
            .stations
            .iter()
            .filter_map(|station| match station.stage {
                HostStage::Pausing(until) => Some(until),
                _ => None,
            });
        match pauses.min() {
            Some(until) => until.saturating_sub(self.hosts.clock()).min(patience),
            None => patience,
        }
    }

    /// Ends the incarnations that have owed an answer for too long.
    fn check_deadlines(&mut self) -> Result<(), RunError> {
        for position in 0..self.stations.len() {
            let host = HostId::from_index(position);
            let allowed = self.allowed(host);
            let station = &self.stations[position];
            if station.outstanding == 0 || station.silent < allowed {
                continue;
            }
            let what = match station.stage {
                HostStage::Starting => "said that it is ready",
                HostStage::Loading(_) => "said anything while it loads",
                _ => "answered or reported progress",
            };
            let (key, _) = self.deadline(host);
            let tick = self.machine.tick();
            self.station(host).miss(key, tick);
            let allowed = allowed.as_millis();
            self.fail_host(
                host,
                LossCause::Slow,
                &format!("it has not {what} for {allowed} ms ({key})"),
            )?;
        }
        Ok(())
    }

    /// The deadline of a host, twice as long after each time that it was missed in the open tick.
    fn allowed(&self, host: HostId) -> Duration {
        let (key, deadline) = self.deadline(host);
        let misses = self.stations[host.index()].misses(key, self.machine.tick());
        deadline * 2_u32.saturating_pow(misses.min(16))
    }

    /// The deadline that counts for a host, and the key of the fleet file that says it.
    pub(super) fn deadline(&self, host: HostId) -> (&'static str, Duration) {
        let patience = &self.patience;
        match (&self.stations[host.index()].stage, self.hosts.kind(host)) {
            (HostStage::Starting, HostKind::Agents) => ("agent_ready_ms", patience.agent_ready),
            (HostStage::Starting, HostKind::Inference) => {
                ("inference_ready_ms", patience.inference_ready)
            }
            (HostStage::Loading(_), _) => ("load_ms", patience.load),
            (_, HostKind::Inference) if self.held.is_loading() => ("load_ms", patience.load),
            _ => ("deadline_ms", patience.deadline),
        }
    }
}
