//! Makes the next checkpoint out of what hosts say of their agents.
//!
//! What a host says is a difference to what it said before, so everything that
//! it says is taken in, also for a checkpoint that comes to nothing. When an
//! agent begins again, what is known of it is what it began with.

use super::agent_image::{AgentImageBuilder, ImagePart};
use super::error::CheckpointError;
use super::manifest::{AgentImage, Checkpoint};
use super::store::CheckpointWriter;
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

/// Ticks of which it is remembered whether everything was asked for. A host answers before the supervisor gets so far.
const ASKED_TICKS: usize = 64;

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

/// Makes checkpoints.
#[derive(Debug)]
pub struct Collector {
    store: CheckpointWriter,
    agents: Vec<AgentImageBuilder>,
    /// Most bytes of the memory of each agent.
    memory_bytes: Vec<u64>,
    making: Option<PendingCheckpoint>,
    /// Whether everything was asked for, by tick: also when that checkpoint came to nothing, its parts still come.
    asked: BTreeMap<Tick, bool>,
    durable: Tick,
    latest: Option<Arc<Checkpoint>>,
    needs_full: bool,
    /// What went wrong beside what was asked for.
    trouble: Option<CheckpointError>,
    faults: Faults,
}

impl Collector {
    /// A collector for agents of which nothing was said, and whose memories have so many bytes at most: a host cannot
    /// fill the disk.
    #[must_use]
    pub fn new(store: CheckpointWriter, memory_bytes: Vec<u64>, faults: Faults) -> Collector {
        Collector {
            store,
            agents: vec![AgentImageBuilder::nothing(); memory_bytes.len()],
            memory_bytes,
            making: None,
            asked: BTreeMap::new(),
            trouble: None,
            durable: Tick::ZERO,
            latest: None,
            needs_full: false,
            faults,
        }
    }

    /// The state after this tick comes, of these agents, in full or as differences. One that was being made and is not
    /// whole comes to nothing.
    ///
    /// # Errors
    /// When the page files have become too large and the pages cannot be written anew. This checkpoint comes to nothing then.
    pub fn begin(
        &mut self,
        tick: Tick,
        machine: Vec<u8>,
        agents: Vec<AgentId>,
        is_full: bool,
    ) -> Result<(), CheckpointError> {
        self.asked.insert(tick, is_full);
        while self.asked.len() > ASKED_TICKS {
            self.asked.pop_first();
        }
        let expected: BTreeSet<AgentId> = agents.into_iter().collect();
        let missing = expected.clone();
        self.making = Some(PendingCheckpoint {
            tick,
            machine,
            expected,
            missing,
            is_full,
            marks: None,
        });
        if self.store.wants_new_pack() {
            let renewed = self.store.renew(
                self.agents
                    .iter_mut()
                    .flat_map(AgentImageBuilder::pages_mut),
            );
            if renewed.is_err() {
                self.lose_all();
            }
            return renewed;
        }
        Ok(())
    }

    /// What went wrong with something that did no harm to what was asked for, once.
    pub fn take_trouble(&mut self) -> Option<CheckpointError> {
        self.trouble.take()
    }

    /// The checkpoint that is being made comes to nothing.
    pub fn abandon(&mut self) {
        self.making = None;
    }

    /// Whether a checkpoint is being made.
    #[must_use]
    pub fn is_making(&self) -> bool {
        self.making.is_some()
    }

    /// Whether the next state must be given in full, because a part of the last one could not be kept.
    #[must_use]
    pub fn needs_full(&self) -> bool {
        self.needs_full
    }

