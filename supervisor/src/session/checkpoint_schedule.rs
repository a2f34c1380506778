//! The schedule of checkpoints in a live run, and the choice of the one to restart from.

use crate::checkpoint::{
    BaseState, Checkpoint, CheckpointError, CheckpointOutcome, CheckpointReader, CheckpointWriter,
    Checkpointer, Collector,
};
use crate::faults::Faults;
use crate::journal::JournalMark;
use crate::planted::{Bug, planted};
use crate::rundir::{LaunchSettings, OutboxMark, RunEvent};
use crate::sys::clock::now;
use crate::sys::disk::File;
use shm_protocol::id::{AgentId, Tick};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Schedules the checkpoints of a live run.
pub(crate) struct CheckpointScheduler {
    reader: CheckpointReader,
    checkpointer: Checkpointer,
    every_ticks: u64,
    every: Duration,
    /// The tick and the time of the last one that began.
    last_tick: Tick,
    last_at: Instant,
    /// The tick of the pending one.
    pending: Option<Tick>,
    is_committed: bool,
    /// The newest that was published, and the one with which agents restarted last.
    latest: Option<Arc<Checkpoint>>,
    base: Option<Arc<Checkpoint>>,
    /// Those up to this tick are ignored.
    ignored_up_to: Tick,
}

impl CheckpointScheduler {
    pub(crate) fn open(
        reader: CheckpointReader,
        launch: &LaunchSettings,
        memory_bytes: Vec<u64>,
        committed: Tick,
        is_synced: bool,
        faults: &Faults,
    ) -> Result<CheckpointScheduler, CheckpointError> {
        let has_threads = reader.disk().has_threads();
        let store = CheckpointWriter::open(reader.clone(), launch.checkpoints_kept, is_synced)?;
        store.forget_after(committed)?;
        let collector = Collector::new(store, memory_bytes, faults.clone());
        let checkpointer = if has_threads {
            Checkpointer::start(collector).map_err(|source| CheckpointError::Io {
                action: "start a thread for",
                path: "checkpoints".into(),
                source,
            })?
        } else {
            Checkpointer::inline(collector)
        };
        Ok(CheckpointScheduler {
            reader,
            checkpointer,
            every_ticks: launch.checkpoint_ticks,
            every: Duration::from_millis(launch.checkpoint_min_ms),
            last_tick: committed,
            last_at: now(),
            pending: None,
            is_committed: false,
            latest: None,
            base: None,
            ignored_up_to: Tick::ZERO,
        })
    }

    /// Ignores all checkpoints up to a tick.
    pub(crate) fn ignore_up_to(&mut self, up_to: Tick) {
        self.ignored_up_to = up_to;
    }

    /// True if the next one is due.
    pub(crate) fn is_due(&self, committed: Tick) -> bool {
        committed.0 >= self.last_tick.0 + self.every_ticks
            && !self.checkpointer.is_pending()
            && self.last_at.elapsed() >= self.every
    }

    pub(crate) fn begin(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        (self.last_tick, self.last_at) = (tick, now());
        (self.pending, self.is_committed) = (Some(tick), false);
        self.checkpointer.begin(tick, machine, agents)
    }

    pub(crate) fn state_part(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.checkpointer.state(tick, agent, payload);
    }

    pub(crate) fn abandon(&mut self) {
        if self.pending.take().is_some() {
            self.checkpointer.abandon();
        }
    }

    pub(crate) fn is_pending(&self, tick: Tick) -> bool {
        self.pending == Some(tick)
    }

    pub(crate) fn committed(&mut self, mark: JournalMark, outbox: OutboxMark) {
        self.is_committed = true;
        self.checkpointer.committed(mark, outbox);
    }

    /// True if the pending one waits for this tick to be durable.
    pub(crate) fn awaits(&self, durable: Tick) -> bool {
        self.is_committed && self.pending.is_some_and(|tick| tick <= durable)
    }

    pub(crate) fn durable(&mut self, tick: Tick, outbox: Option<Arc<dyn File>>) {
        self.pending = None;
        self.checkpointer.durable(tick, outbox);
    }

    /// The error of a failed sync of the outbox for a checkpoint, once.
    pub(crate) fn take_outbox_error(&self) -> Option<io::Error> {
        self.checkpointer.take_outbox_error()
    }

    /// Waits until the checkpointer is done with the outbox.
    pub(crate) fn finish(&mut self) {
        self.checkpointer.finish();
    }

    /// Events about failed checkpoints since the last call.
    pub(crate) fn take_failures(&mut self) -> Vec<RunEvent> {
        let mut events = Vec::new();
        for outcome in self.checkpointer.take_outcomes() {
            match outcome {
                CheckpointOutcome::Published(checkpoint) => self.latest = Some(checkpoint),
                CheckpointOutcome::Failed(error) => events.push(RunEvent::CheckpointFailed {
                    tick: self.last_tick,
                    reason: error.to_string(),
                }),
            }
        }
        events
    }

    /// The newest readable checkpoint, with the state of these agents, and events about newer ones that failed.
    pub(crate) fn base(&mut self, agents: &[AgentId]) -> (Option<BaseState>, Vec<RunEvent>) {
        let mut events = self.take_failures();
        for tick in self.candidates(&mut events) {
            let loaded = match self
                .latest
                .as_ref()
                .filter(|latest| latest.mark.tick == tick)
            {
                Some(latest) => Ok(Arc::clone(latest)),
                None => self.reader.load(tick).map(Arc::new),
            };
            let based = loaded.and_then(|checkpoint| {
                let base = self.load_base(&checkpoint, agents)?;
                self.base = Some(checkpoint);
                Ok(base)
            });
            match based {
                Ok(base) => return (Some(base), events),
                Err(error) => events.push(RunEvent::CheckpointFailed {
                    tick,
                    reason: error.to_string(),
                }),
            }
        }
        self.base = None;
        (None, events)
    }

    /// An agent restarts with the checkpoint of the last [`CheckpointScheduler::base`], or without any.
    pub(crate) fn agent_restarted(&mut self, agent: AgentId, base: Option<Tick>) {
        let base = base.and(self.base.clone());
        self.checkpointer.agent_restarted(agent, base);
    }

    fn candidates(&self, events: &mut Vec<RunEvent>) -> Vec<Tick> {
        let mut ticks = self.reader.newest_first().unwrap_or_else(|error| {
            events.push(RunEvent::CheckpointFailed {
                tick: self.last_tick,
                reason: error.to_string(),
            });
            Vec::new()
        });
        ticks.retain(|tick| *tick > self.ignored_up_to);
        ticks
    }

    fn load_base(
        &self,
        checkpoint: &Checkpoint,
        agents: &[AgentId],
    ) -> Result<BaseState, CheckpointError> {
        let mut states = Vec::new();
        for agent in agents {
            let image = match planted(Bug::StateOfAnother) {
                false => checkpoint.agents.get(agent.index()),
                true => checkpoint.agents.iter().rev().nth(agent.index()),
            };
            if let Some(Some(image)) = image {
                states.push((*agent, self.reader.state_records(*agent, image)?));
            }
        }
        Ok(BaseState {
            mark: checkpoint.mark,
            machine: checkpoint.machine.clone(),
            states,
        })
    }
}
