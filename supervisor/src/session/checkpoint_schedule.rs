//! The checkpoints of a live run: when one is made, and which one serves.

use crate::checkpoint::{
    Checkpoint, CheckpointError, CheckpointOutcome, CheckpointReader, CheckpointWriter,
    Checkpointer, Collector,
};
use crate::event_loop::BaseState;
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

/// The checkpoints of a live run.
pub(crate) struct CheckpointScheduler {
    shelf: CheckpointReader,
    checkpointer: Checkpointer,
    every_ticks: u64,
    every: Duration,
    /// The tick and the time of the last one that was begun.
    begun: Tick,
    begun_at: Instant,
    /// The tick of the one that is being made.
    making: Option<Tick>,
    is_committed: bool,
    /// The newest that was published, and the one that agents began with last.
    latest: Option<Arc<Checkpoint>>,
    base: Option<Arc<Checkpoint>>,
    /// Those up to this tick are left aside.
    distrusted: Tick,
}

impl CheckpointScheduler {
    pub(crate) fn open(
        shelf: CheckpointReader,
        launch: &LaunchSettings,
        memory_bytes: Vec<u64>,
        committed: Tick,
        is_synced: bool,
        faults: &Faults,
    ) -> Result<CheckpointScheduler, CheckpointError> {
        let has_threads = shelf.disk().has_threads();
        let store = CheckpointWriter::open(shelf.clone(), launch.keep, is_synced)?;
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
            shelf,
            checkpointer,
            every_ticks: launch.checkpoint_ticks,
            every: Duration::from_millis(launch.checkpoint_ms),
            begun: committed,
            begun_at: now(),
            making: None,
            is_committed: false,
            latest: None,
            base: None,
            distrusted: Tick::ZERO,
        })
    }

    /// Leaves all checkpoints aside that are there now.
    pub(crate) fn distrust(&mut self, up_to: Tick) {
        self.distrusted = up_to;
    }

    /// Whether the time has come for the next one.
    pub(crate) fn is_due(&self, committed: Tick) -> bool {
        committed.0 >= self.begun.0 + self.every_ticks
            && !self.checkpointer.is_making()
            && self.begun_at.elapsed() >= self.every
    }

    pub(crate) fn begin(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        (self.begun, self.begun_at) = (tick, now());
        (self.making, self.is_committed) = (Some(tick), false);
        self.checkpointer.begin(tick, machine, agents)
    }

    pub(crate) fn part(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.checkpointer.state(tick, agent, payload);
    }

    pub(crate) fn abandon(&mut self) {
        if self.making.take().is_some() {
            self.checkpointer.abandon();
        }
    }

    pub(crate) fn is_making(&self, tick: Tick) -> bool {
        self.making == Some(tick)
    }

    pub(crate) fn committed(&mut self, mark: JournalMark, outbox: OutboxMark) {
        self.is_committed = true;
        self.checkpointer.committed(mark, outbox);
    }

    /// Whether the one that is being made waits for this tick to be durable.
    pub(crate) fn awaits(&self, durable: Tick) -> bool {
        self.is_committed && self.making.is_some_and(|tick| tick <= durable)
    }

    pub(crate) fn durable(&mut self, tick: Tick, outbox: Option<Arc<dyn File>>) {
        self.making = None;
        self.checkpointer.durable(tick, outbox);
    }

    /// Why the outbox could not be brought to the disk for a checkpoint, once.
    pub(crate) fn outbox_failed(&self) -> Option<io::Error> {
        self.checkpointer.outbox_failed()
    }

    /// Waits until nothing more is done with the outbox here.
    pub(crate) fn finish(&mut self) {
        self.checkpointer.finish();
    }

    /// What has become of checkpoints, so far as it is worth telling.
    pub(crate) fn hear(&mut self) -> Vec<RunEvent> {
        let mut events = Vec::new();
        for news in self.checkpointer.news() {
            match news {
                CheckpointOutcome::Published(checkpoint) => self.latest = Some(checkpoint),
                CheckpointOutcome::Failed(error) => events.push(RunEvent::CheckpointFailed {
                    tick: self.begun,
                    reason: error.to_string(),
                }),
            }
        }
        events
    }

    /// The newest checkpoint that can be read, with the state of these agents. What was wrong with newer ones is told.
    pub(crate) fn base(&mut self, agents: &[AgentId]) -> (Option<BaseState>, Vec<RunEvent>) {
        let mut events = self.hear();
        for tick in self.candidates(&mut events) {
            let loaded = match self
                .latest
                .as_ref()
                .filter(|latest| latest.mark.tick == tick)
            {
                Some(latest) => Ok(Arc::clone(latest)),
                None => self.shelf.load(tick).map(Arc::new),
            };
            let based = loaded.and_then(|checkpoint| {
                let base = self.base_of(&checkpoint, agents)?;
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

    /// An agent begins again with the checkpoint that was given last, or without any.
    pub(crate) fn begun_again(&mut self, agent: AgentId, base: Option<Tick>) {
        let base = base.and(self.base.clone());
        self.checkpointer.begun_again(agent, base);
    }

    fn candidates(&self, events: &mut Vec<RunEvent>) -> Vec<Tick> {
        let mut ticks = self.shelf.newest_first().unwrap_or_else(|error| {
            events.push(RunEvent::CheckpointFailed {
                tick: self.begun,
                reason: error.to_string(),
            });
            Vec::new()
        });
        ticks.retain(|tick| *tick > self.distrusted);
        ticks
    }

    fn base_of(
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
                states.push((*agent, self.shelf.state_records(*agent, image)?));
            }
        }
        Ok(BaseState {
            mark: checkpoint.mark,
            machine: checkpoint.machine.clone(),
            states,
        })
    }
}