    /// The newest checkpoint that was published here.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<Checkpoint>> {
        self.latest.as_ref()
    }

    /// Takes in a part of the state of an agent after a tick, as its host has sent it.
    ///
    /// # Errors
    /// When it cannot be the state of that agent, or cannot be kept. The checkpoint comes to nothing then.
    pub fn state(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let is_of_it = |making: &PendingCheckpoint| making.tick == tick;
        if planted(Bug::ForgetDifference) && !self.making.as_ref().is_some_and(is_of_it) {
            return Ok(None);
        }
        match self.take(tick, agent, payload)? {
            ImagePart::Whole => {}
            ImagePart::More => return Ok(None),
            ImagePart::Useless => {
                (self.making, self.needs_full) = (None, true);
                return Ok(None);
            }
        }
        if let Some(making) = self.making.as_mut().filter(|making| making.tick == tick) {
            making.missing.remove(&agent);
        }
        self.publish_if_whole()
    }

    /// The tick of the checkpoint is committed, and this is where the journal stands after it, and what the outbox will
    /// be once its lines have left.
    ///
    /// # Errors
    /// When it is whole and cannot be published.
    pub fn committed(
        &mut self,
        mark: JournalMark,
        outbox: OutboxMark,
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        if let Some(making) = self
            .making
            .as_mut()
            .filter(|making| making.tick == mark.tick)
        {
            making.marks = Some((mark, outbox));
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

    /// An agent has begun again with its state in this checkpoint, or without any.
    pub fn begun_again(&mut self, agent: AgentId, base: Option<&Checkpoint>) {
        let image = base.and_then(|base| {
            let image = base.agents.get(agent.index())?.as_ref()?;
            Some(AgentImageBuilder::of(image, base.mark.tick))
        });
        if let Some(known) = self.agents.get_mut(agent.index()) {
            *known = image.unwrap_or_else(AgentImageBuilder::nothing);
        }
        // What it said before belongs to nobody any more.
        if self
            .making
            .as_ref()
            .is_some_and(|making| making.expected.contains(&agent))
        {
            self.making = None;
        }
        self.needs_full &= self.agents.iter().any(AgentImageBuilder::is_lost);
    }

    fn take(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<ImagePart, CheckpointError> {
        let taken = self.understand(tick, agent, payload);
        let taken = taken.map_err(|reason| CheckpointError::State {
            agent,
            tick,
            reason,
        });
        let part = match taken {
            Ok(part) => part,
            Err(error) => {
                if let Some(known) = self.agents.get_mut(agent.index()) {
                    known.lose();
                }
                (self.making, self.needs_full) = (None, true);
                return Err(error);
            }
        };
        self.faults.pass(FaultPoint::CheckpointPages, tick);
        let flushed = self.store.page_files.flush();
        if flushed.is_err() {
            self.lose_all();
        }
        flushed.map(|()| part)
    }

    /// Takes in what a host says, or says why it cannot be.
    fn understand(
        &mut self,
        tick: Tick,
        agent: AgentId,
        payload: &[u8],
    ) -> Result<ImagePart, String> {
        let record =
            codec::decode_record::<StateRecord>(payload).map_err(|error| error.to_string())?;
        if record.agent != agent {
            return Err(format!("it is that of agent {}", record.agent));
        }
        let is_full = *self.asked.get(&tick).ok_or("nobody has asked for it")?;
        let agents = self.agents.len();
        let known = self
            .agents
            .get_mut(agent.index())
            .ok_or_else(|| format!("there are {agents} agents"))?;
        let page_files = &mut self.store.page_files;
        let most_bytes = self.memory_bytes[agent.index()];
        known.take(tick, is_full, record, most_bytes, |page| {
            page_files.put(page)
        })
    }

    /// After a failed write or sync, nobody knows which pages are on the disk: the next state must be full for all.
    fn lose_all(&mut self) {
        self.agents.iter_mut().for_each(AgentImageBuilder::lose);
        (self.making, self.needs_full) = (None, true);
    }

    fn publish_if_whole(&mut self) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let is_whole = |making: &PendingCheckpoint| {
            making.missing.is_empty()
                && making.marks.is_some()
                && (making.tick <= self.durable || planted(Bug::PublishBeforeDurable))
        };
        if !self.making.as_ref().is_some_and(is_whole) {
            return Ok(None);
        }
        let Some(PendingCheckpoint {
            machine,
            marks: Some((mark, outbox)),
            is_full,
            expected,
            ..
        }) = self.making.take()
        else {
            return Ok(None);
        };
        let agents: Vec<Option<AgentImage>> = (0..)
            .zip(&self.agents)
            .map(|(number, known)| {
                let is_expected = expected.contains(&AgentId(number));
                known.image(mark.tick).filter(|_| is_expected)
            })
            .collect();
        if agents.iter().flatten().count() < expected.len() {
            // An agent began again meanwhile. It is better to have none than one without that agent.
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
            Err(_) => self.lose_all(),
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
            .publish(&checkpoint, &|phase| faults.pass(phase, mark.tick))?;
        // It is there. What is in its way is the lesser trouble.
        self.trouble = self.store.retire().err();
        Ok(Arc::new(checkpoint))
    }
}
