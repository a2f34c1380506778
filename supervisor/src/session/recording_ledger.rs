//! The ledger of a live run, with its observer.

use super::run_store::{RunStore, read_journal};
use super::stats::RunStats;
use crate::checkpoint::BaseState;
use crate::error::RunError;
use crate::event_loop::Ledger;
use crate::journal::{JournalMark, JournalReader};
use crate::observer::Observer;
use crate::record::{RunHeader, TickRecord};
use crate::rundir::RunEvent;
use crate::sys::clock::now;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use std::ops::ControlFlow;
use std::time::Instant;

/// The ledger of a live run, with its observer.
pub(crate) struct RecordingLedger<'a> {
    store: &'a mut RunStore,
    observer: &'a mut dyn Observer,
    header: &'a RunHeader,
    pub(crate) stats: RunStats,
    resume: Option<ResumeProgress>,
}

/// Progress of a resume until all agents are restored.
pub(crate) struct ResumeProgress {
    /// The time of the command.
    pub(crate) requested_at: Instant,
    /// Agent hosts that are not restored yet.
    pub(crate) hosts: usize,
    /// The last tick of the journal.
    pub(crate) after: Tick,
    pub(crate) checkpoint: Option<Tick>,
    pub(crate) reexecuted: u64,
}

impl<'a> RecordingLedger<'a> {
    pub(crate) fn new(
        store: &'a mut RunStore,
        observer: &'a mut dyn Observer,
        header: &'a RunHeader,
        resume: Option<ResumeProgress>,
    ) -> RecordingLedger<'a> {
        RecordingLedger {
            store,
            observer,
            header,
            stats: RunStats::begin(),
            resume,
        }
    }

    fn report(&mut self, event: &RunEvent) {
        self.stats.count_event(event);
        self.store.log_event(event);
        self.observer.event(event);
    }
}

impl Ledger for RecordingLedger<'_> {
    fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<ControlFlow<()>, RunError> {
        for verdict in &record.verdicts {
            let text = verdict.text(self.header);
            self.report(&RunEvent::Verdict { tick, text });
        }
        self.store.commit(tick, record)?;
        self.stats.count_tick(tick, record);
        self.observer.committed(tick, record);
        Ok(ControlFlow::Continue(()))
    }

    fn durable(&self) -> Tick {
        self.store.durable()
    }

    fn idle(&mut self) -> Result<(), RunError> {
        self.store.release()
    }

    fn event(&mut self, event: RunEvent) -> Result<(), RunError> {
        if matches!(event, RunEvent::HostLost { .. }) {
            self.store.checkpoints.abandon();
        }
        self.report(&event);
        Ok(())
    }

    fn resumed(
        &mut self,
        _host: HostId,
        checkpoint: Option<Tick>,
        redone: u64,
    ) -> Result<(), RunError> {
        let Some(resume) = &mut self.resume else {
            return Ok(());
        };
        resume.hosts -= 1;
        resume.reexecuted = resume.reexecuted.max(redone);
        // Of several hosts, the one with the oldest base.
        resume.checkpoint = checkpoint.and(resume.checkpoint.or(checkpoint));
        if resume.hosts > 0 {
            return Ok(());
        }
        let event = RunEvent::Resumed {
            tick: resume.after,
            checkpoint: resume.checkpoint.map(|tick| tick.0),
            cut_bytes: self.store.truncation.as_ref().map_or(0, |cut| cut.bytes),
            reexecuted: resume.reexecuted,
            ms: now().duration_since(resume.requested_at).as_secs_f64() * 1e3,
        };
        self.resume = None;
        self.report(&event);
        self.store.pass(FaultPoint::ResumeCaughtUp);
        Ok(())
    }

    fn ticks_after(&mut self, mark: Option<&JournalMark>) -> Result<JournalReader, RunError> {
        read_journal(&self.store.run_dir, mark)
    }

    fn base(&mut self, agents: &[AgentId]) -> Result<Option<BaseState>, RunError> {
        let (base, events) = self.store.checkpoints.base(agents);
        events.iter().for_each(|event| self.report(event));
        Ok(base)
    }

    fn wants_snapshot(&mut self, committed: Tick) -> bool {
        if !self.store.checkpoints.is_due(committed) {
            return false;
        }
        let events = self.store.checkpoints.take_failures();
        events.iter().for_each(|event| self.report(event));
        true
    }

    fn snapshot_begun(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        self.store.checkpoints.begin(tick, machine, agents)
    }

    fn snapshot_part(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.store.checkpoints.state_part(tick, agent, payload);
    }

    fn begun_again(&mut self, agent: AgentId, base: Option<Tick>) {
        self.store.checkpoints.agent_restarted(agent, base);
    }
}
