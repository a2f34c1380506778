//! Makes the next checkpoint from the state records of hosts.
//!
//! A record is a difference to the records before, so every record is applied, also of a checkpoint that is abandoned.
//! When an agent restarts, its image is that with which it began.

use super::agent_image::{AgentImageBuilder, ImagePart};
use super::error::CheckpointError;
use super::manifest::{AgentImage, Checkpoint};
use super::writer::CheckpointWriter;
use crate::faults::Faults;
use crate::journal::JournalMark;
use crate::planted::{Bug, planted};
use crate::rundir::OutboxMark;
use shm_protocol::agent_state::StateRecord;
use shm_protocol::codec;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Ticks whose requests are remembered. A host answers before the supervisor gets so far.
const REQUESTED_TICKS: usize = 64;

/// A checkpoint that is being made.
#[derive(Debug)]
struct PendingCheckpoint {
    tick: Tick,
    machine: Vec<u8>,
    expected: BTreeSet<AgentId>,
    missing: BTreeSet<AgentId>,
    is_full: bool,
    marks: Option<(JournalMark, OutboxMark)>,
}

/// Collects state records and makes checkpoints.
#[derive(Debug)]
pub struct Collector {
    store: CheckpointWriter,
    agents: Vec<AgentImageBuilder>,
    /// Limit of the memory of each agent, in bytes.
    memory_bytes: Vec<u64>,
    pending: Option<PendingCheckpoint>,
    /// True if the full state was requested, by tick: the records of an abandoned checkpoint still come.
    requested: BTreeMap<Tick, bool>,
    durable: Tick,
    latest: Option<Arc<Checkpoint>>,
    needs_full: bool,
    /// The error of a cleanup after a checkpoint that was published.
    cleanup_error: Option<CheckpointError>,
    faults: Faults,
}

impl Collector {
    /// A collector before the first record. The agents' memories have at most `memory_bytes`: a host cannot fill the
    /// disk.
    #[must_use]
    pub fn new(store: CheckpointWriter, memory_bytes: Vec<u64>, faults: Faults) -> Collector {
        Collector {
            store,
            agents: vec![AgentImageBuilder::empty(); memory_bytes.len()],
            memory_bytes,
            pending: None,
            requested: BTreeMap::new(),
            cleanup_error: None,
            durable: Tick::ZERO,
            latest: None,
            needs_full: false,
            faults,
        }
    }

    /// Begins a checkpoint of these agents after this tick, from full states or differences. A pending one is
    /// abandoned.
    ///
    /// # Errors
    /// When the page files are too large and cannot be compacted. This checkpoint is abandoned then.
    pub fn begin(
        &mut self,
        tick: Tick,
        machine: Vec<u8>,
        agents: Vec<AgentId>,
        is_full: bool,
    ) -> Result<(), CheckpointError> {
        self.requested.insert(tick, is_full);
        while self.requested.len() > REQUESTED_TICKS {
            self.requested.pop_first();
        }
        let expected: BTreeSet<AgentId> = agents.into_iter().collect();
        let missing = expected.clone();
        self.pending = Some(PendingCheckpoint {
            tick,
            machine,
            expected,
            missing,
            is_full,
            marks: None,
        });
        if self.store.needs_compaction() {
            let renewed = self.store.compact(
                self.agents
                    .iter_mut()
                    .flat_map(AgentImageBuilder::pages_mut),
            );
            if renewed.is_err() {
                self.discard_all();
            }
            return renewed;
        }
        Ok(())
    }

    /// The error of a cleanup that did no harm to a checkpoint, once.
    pub fn take_cleanup_error(&mut self) -> Option<CheckpointError> {
        self.cleanup_error.take()
    }

    /// Abandons the pending checkpoint.
    pub fn abandon(&mut self) {
        self.pending = None;
    }

    /// True while a checkpoint is pending.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// True if the next state must be a full one, because a part of the last one could not be kept.
    #[must_use]
    pub fn needs_full(&self) -> bool {
        self.needs_full
    }

