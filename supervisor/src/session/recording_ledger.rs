//! The ledger of a live run, with somebody who watches it.

use super::run_store as keeper;
use super::run_store::RunStore;
use super::stats::RunStats;
use crate::error::RunError;
use crate::event_loop::{BaseState, Ledger};
use crate::journal::{JournalMark, JournalReader};
use crate::observer::Observer;
use crate::record::{RunHeader, TickRecord};
use crate::rundir::RunEvent;
use crate::sys::clock::now;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use std::ops::ControlFlow;
use std::time::Instant;

/// The ledger of a live run, with somebody who watches it.
pub(crate) struct RecordingLedger<'a> {
    keeper: &'a mut RunStore,
    observer: &'a mut dyn Observer,
    header: &'a RunHeader,
    pub(crate) tally: RunStats,
    going_on: Option<ResumeProgress>,
}

/// A run that goes on and whose agents are not all back.
pub(crate) struct ResumeProgress {
    /// When it was asked for.
    pub(crate) asked: Instant,
    /// Agent hosts that are not back.
    pub(crate) hosts: usize,
    /// The last tick that was there.
    pub(crate) after: Tick,
    pub(crate) checkpoint: Option<Tick>,
    pub(crate) redone: u64,
}

impl<'a> RecordingLedger<'a> {
    pub(crate) fn new(
        keeper: &'a mut RunStore,
        observer: &'a mut dyn Observer,
        header: &'a RunHeader,
        going_on: Option<ResumeProgress>,
    ) -> RecordingLedger<'a> {
        RecordingLedger {
            keeper,
            observer,
            header,
            tally: RunStats::begin(),
            going_on,
        }
    }

    fn tell(&mut self, event: &RunEvent) {
        self.tally.note(event);
        self.keeper.write_down(event);
        self.observer.event(event);
    }
}

impl Ledger for RecordingLedger<'_> {
    fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<ControlFlow<()>, RunError> {
        for verdict in &record.verdicts {
            let text = verdict.text(self.header);
            self.tell(&RunEvent::Verdict { tick, text });
        }
        self.keeper.keep(tick, record)?;
        self.tally.count(tick, record);
        self.observer.committed(tick, record);
        Ok(ControlFlow::Continue(()))
    }

    fn durable(&self) -> Tick {
        self.keeper.durable()
    }

    fn idle(&mut self) -> Result<(), RunError> {
        self.keeper.release()
    }

    fn event(&mut self, event: RunEvent) -> Result<(), RunError> {
        if matches!(event, RunEvent::HostLost { .. }) {
            self.keeper.shelves.abandon();
        }
        self.tell(&event);
        Ok(())
    }

    fn resumed(
        &mut self,
        _host: HostId,
        checkpoint: Option<Tick>,
        redone: u64,
    ) -> Result<(), RunError> {
        let Some(going_on) = &mut self.going_on else {
            return Ok(());
        };
        going_on.hosts -= 1;
        going_on.redone = going_on.redone.max(redone);
        // Of several hosts, the one that began furthest back.
        going_on.checkpoint = checkpoint.and(going_on.checkpoint.or(checkpoint));
        if going_on.hosts > 0 {
            return Ok(());
        }
        let event = RunEvent::Resumed {
            tick: going_on.after,
            checkpoint: going_on.checkpoint.map(|tick| tick.0),
            cut_bytes: self.keeper.cut.as_ref().map_or(0, |cut| cut.bytes),
            redone: going_on.redone,
            ms: now().duration_since(going_on.asked).as_secs_f64() * 1e3,
        };
        self.going_on = None;
        self.tell(&event);
        self.keeper.pass(FaultPoint::ResumeRedone);
        Ok(())
    }

    fn ticks_after(&mut self, mark: Option<&JournalMark>) -> Result<JournalReader, RunError> {
        keeper::read(&self.keeper.run_dir, mark)
    }

    fn base(&mut self, agents: &[AgentId]) -> Result<Option<BaseState>, RunError> {
        let (base, events) = self.keeper.shelves.base(agents);
        events.iter().for_each(|event| self.tell(event));
        Ok(base)
    }

    fn wants_snapshot(&mut self, committed: Tick) -> bool {
        if !self.keeper.shelves.is_due(committed) {
            return false;
        }
        let events = self.keeper.shelves.hear();
        events.iter().for_each(|event| self.tell(event));
        true
    }

    fn snapshot_begun(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        self.keeper.shelves.begin(tick, machine, agents)
    }

    fn snapshot_part(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.keeper.shelves.part(tick, agent, payload);
    }

    fn begun_again(&mut self, agent: AgentId, base: Option<Tick>) {
        self.keeper.shelves.begun_again(agent, base);
    }
}
