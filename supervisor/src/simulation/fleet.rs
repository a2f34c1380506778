//! A small fleet that follows from a seed.

use super::changing::{changes, wishes};
use super::reply::Ends;
use crate::fleet::{Durability, OnProviderLost, Pace, RestartLimits};
use crate::launch::{HostConfig, Placement, ports, version_title};
use crate::models::{ModelVersion, timeline, versions};
use crate::record::{
    AgentPin, EnginePin, ModelPin, ModelSettings, RunHeader, ScheduledChange, Verdict, VersionPin,
};
use crate::rundir::LaunchSettings;

use shm_protocol::boot::Extent;
use shm_protocol::generation::{self, Generator};
use shm_protocol::id::{AgentId, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::supervisor_to_agent::{self as agents, OnFailure, OnMismatch};
use shm_protocol::tensor::{DType, Port, Signature};
use shm_protocol::{limit, supervisor_to_inference as inference};
use test_support::random::{TestRng, mix, mix_bytes};

/// What stands for a component, so that its digest is that of an object of the run.
pub(super) const COMPONENT: &[u8] = b"a simulated component";
/// What stands for a model.
pub(super) const MODEL: &[u8] = b"a simulated model";
/// Who runs models, until it is gone.
pub(super) const FAST: &str = "cuda";
/// Who runs them then.
pub(super) const SLOW: &str = "cpu";
/// Bytes of a row of a request and of its answer.
pub(super) const ROW_BYTES: usize = 8;

/// What an agent of the simulation is like.
#[derive(Clone, Debug)]
pub(super) struct Character {
    pub(super) seed: u64,
    /// Pages of its memory.
    pub(super) pages: u32,
    /// One of so many steps fails; none if zero.
    pub(super) fails_one_in: u64,
    /// It waits within some of its steps.
    pub(super) waits: bool,
    /// Its state cannot be captured.
    pub(super) opaque: bool,
    /// It crashes or hangs its host in this tick, always.
    pub(super) poison: Option<(Tick, Ends)>,
}

/// Requests that crash or hang the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadly {
    /// Those that are asked in these ticks.
    pub(super) from: Tick,
    pub(super) until: Tick,
    /// Of their rows or texts, one in so many.
    pub(super) one_in: u64,
    /// What becomes of the engine.
    pub(super) ends: Ends,
}

impl Deadly {
    /// One in so many of the requests that are asked in a tick.
    pub(super) fn at(tick: u64, one_in: u64) -> Deadly {
        Deadly {
            from: Tick(tick),
            until: Tick(tick),
            one_in,
            ends: Ends::Crashed,
        }
    }

    /// Whether a row or text is such a request.
    pub(super) fn is(&self, asked: Tick, bytes: &[u8]) -> bool {
        let is_in_time = (self.from..=self.until).contains(&asked);
        is_in_time && mix_bytes(15, bytes).is_multiple_of(self.one_in)
    }
}

/// A fleet and how it is run.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    pub(super) seed: u64,
    pub(super) header: RunHeader,
    pub(super) characters: Vec<Character>,
    pub(super) orders: HostConfig,
    pub(super) launch: LaunchSettings,
    /// Requests that crash or hang the engine, always.
    pub(super) deadly: Option<Deadly>,
    /// Who runs the models is gone once the inference host was started again so often.
    pub(super) loses_provider: Option<u64>,
    /// What somebody wants of the models while the run goes on: each is asked for in its tick, or as soon after it as
    /// somebody listens.
    pub(super) wishes: Vec<ScheduledChange<VersionPin>>,
}

