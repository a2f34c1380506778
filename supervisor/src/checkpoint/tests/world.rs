//! A simulated host with agents: their memories, the states that it sent, and the expected state at each tick.

use super::super::{
    Build, Checkpoint, CheckpointError, CheckpointReader, CheckpointWriter, Collector,
};
use crate::faults::Faults;
use crate::journal::{JournalMark, create_run_dir_on};
use crate::record::RunId;
use crate::rundir::{OutboxMark, RunDir};
use crate::sys::disk::Disk;
use crate::sys::memory_disk::MemoryDisk;
use shm_protocol::agent_state::{PAGE_BYTES, Page, SavedInstance, StateRecord};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, RequestId, Tick};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const RUN: RunId = RunId([1; 16]);
/// Pages of one record here, so that a state has several.
const PAGES_PER_RECORD: usize = 2;

/// A collector for agents with memories of sixteen pages at most.
pub(super) fn collector(store: CheckpointWriter, agents: usize) -> Collector {
    Collector::new(store, vec![16 * PAGE_BYTES as u64; agents], Faults::none())
}

pub(super) fn build() -> Build {
    Build {
        lockstep: "0.1.0".to_owned(),
        wasmtime: "48".to_owned(),
    }
}

pub(super) fn folder() -> PathBuf {
    Path::new("/run/checkpoints").to_path_buf()
}

pub(super) fn names(disk: &MemoryDisk) -> Vec<String> {
    disk.list(&folder()).unwrap()
}

/// The mark of the outbox after a tick.
pub(super) fn outbox(tick: u64) -> OutboxMark {
    OutboxMark {
        bytes: 10 * tick,
        digest: [5; 32],
    }
}

/// An agent: its memory in pages, none when its last step failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Agent {
    pub(super) memory: Option<Vec<Vec<u8>>>,
    pub(super) requests: u64,
}

/// The expected state at a tick.
pub(super) type Truth = Vec<Agent>;

pub(super) struct World {
    pub(super) disk: MemoryDisk,
    pub(super) run: RunDir,
    pub(super) collector: Collector,
    pub(super) agents: Vec<Agent>,
    /// The memory of each agent as its host has sent it.
    mirrors: Vec<Vec<Vec<u8>>>,
    pub(super) truths: BTreeMap<Tick, Truth>,
    pub(super) asked: Vec<AgentId>,
    /// True if the full state was requested, by tick.
    fulls: BTreeMap<u64, bool>,
    pub(super) must_be_full: bool,
    pub(super) is_synced: bool,
    keep: u32,
    slack: u64,
    random: u64,
}

impl World {
    pub(super) fn new(agents: u32, is_synced: bool) -> World {
        World::on(MemoryDisk::new(), agents, is_synced).unwrap()
    }

    /// On a disk that may refuse.
    pub(super) fn on(
        disk: MemoryDisk,
        agents: u32,
        is_synced: bool,
    ) -> Result<World, Box<dyn std::error::Error>> {
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run"))?;
        let store =
            CheckpointWriter::open(CheckpointReader::new(&run, RUN, build()), 3, is_synced)?;
        let blank = Agent {
            memory: Some(vec![vec![0; PAGE_BYTES]; 4]),
            requests: 0,
        };
        Ok(World {
            disk,
            run,
            collector: collector(store, agents as usize),
            agents: vec![blank; agents as usize],
            mirrors: vec![Vec::new(); agents as usize],
            truths: BTreeMap::new(),
            asked: (0..agents).map(AgentId).collect(),
            fulls: BTreeMap::new(),
            must_be_full: false,
            is_synced,
            keep: 3,
            slack: 16 << 20,
            random: 1,
        })
    }

    pub(super) fn with(mut self, keep: u32, slack: u64) -> World {
        (self.keep, self.slack) = (keep, slack);
        self.reopen();
        self
    }

    /// As after a resume: all images are empty.
    pub(super) fn reopen(&mut self) {
        let store = CheckpointWriter::open(self.shelf(), self.keep, self.is_synced)
            .unwrap()
            .with_slack(self.slack);
        self.collector = collector(store, self.agents.len());
    }

    pub(super) fn take_collector(&mut self) -> Collector {
        let store = CheckpointWriter::open(self.shelf(), self.keep, self.is_synced).unwrap();
        std::mem::replace(&mut self.collector, collector(store, 0))
    }

    pub(super) fn shelf(&self) -> CheckpointReader {
        CheckpointReader::new(&self.run, RUN, build())
    }

