//! A minimal supervisor for the tests.

use crate::agent_set::AgentSet;
use crate::compile::compile;
use crate::error::AgentHostError;
use crate::serve::serve;
use bincode::Encode;
use shm_protocol::agent_state::{PAGES_PER_RECORD, SNAPSHOT, STATE, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{AgentLoaded, OUTCOMES, Outcome, Outcomes};
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Incarnation, Tick};
use shm_protocol::link::{HostLink, LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{
    AgentEvent, AgentSetup, LoadAgent, ModelPorts, OnFailure, STEPS, Step, Steps,
};
use shm_protocol::{codec, limit};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use test_support::handwritten_agents;

pub(super) const FUEL: u64 = 50_000_000;
pub(super) const MEMORY_BYTES: u64 = 16 << 20;
/// The names of models, in their order.
const MODELS: [&str; 2] = ["policy", "poles"];

/// An agent of a test. Its name is `agent-` and its number.
#[derive(Clone)]
pub(super) struct Given {
    component: &'static str,
    settings: Vec<(String, String)>,
    on_failure: OnFailure,
    memory_bytes: u64,
    restored: bool,
}

impl Given {
    pub(super) fn new(component: &'static str) -> Self {
        Given {
            component,
            settings: Vec::new(),
            on_failure: OnFailure::Halt,
            memory_bytes: MEMORY_BYTES,
            restored: false,
        }
    }

    /// The same agent, whose state will be restored.
    pub(super) fn restored(mut self) -> Self {
        self.restored = true;
        self
    }

    pub(super) fn memory_bytes(mut self, memory_bytes: u64) -> Self {
        self.memory_bytes = memory_bytes;
        self
    }

    pub(super) fn setting(mut self, key: &str, value: &str) -> Self {
        // The one model of these tests has a name of its own.
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    fn load(&self, position: usize) -> (LoadAgent, Vec<u8>) {
        let artifact = artifact(self.component);
        let mut settings = self.settings.clone();
        if ["mlp", "ponder"].contains(&self.component) {
            settings.push(("model".into(), "policy".into()));
        }
        let load = LoadAgent {
            agent: AgentId::from_index(position),
            artifact: Extent {
                offset: 0,
                bytes: artifact.len() as u64,
            },
            settings,
            fuel: FUEL,
            memory_bytes: self.memory_bytes,
            on_failure: self.on_failure,
            may_finish: false,
            restored: self.restored,
        };
        (load, artifact)
    }
}

/// AgentSet without a loop around them.
pub(super) fn bare(given: &[Given]) -> AgentSet {
    let names = (0..given.len()).map(|position| format!("agent-{position}"));
    let setup = AgentSetup {
        max_step_bytes: limit::STEP_BYTES as u64,
        random_key: [7; 32],
        canonical_nan: true,
        agents: names.collect(),
        models: Vec::new(),
    };
    let mut agents = AgentSet::new(setup).expect("an engine");
    for (position, given) in given.iter().enumerate() {
        let (load, artifact) = given.load(position);
        agents
            .load(load, &artifact)
            .expect("it loads")
            .result
            .expect("init agrees");
    }
    agents.set_models(Vec::new());
    agents
}

/// A built example agent or a test component, compiled once.
pub(super) fn artifact(name: &'static str) -> Vec<u8> {
    static COMPILED: LazyLock<Mutex<BTreeMap<&str, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().expect("no test fails in here");
    let read = || {
        let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let compile = || {
        let component = handwritten_agents::named(name).unwrap_or_else(read);
        compile(&component, true).expect("it compiles")
    };
    compiled.entry(name).or_insert_with(compile).clone()
}

/// A step of the agent with this number.
pub(super) fn numbered((agent, events): (usize, Vec<AgentEvent>)) -> Step {
    Step {
        agent: AgentId::from_index(agent),
        events,
    }
}

pub(super) struct Host {
    link: SupervisorLink,
    thread: JoinHandle<Result<(), AgentHostError>>,
    is_draining: Arc<AtomicBool>,
    pub(super) loaded: Vec<AgentLoaded>,
}

impl Host {
    pub(super) fn start(given: &[Given]) -> Host {
        Host::start_with(given, Vec::new())
    }

    pub(super) fn start_with(given: &[Given], models: Vec<ModelPorts>) -> Host {
        let sizes = LinkSizes {
            down_bytes: 1 << 20,
            up_bytes: 8 << 20,
        };
        let (link, theirs) =
            SupervisorLink::create(sizes, Incarnation(1)).expect("memory for a link");
        let setup = AgentSetup {
            max_step_bytes: limit::STEP_BYTES as u64,
            random_key: [7; 32],
            canonical_nan: true,
            agents: (0..given.len())
                .map(|position| format!("agent-{position}"))
                .collect(),
            models: MODELS
                .iter()
                .take(models.len())
                .map(|name| (*name).to_owned())
                .collect(),
        };
        let loads: Vec<_> = given
            .iter()
            .enumerate()
            .map(|(position, given)| given.load(position))
            .collect();
        // AgentSet of one component share it, as they do in a run.
        let first = |one: &Given| {
            let same = |other: &Given| other.component == one.component;
            given.iter().position(same).expect("itself")
        };
        let firsts: Vec<usize> = given.iter().map(first).collect();
        let is_draining = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn({
            let is_draining = Arc::clone(&is_draining);
            move || {
                let mut agents = AgentSet::new(setup)?;
                for ((mut load, artifact), first) in loads.into_iter().zip(firsts) {
                    // Here each artifact is a memory of its own; the offset tells them apart for the host.
                    let mut memory = vec![0; 16 * first];
                    load.artifact.offset = memory.len() as u64;
                    memory.extend_from_slice(&artifact);
                    sender
                        .send(agents.load(load, &memory)?)
                        .expect("the test waits");
                }
                drop(sender);
                agents.set_models(models);
                let mut link =
                    HostLink::attach(theirs.down, theirs.up, theirs.bell, Incarnation(1))?;
                serve(&mut link, &mut agents, || {
                    is_draining.load(Ordering::Acquire)
                })
            }
        });
        Host {
            link,
            thread,
            is_draining,
            loaded: receiver.iter().collect(),
        }
    }

    pub(super) fn ask(&mut self, tick: u64, steps: Vec<Step>) {
        self.push(STEPS, tick, &Steps { steps });
    }

    pub(super) fn push(&mut self, kind: u16, tick: u64, message: &impl Encode) {
        let bytes = codec::encode(message);
        let header = RecordHeader::new(kind, Tick(tick));
        while !self
            .link
            .down
            .try_push(&header, &bytes)
            .expect("a sound ring")
        {
            assert!(!self.thread.is_finished(), "the host has ended");
            thread::yield_now();
        }
        self.link.down.notify();
    }

    /// The states of all agents that can be captured.
    pub(super) fn snapshot(&mut self, tick: u64, full: bool) -> Vec<StateRecord> {
        let transparent = |loaded: &&AgentLoaded| loaded.opaque.is_none();
        let expected = self.loaded.iter().filter(transparent).count();
        self.push(SNAPSHOT, tick, &Snapshot { full });
        let (mut records, mut bytes) = (Vec::new(), Vec::new());
        let is_last = |record: &StateRecord| record.is_last;
        while records.iter().filter(|record| is_last(record)).count() < expected {
            match self.link.up.try_take(&mut bytes).expect("a sound ring") {
                Some(header) => {
                    assert_eq!((header.kind, header.tick), (STATE, Tick(tick)));
                    let record = codec::decode::<StateRecord, { limit::RECORD_BYTES }>(&bytes)
                        .expect("a state");
                    assert_eq!(header.subject, record.agent.0);
                    assert_eq!(header.correlation, u64::from(record.is_last));
                    assert!(record.pages.len() <= PAGES_PER_RECORD);
                    records.push(record);
                }
                None if self.thread.is_finished() => panic!("the host has ended"),
                None => thread::yield_now(),
            }
        }
        records
    }

    /// Steps these agents without events.
    pub(super) fn tick(&mut self, tick: u64, agents: &[u32]) -> Vec<Outcome> {
        let step = |id: &u32| Step {
            agent: AgentId(*id),
            events: Vec::new(),
        };
        self.step(tick, agents.iter().map(step).collect())
    }

    pub(super) fn step(&mut self, tick: u64, steps: Vec<Step>) -> Vec<Outcome> {
        let expected = steps.len();
        self.ask(tick, steps);
        let mut outcomes = Vec::new();
        let mut bytes = Vec::new();
        while outcomes.len() < expected {
            match self.link.up.try_take(&mut bytes).expect("a sound ring") {
                Some(header) => {
                    assert_eq!((header.kind, header.tick), (OUTCOMES, Tick(tick)));
                    let more = codec::decode::<Outcomes, { limit::RECORD_BYTES }>(&bytes)
                        .expect("outcomes");
                    assert_ne!(more.outcomes, [], "a record for nothing");
                    outcomes.extend(more.outcomes);
                }
                None if self.thread.is_finished() => panic!("the host has ended"),
                None => thread::yield_now(),
            }
        }
        outcomes
    }

    /// The next record that comes up.
    pub(super) fn take(&mut self) -> (RecordHeader, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            match self.link.up.try_take(&mut bytes).expect("a sound ring") {
                Some(header) => return (header, bytes),
                None if self.thread.is_finished() => panic!("the host has ended"),
                None => thread::yield_now(),
            }
        }
    }

    /// Says that nothing more comes, and expects a good end.
    pub(super) fn drain(self) {
        self.is_draining.store(true, Ordering::Release);
        self.end().expect("nothing an agent does ends its host");
    }

    pub(super) fn end(self) -> Result<(), AgentHostError> {
        self.thread.join().expect("no panic")
    }
}