impl Fleet {
    /// The fleet of a seed. With `poison`, one of its agents may end its host in some tick, and what was asked in some
    /// tick may end the engine.
    pub(super) fn new(seed: u64, poison: bool) -> Fleet {
        let mut random = TestRng::for_purpose(seed, 1);
        let agents = random.within(2..=8);
        let ticks = random.within(20..=60);
        let models = random.pick(&[0, 1, 1, 2]);
        let mut characters: Vec<Character> = (0..agents)
            .map(|number| character(&mut random, mix(seed, number)))
            .collect();
        if poison && random.chance(3, 4) {
            let chosen = random.index(characters.len());
            characters[chosen].poison = Some((Tick(random.within(1..=ticks)), Ends::Crashed));
        }
        let deadly = (poison && random.chance(1, 2)).then(|| {
            let from = random.within(1..=ticks);
            Deadly {
                until: Tick(from + random.pick(&[0, 0, 5])),
                ..Deadly::at(from, random.pick(&[1, 2, 4]))
            }
        });
        let header = header(seed, &mut random, characters.len(), models, ticks);
        let shared = u32::try_from(random.within(1..=3)).expect("few");
        let isolated: Vec<bool> = (0..agents).map(|_| random.chance(1, 8)).collect();
        let layout = Placement::new(&isolated, shared);
        let launch = launch(&mut random, &header, &isolated, &layout, ticks);
        Fleet {
            seed,
            orders: orders(&header, layout),
            header,
            characters,
            launch,
            deadly,
            // Of the seed alone, so that all else of a fleet is as it is without it.
            wishes: match poison {
                true => wishes(seed, usize::try_from(models).expect("few"), ticks),
                false => Vec::new(),
            },
            loses_provider: (poison && mix(seed, 12).is_multiple_of(3)).then(|| mix(seed, 13) % 3),
        }
    }

    /// Whether something in it ends a host, always.
    pub(super) fn is_poisoned(&self) -> bool {
        let is_poisonous = |character: &Character| character.poison.is_some();
        self.deadly.is_some()
            || self.loses_provider.is_some()
            || !self.wishes.is_empty()
            || self.characters.iter().any(is_poisonous)
    }

    /// Three agents on two hosts and a model, which nothing stops before the last tick.
    pub(super) fn steady(ticks: u64, checkpoint_ticks: u64, durability: Durability) -> Fleet {
        let seed = (0..)
            .find(|seed| Fleet::new(*seed, false).is_small())
            .expect("one in some hundred is");
        let mut fleet = Fleet::new(seed, false);
        fleet
            .characters
            .iter_mut()
            .for_each(|character| character.fails_one_in = 0);
        for agent in &mut fleet.header.agents {
            agent.may_finish = false;
        }
        for load in &mut fleet.orders.loads {
            load.may_finish = false;
        }
        fleet.launch = LaunchSettings {
            ticks: Some(ticks),
            checkpoint_ticks,
            durability,
            ..fleet.launch
        };
        fleet
    }

    fn is_small(&self) -> bool {
        let is_restorable = self.header.changes.is_empty()
            && self.characters.iter().all(|character| !character.opaque);
        is_restorable
            && self.characters.len() == 3
            && self.orders.placement.hosts == 2
            && self.header.models.len() == 1
    }

    /// What hosts are told once these verdicts were made.
    pub(super) fn orders_after<'v>(
        &self,
        verdicts: impl IntoIterator<Item = &'v (Tick, Verdict)>,
    ) -> HostConfig {
        orders(&self.header.with(verdicts), self.orders.placement.clone())
    }

    /// How a version is loaded, and what it is: one of the fleet's, or one that somebody has brought in.
    pub(super) fn version(&self, load: &inference::LoadModel) -> (inference::LoadModel, ModelPin) {
        if let Some(expected) = self.orders.versions.get(load.version.index()) {
            let pin = versions(&self.header).swap_remove(load.version.index()).pin;
            return (expected.clone(), pin);
        }
        let brought = self.wishes.iter().find_map(|wish| {
            let first = &self.header.models[wish.model.index()];
            let pin = wish.change.new_version()?;
            let name = version_title(&first.name, &pin.version);
            let expected = inference::LoadModel {
                version: load.version,
                name,
                ..self.orders.versions[wish.model.index()].clone()
            };
            let pin = ModelPin {
                batching: pin.batching.clone(),
                ..first.clone()
            };
            (expected.name == load.name).then_some((expected, pin))
        });
        brought.unwrap_or_else(|| panic!("version {} of nobody is loaded", load.version))
    }

    pub(super) fn ticks(&self) -> Tick {
        Tick(self.launch.ticks.expect("a simulated run has an end"))
    }

    /// What becomes of the host of an agent that is poison.
    pub(super) fn ends_at(&self, agent: AgentId) -> Ends {
        self.character(agent)
            .poison
            .map_or(Ends::No, |(_, ends)| ends)
    }

    pub(super) fn character(&self, agent: AgentId) -> &Character {
        &self.characters[agent.index()]
    }

    pub(super) fn has_models(&self) -> bool {
        !self.header.models.is_empty()
    }

    /// Its language model, if it has one: always the last.
    pub(super) fn writer(&self) -> Option<ModelId> {
        let models = &self.header.models;
        let last = models.len().checked_sub(1)?;
        models[last]
            .settings
            .generator
            .map(|_| ModelId::from_index(last))
    }

    pub(super) fn agent_names(&self) -> Vec<String> {
        self.header
            .agents
            .iter()
            .map(|pin| pin.name.clone())
            .collect()
    }
}