    pub(super) fn pack_pages(&self) -> usize {
        let page_files = names(&self.disk)
            .into_iter()
            .filter(|name| name.ends_with(".pages"));
        page_files
            .map(|name| self.disk.read(&folder().join(name)).unwrap().len() / PAGE_BYTES)
            .sum()
    }

    pub(super) fn random(&mut self, end: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    pub(super) fn set_page(&mut self, agent: usize, page: usize, byte: u8) {
        self.agents[agent].memory.as_mut().unwrap()[page] = vec![byte; PAGE_BYTES];
    }

    /// A step of every agent.
    pub(super) fn work(&mut self, tick: u64) {
        (0..self.agents.len()).for_each(|agent| self.work_of(agent, tick));
    }

    /// A step: pages are written, some become zero, memories grow, agents fall and come back with small memories.
    pub(super) fn work_of(&mut self, agent: usize, tick: u64) {
        self.agents[agent].requests += 1;
        if self.agents[agent].memory.is_none() || self.random(9) == 0 {
            let is_fallen = self.agents[agent].memory.is_some();
            self.agents[agent].memory = (!is_fallen).then(|| vec![vec![0; PAGE_BYTES]; 2]);
        }
        for _ in 0..3 {
            let (place, byte) = (self.random(64), self.random(4));
            let grows = self.random(5) == 0;
            let Some(memory) = &mut self.agents[agent].memory else {
                return;
            };
            if grows && memory.len() < 12 {
                memory.push(vec![0; PAGE_BYTES]);
            }
            let page = usize::try_from(place).unwrap() % memory.len();
            memory[page] = vec![0; PAGE_BYTES];
            if byte > 0 {
                memory[page][agent] = u8::try_from(byte).unwrap();
                memory[page][100..108].copy_from_slice(&(tick / 2).to_le_bytes());
            }
        }
    }

    pub(super) fn mark(&self, tick: u64) -> JournalMark {
        JournalMark {
            tick: Tick(tick),
            chain: [3; 32],
            segment: 1,
            offset: 100 * tick,
        }
    }

    pub(super) fn machine(&self, tick: u64) -> Vec<u8> {
        format!("machine after {tick}").into_bytes()
    }

    /// Asks for the state.
    pub(super) fn begin(&mut self, tick: u64) {
        self.try_begin(tick).unwrap();
    }

    pub(super) fn try_begin(&mut self, tick: u64) -> Result<(), CheckpointError> {
        let is_full = self.must_be_full || self.collector.needs_full();
        self.note(tick, is_full);
        let machine = self.machine(tick);
        self.collector
            .begin(Tick(tick), machine, self.asked.clone(), is_full)
    }

    /// Takes note of what is true at a tick, and of how it is asked for.
    pub(super) fn note(&mut self, tick: u64, is_full: bool) {
        self.fulls.insert(tick, is_full);
        self.truths.insert(Tick(tick), self.agents.clone());
    }

    /// The state records of an agent.
    pub(super) fn records(&mut self, tick: u64, agent: u32) -> Vec<Vec<u8>> {
        let (at, position) = (&self.truths.get(&Tick(tick)), agent as usize);
        let now = at
            .map_or(&self.agents[position], |truth| &truth[position])
            .clone();
        let is_full = self.fulls.get(&tick).copied().unwrap_or(false);
        let mirror = &mut self.mirrors[position];
        let memory = now.memory.clone().unwrap_or_default();
        mirror.resize(memory.len(), vec![0; PAGE_BYTES]);
        let zero = vec![0; PAGE_BYTES];
        let mut pages = Vec::new();
        for (index, (page, told)) in (0..).zip(memory.iter().zip(mirror.iter_mut())) {
            let is_told = if is_full { *page != zero } else { page != told };
            if is_told {
                let bytes = if *page == zero {
                    Vec::new()
                } else {
                    page.clone()
                };
                pages.push(Page { index, bytes });
            }
            told.clone_from(page);
        }
        let life = life(&now);
        let mut records = Vec::new();
        let mut chunks = pages.chunks(PAGES_PER_RECORD).peekable();
        loop {
            let pages = chunks.next().unwrap_or_default().to_vec();
            let is_last = chunks.peek().is_none();
            let next_request = RequestId(now.requests);
            let agent = AgentId(agent);
            records.push(codec::encode(&StateRecord {
                agent,
                next_request,
                life: life.clone(),
                pages,
                is_last,
            }));
            if is_last {
                return records;
            }
        }
    }

    /// The host sends the full state of an agent.
    pub(super) fn answer(
        &mut self,
        tick: u64,
        agent: u32,
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let mut published = None;
        for record in self.records(tick, agent) {
            published = self
                .collector
                .state(Tick(tick), AgentId(agent), &record)?
                .or(published);
        }
        Ok(published)
    }

    /// The commit and sync of the supervisor, once all records have come.
    pub(super) fn finish(&mut self, tick: u64) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let committed = self.collector.committed(self.mark(tick), outbox(tick))?;
        let durable = self.collector.durable(Tick(tick))?;
        Ok(committed.or(durable))
    }