    /// The newest checkpoint that was published here.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<Checkpoint>> {
        self.latest.as_ref()
    }

    /// Applies a state record of an agent after a tick, as its host sent it.
    ///
    /// # Errors
    /// When it cannot be the state of that agent, or cannot be kept. The checkpoint is abandoned then.
    pub fn state(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let is_of_it = |pending: &PendingCheckpoint| pending.tick == tick;
        if planted(Bug::ForgetDifference) && !self.pending.as_ref().is_some_and(is_of_it) {
            return Ok(None);
        }
        match self.take(tick, agent, payload)? {
            ImagePart::Whole => {}
            ImagePart::More => return Ok(None),
            ImagePart::Unusable => {
                (self.pending, self.needs_full) = (None, true);
                return Ok(None);
            }
        }
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.tick == tick) {
            pending.missing.remove(&agent);
        }
        self.publish_if_whole()
    }

    /// The tick of the checkpoint is committed: the marks of the journal after it, and of the outbox once its lines are
    /// released.
    ///
    /// # Errors
    /// When it is whole and cannot be published.
    pub fn committed(
        &mut self,
        mark: JournalMark,
        outbox: OutboxMark,
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        if let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| pending.tick == mark.tick)
        {
            pending.marks = Some((mark, outbox));
        }
        self.publish_if_whole()
    }

    /// Journal and outbox are durable up to this tick.
    ///
    /// # Errors
    /// When it is whole and cannot be published.
    pub fn durable(&mut self, tick: Tick) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        self.durable = tick;
        self.publish_if_whole()
    }

    /// An agent has restarted with its state in this checkpoint, or without any.
    pub fn agent_restarted(&mut self, agent: AgentId, base: Option<&Checkpoint>) {
        let image = base.and_then(|base| {
            let image = base.agents.get(agent.index())?.as_ref()?;
            Some(AgentImageBuilder::of(image, base.mark.tick))
        });
        if let Some(held) = self.agents.get_mut(agent.index()) {
            *held = image.unwrap_or_else(AgentImageBuilder::empty);
        }
        // Its earlier records are void.
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.expected.contains(&agent))
        {
            self.pending = None;
        }
        self.needs_full &= self.agents.iter().any(AgentImageBuilder::is_incomplete);
    }

    fn take(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<ImagePart, CheckpointError> {
        let taken = self.decode_state(tick, agent, payload);
        let taken = taken.map_err(|reason| CheckpointError::State {
            agent,
            tick,
            reason,
        });
        let part = match taken {
            Ok(part) => part,
            Err(error) => {
                if let Some(image) = self.agents.get_mut(agent.index()) {
                    image.discard();
                }
                (self.pending, self.needs_full) = (None, true);
                return Err(error);
            }
        };
        self.faults.pass(FaultPoint::CheckpointPages, tick);
        let flushed = self.store.page_files.flush();
        if flushed.is_err() {
            self.discard_all();
        }
        flushed.map(|()| part)
    }

    /// Decodes and applies a record, or gives the reason for which it is refused.
    fn decode_state(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<ImagePart, String> {
        let record =
            codec::decode_record::<StateRecord>(payload).map_err(|error| error.to_string())?;
        if record.agent != agent {
            return Err(format!("it belongs to agent {}", record.agent));
        }
        let is_full = *self.requested.get(&tick).ok_or("it was not requested")?;
        let agents = self.agents.len();
        let image = self
            .agents
            .get_mut(agent.index())
            .ok_or_else(|| format!("there are {agents} agents"))?;
        let page_files = &mut self.store.page_files;
        let max_bytes = self.memory_bytes[agent.index()];
        image.take(tick, is_full, record, max_bytes, |page| {
            page_files.put(page)
        })
    }

    /// After a failed write or sync, it is unknown which pages are on the disk: the next state must be full for all
    /// agents.
    fn discard_all(&mut self) {
        self.agents.iter_mut().for_each(AgentImageBuilder::discard);
        (self.pending, self.needs_full) = (None, true);
    }

    fn publish_if_whole(&mut self) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let is_whole = |pending: &PendingCheckpoint| {
            pending.missing.is_empty()
                && pending.marks.is_some()
                && (pending.tick <= self.durable || planted(Bug::PublishBeforeDurable))
        };
        if !self.pending.as_ref().is_some_and(is_whole) {
            return Ok(None);
        }
        let Some(PendingCheckpoint {
            machine,
            marks: Some((mark, outbox)),
            is_full,
            expected,
            ..
        }) = self.pending.take()
        else {
            return Ok(None);
        };
        let agents: Vec<Option<AgentImage>> = (0..)
            .zip(&self.agents)
            .map(|(number, image)| {
                let is_expected = expected.contains(&AgentId(number));
                image.image(mark.tick).filter(|_| is_expected)
            })
            .collect();
        if agents.iter().flatten().count() < expected.len() {
            // An agent restarted meanwhile. No checkpoint is better than one without that agent.
            return Ok(None);
        }
        let published = self.publish((mark, outbox), machine, agents);
        match &published {
            Ok(checkpoint) => {
                self.latest = Some(Arc::clone(checkpoint));
                if is_full {
                    self.needs_full = false;
                }
            }
            Err(_) => self.discard_all(),
        }
        published.map(Some)
    }

    fn publish(
        &mut self,
        (mark, outbox): (JournalMark, OutboxMark),
        machine: Vec<u8>,
        agents: Vec<Option<AgentImage>>,
    ) -> Result<Arc<Checkpoint>, CheckpointError> {
        let checkpoint = Checkpoint {
            run: self.store.run().0,
            build: self.store.build().clone(),
            mark,
            outbox,
            machine,
            agents,
        };
        let faults = &self.faults;
        self.store
            .publish(&checkpoint, &|point| faults.pass(point, mark.tick))?;
        // It is published. A failed cleanup is the lesser problem.
        self.cleanup_error = self.store.remove_old().err();
        Ok(Arc::new(checkpoint))
    }
}