fn character(random: &mut TestRng, seed: u64) -> Character {
    Character {
        seed,
        // Of the seed alone, so that all else of a fleet is as it is without it.
        waits: mix(seed, 11).is_multiple_of(3),
        pages: u32::try_from(random.within(1..=3)).expect("few"),
        fails_one_in: if random.chance(1, 3) { 20 } else { 0 },
        opaque: random.chance(1, 8),
        poison: None,
    }
}

fn header(seed: u64, random: &mut TestRng, agents: usize, models: u64, ticks: u64) -> RunHeader {
    let digest = |bytes| *blake3::hash(bytes).as_bytes();
    let may_finish = TestRng::for_purpose(seed, 16).chance(1, 6);
    let agent = |number| AgentPin {
        name: format!("agent-{number}"),
        component: digest(COMPONENT),
        settings: Vec::new(),
        fuel: 1_000_000,
        memory_bytes: 1 << 20,
        priority: i32::try_from(random.below(3)).expect("few") - 1,
        every: random.pick(&[1, 1, 1, 2, 3]),
        on_failure: random.pick(&[OnFailure::Halt, OnFailure::Restart, OnFailure::Restart]),
        may_finish: may_finish && number == 0,
    };
    let agents = (0..agents).map(agent).collect();
    let port = |name: String| Port {
        name,
        dtype: DType::U8,
        dims: vec![None, Some(ROW_BYTES as u64)],
    };
    let model = |number| ModelPin {
        name: format!("model-{number}"),
        version: "1".to_owned(),
        file: digest(MODEL),
        providers: vec![FAST.to_owned(), SLOW.to_owned()],
        provider: FAST.to_owned(),
        refused: Vec::new(),
        signature: Signature {
            inputs: vec![port("rows".to_owned())],
            outputs: (0..=number)
                .map(|output| port(format!("out-{output}")))
                .collect(),
        },
        batching: match random.chance(2, 3) {
            true => Batching::Joined,
            false => Batching::Alone("its rows are not independent".to_owned()),
        },
        settings: ModelSettings {
            max_batch: random.within(2..=8),
            latency_ticks: random.within(1..=3),
            on_mismatch: OnMismatch::Reject,
            ..ModelSettings::default()
        },
    };
    let mut models: Vec<ModelPin> = (0..models).map(model).collect();
    // Drawn from a stream of its own, so that the rest of a fleet stays what its seed has always made it.
    let mut random = TestRng::for_purpose(seed, 5);
    if let Some(last) = models.last_mut()
        && random.chance(1, 2)
    {
        last.settings.generator = Some(Generator {
            max_concurrent_generations: u32::try_from(random.within(1..=4)).expect("few"),
            tokens_per_tick: u32::try_from(random.within(1..=3)).expect("few"),
            context_length: None,
            cache_bytes: 1 << 20,
        });
        (last.signature, last.settings.latency_ticks) = (generation::signature(), 1);
    }
    RunHeader {
        lockstep: "0.1.0".to_owned(),
        wasmtime: "48.0.8".to_owned(),
        fleet: "simulated".to_owned(),
        seed,
        canonical_nan: true,
        max_step_bytes: limit::STEP_BYTES as u64,
        agents,
        changes: changes(seed, models.len(), ticks),
        engine: (!models.is_empty()).then(|| EnginePin {
            name: "a simulated engine".to_owned(),
            library: [7; 32],
            intra_op_threads: 1,
        }),
        models,
    }
}