    /// A whole checkpoint. Hosts answer also when it has come to nothing.
    pub(super) fn checkpoint(
        &mut self,
        tick: u64,
    ) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
        let mut result = self.try_begin(tick).map(|()| None);
        for agent in self.asked.clone() {
            let answered = self.answer(tick, agent.0);
            result = result.and(answered);
        }
        let finished = self.finish(tick);
        result.and(finished)
    }

    /// The host dies and its agent begins with a checkpoint again.
    pub(super) fn restore(&mut self, agent: usize, tick: Tick) {
        let checkpoint = self.shelf().load(tick).unwrap();
        self.agents[agent] = self.truths[&tick][agent].clone();
        self.mirrors[agent] = self.agents[agent].memory.clone().unwrap_or_default();
        self.collector
            .agent_restarted(AgentId::from_index(agent), Some(&checkpoint));
    }

    /// All hosts die, and all agents begin with nothing.
    pub(super) fn begin_anew(&mut self) {
        for agent in 0..self.agents.len() {
            self.agents[agent].memory = Some(vec![vec![0; PAGE_BYTES]; 4]);
            self.mirrors[agent].clear();
            self.collector
                .agent_restarted(AgentId::from_index(agent), None);
        }
    }

    /// Checks that the checkpoint of a tick holds the expected state.
    pub(super) fn check(&self, tick: Tick) {
        let shelf = self.shelf();
        let checkpoint = shelf.load(tick).unwrap();
        assert_eq!(checkpoint.machine, self.machine(tick.0));
        assert_eq!(checkpoint.outbox, outbox(tick.0));
        let restored = restored(&shelf, &checkpoint).unwrap();
        assert!(
            restored == self.truths[&tick],
            "tick {tick}: something else is restored"
        );
    }
}

fn life(agent: &Agent) -> SavedInstance {
    match &agent.memory {
        None => SavedInstance::Failed,
        Some(memory) => {
            let memory_bytes = (memory.len() * PAGE_BYTES) as u64;
            SavedInstance::Running {
                memory_bytes,
                globals: vec![agent.requests, 7],
            }
        }
    }
}

/// The agents as a host makes them out of the records of a checkpoint.
pub(super) fn restored(
    shelf: &CheckpointReader,
    checkpoint: &Checkpoint,
) -> Result<Truth, CheckpointError> {
    let mut agents = Vec::new();
    for (agent, image) in (0..).map(AgentId).zip(&checkpoint.agents) {
        let image = image.as_ref().expect("every agent was asked");
        let records: Vec<StateRecord> = shelf
            .state_records(agent, image)?
            .iter()
            .map(|record| codec::decode::<StateRecord, { 16 << 20 }>(record).unwrap())
            .collect();
        let (last, others) = records.split_last().unwrap();
        assert!(last.is_last && others.iter().all(|record| !record.is_last));
        let memory = match &last.life {
            SavedInstance::Running { memory_bytes, .. } => {
                let pages = usize::try_from(*memory_bytes).unwrap() / PAGE_BYTES;
                let mut memory = vec![vec![0; PAGE_BYTES]; pages];
                for page in records.iter().flat_map(|record| &record.pages) {
                    // As hosts do: a page outside of the memory is refused.
                    memory[page.index as usize].clone_from(&page.bytes);
                }
                Some(memory)
            }
            SavedInstance::Failed | SavedInstance::Halted => {
                assert!(
                    records.iter().all(|record| record.pages.is_empty()),
                    "pages without a memory"
                );
                None
            }
        };
        let restored = Agent {
            memory,
            requests: last.next_request.0,
        };
        assert_eq!(last.life, life(&restored));
        agents.push(restored);
    }
    Ok(agents)
}