fn launch(
    random: &mut TestRng,
    header: &RunHeader,
    isolated: &[bool],
    layout: &Placement,
    ticks: u64,
) -> LaunchSettings {
    let alone = header
        .agents
        .iter()
        .zip(isolated)
        .filter(|(_, alone)| **alone);
    LaunchSettings {
        fleet: "simulated".to_owned(),
        hosts: u32::try_from(layout.hosts).expect("few"),
        isolated: alone.map(|(pin, _)| pin.name.clone()).collect(),
        durability: random.pick(&[Durability::Process, Durability::Batch, Durability::Sync]),
        ticks: Some(ticks),
        strict_providers: false,
        deadline_ms: 250,
        agent_ready_ms: 2_000,
        inference_ready_ms: 30_000,
        load_ms: 60_000,
        checkpoint_ticks: random.within(2..=16),
        checkpoint_min_ms: 0,
        checkpoints_kept: 3,
        // Faults are far more frequent here than anywhere: what is to be transparent is not given up.
        restarts: RestartLimits {
            host: 40,
            host_seconds: 30,
            run: 200,
            run_seconds: 60,
            quarantine_after: u32::try_from(random.within(3..=5)).expect("few"),
        },
        hot_standby: random.chance(1, 3),
        pace: pace(header.seed),
        on_provider_lost: OnProviderLost::Fallback,
    }
}

/// The pace of a run: of one in eight, a rate at which ticks wait.
fn pace(seed: u64) -> Pace {
    let mut random = TestRng::for_purpose(seed, 17);
    match random.chance(1, 8) {
        true => Pace::MilliHertz(random.within(20_000..=1_000_000)),
        false => Pace::Free,
    }
}

fn orders(header: &RunHeader, layout: Placement) -> HostConfig {
    let nothing = Extent {
        offset: 0,
        bytes: 0,
    };
    let load = |(number, pin): (usize, &AgentPin)| agents::LoadAgent {
        agent: AgentId::from_index(number),
        artifact: nothing,
        settings: pin.settings.clone(),
        fuel: pin.fuel,
        memory_bytes: pin.memory_bytes,
        on_failure: pin.on_failure,
        may_finish: pin.may_finish,
        restored: false,
    };
    let version =
        |(number, ModelVersion { model, pin, .. }): (usize, &ModelVersion)| inference::LoadModel {
            version: VersionId::from_index(number),
            model: *model,
            keep: timeline(header, *model).at(Tick(1)).version
                == Some(VersionId::from_index(number)),
            name: match number < header.models.len() {
                true => pin.name.clone(),
                false => version_title(&pin.name, &pin.version),
            },
            artifact: nothing,
            providers: pin.providers.clone(),
            strict_providers: false,
            may_batch: true,
            memory_bytes: 0,
            generator: pin.settings.generator,
        };
    HostConfig {
        placement: layout,
        agent_setup: agents::AgentSetup {
            random_key: [3; 32],
            canonical_nan: true,
            max_step_bytes: limit::STEP_BYTES as u64,
            agents: header.agents.iter().map(|pin| pin.name.clone()).collect(),
            models: header.models.iter().map(|pin| pin.name.clone()).collect(),
        },
        loads: header.agents.iter().enumerate().map(load).collect(),
        start: agents::StartAgents {
            models: ports(header),
        },
        engine: inference::EngineSetup {
            library: None,
            intra_op_threads: 1,
            loads_drivers_later: false,
        },
        versions: versions(header).iter().enumerate().map(version).collect(),
    }
}
