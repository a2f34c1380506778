//! The hosts of a simulated run: all of them in one thread, with their own time.
//!
//! What the supervisor sends is executed at once, and what comes of it is heard
//! later, after a delay that the seed draws. A host publishes in order, and two
//! hosts in any order. Whatever the supervisor may not do is a panic here, and
//! with it a failure of the run.

mod host_action;
mod incarnation;

use super::agent_host::AgentHost;
use super::engine_host::EngineHost;
use super::fleet::Fleet;
use super::host_faults::{HostFault, HostFaults};
use super::reply::{Done, Reply};
use crate::event_loop::Hosts;
use crate::host::{HostEvent, HostKind, HostSetError, decoded};
use incarnation::{Inside, Life, Place, SimHostEvent};
use shm_protocol::agent_to_supervisor::{
    AWAIT_REQUESTS, AwaitRequests, OUTCOMES, Outcomes, READY, Ready,
};
use shm_protocol::id::{AgentId, HostId, Incarnation, Tick};
use shm_protocol::ring::{PushError, RecordHeader, RingViolation};
use shm_protocol::supervisor_to_inference::{self as inference, LoadModel};
use shm_protocol::{codec, supervisor_to_agent as agents};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use test_support::TestRng;

/// What was seen of the hosts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Things that hosts did.
    pub(super) actions: u64,
    /// What went wrong, and how often.
    pub(super) host_faults: BTreeMap<HostFault, u64>,
    /// The same, in words.
    pub(super) story: Vec<String>,
    /// How often the supervisor was to hear of the loss of each host.
    pub(super) losses: BTreeMap<HostId, u64>,
}

/// The last tick that each agent has answered in any life of any host, over all lives of the supervisor.
pub(super) type Answered = BTreeMap<AgentId, Tick>;

/// What agents have waited for in this life of the supervisor, by tick, agent and number.
pub(super) type Waited = BTreeSet<(Tick, AgentId, u32)>;

/// The hosts of a simulated run.
#[derive(Debug)]
pub(super) struct SimHosts<'fleet> {
    fleet: &'fleet Fleet,
    with_engine: bool,
    random: TestRng,
    pub(super) host_faults: HostFaults,
    pub(super) answered: Answered,
    waited: Waited,
    now: Duration,
    places: Vec<Place>,
    next_incarnation: u32,
    /// An agent host that stands ready to take another's place.
    has_spare: bool,
    payload: Vec<u8>,
    /// Somebody asks for the end once hosts have done so many things.
    stop_after: Option<u64>,
    /// What the engine was asked, by the number of the batch.
    batches: BTreeMap<u64, Vec<u8>>,
    waits: u64,
    /// How often the engine was started again.
    engine_starts: u64,
    /// The number of the memory in which the next one finds its models.
    model_memory: u64,
    /// Whether who runs models may be gone at some time.
    pub(super) may_lose: bool,
    /// The next step that is executed again comes to something else.
    pub(super) misremembers: bool,
    pub(super) seen: Seen,
}

/// Times that the supervisor may wait in one run. More are taken for a run that never ends.
const MAX_WAITS: u64 = 200_000;

impl<'fleet> SimHosts<'fleet> {
    /// Hosts that are ready and were told to start, the engine with its models and the agent hosts with their agents,
    /// or without any, as when a run goes on.
    pub(super) fn assembled(
        fleet: &'fleet Fleet,
        with_agents: bool,
        with_engine: bool,
        random: TestRng,
        host_faults: HostFaults,
    ) -> SimHosts<'fleet> {
        let with_engine = with_engine && fleet.has_models();
        let layout = &fleet.orders.placement;
        let agent_hosts = (0..layout.hosts).map(HostId::from_index).map(|host| {
            Inside::Agents(match with_agents {
                true => AgentHost::loaded(fleet, layout.agents_of(host)),
                false => AgentHost::default(),
            })
        });
        let engine =
            with_engine.then(|| Inside::Engine(EngineHost::loaded(&fleet.orders.versions)));
        let insides: Vec<Inside> = agent_hosts.chain(engine).collect();
        let place = |(position, inside)| Place {
            life: Some(Life {
                is_welcome: true,
                ..Life::new(Incarnation(position), inside)
            }),
            ..Place::default()
        };
        let next_incarnation = u32::try_from(insides.len()).expect("few") + 1;
        SimHosts {
            fleet,
            with_engine,
            random,
            host_faults,
            answered: Answered::new(),
            waited: Waited::new(),
            now: Duration::ZERO,
            places: (1..).zip(insides).map(place).collect(),
            next_incarnation,
            has_spare: false,
            payload: Vec::new(),
            stop_after: None,
            batches: BTreeMap::new(),
            waits: 0,
            engine_starts: 0,
            model_memory: 0,
            may_lose: true,
            misremembers: false,
            seen: Seen::default(),
        }
    }

    /// Somebody asks for the end once hosts have done so many things.
    pub(super) fn stop_after(&mut self, actions: u64) {
        self.stop_after = Some(actions);
    }

    /// The engine has loaded these versions instead of those that a run begins with.
    pub(super) fn has_loaded(&mut self, loads: &[LoadModel]) {
        if let Some(host) = self.inference_host() {
            self.life(host).inside = Inside::Engine(EngineHost::loaded(loads));
        }
    }

    /// The engine, started again.
    fn engine_again(&mut self) -> EngineHost {
        self.engine_starts += 1;
        let lost = self.fleet.loses_provider.filter(|_| self.may_lose);
        let has_lost = lost.is_some_and(|after| self.engine_starts > after);
        EngineHost::losing(has_lost, self.model_memory)
    }

    fn life(&mut self, host: HostId) -> &mut Life {
        let life = self.places[host.index()].life.as_mut();
        life.unwrap_or_else(|| panic!("host {host} is spoken to, and there is none"))
    }

    /// Whether a host is there to hear; one that has exited is not, and tells so at times.
    fn hears(&mut self, host: HostId) -> Result<bool, HostSetError> {
        let tells = self.random.chance(1, 2);
        let life = self.life(host);
        assert!(
            life.is_welcome,
            "host {host} is told something before it was welcome"
        );
        match (life.is_doomed, tells) {
            (true, true) if life.is_gone() => Err(HostSetError::Gone { host }),
            (doomed, _) => Ok(!doomed),
        }
    }

    /// The host whose next event comes first.
    fn earliest(&self) -> Option<(Duration, usize)> {
        let next =
            |(position, place): (usize, &Place)| Some((place.life.as_ref()?.next_at()?, position));
        self.places.iter().enumerate().filter_map(next).min()
    }

    fn remember_answered(&mut self, header: &RecordHeader) {
        if header.kind == AWAIT_REQUESTS {
            let parked = codec::decode_record::<AwaitRequests>(&self.payload);
            let waits = parked.into_iter().flat_map(|parked| parked.requests);
            self.waited
                .extend(waits.map(|wait| (header.tick, wait.agent, wait.number)));
        }
        if header.kind != OUTCOMES {
            return;
        }
        let outcomes = codec::decode_record::<Outcomes>(&self.payload);
        for outcome in outcomes.into_iter().flat_map(|outcomes| outcomes.outcomes) {
            let answered = self.answered.entry(outcome.agent).or_default();
            *answered = header.tick.max(*answered);
        }
    }
}

impl Hosts for SimHosts<'_> {
    fn agent_hosts(&self) -> usize {
        self.fleet.orders.placement.hosts
    }

    fn inference_host(&self) -> Option<HostId> {
        self.with_engine
            .then(|| HostId::from_index(self.agent_hosts()))
    }

    fn clock(&mut self) -> Duration {
        self.now
    }

    fn next(&mut self, patience: Duration) -> Result<HostEvent, HostSetError> {
        self.waits += 1;
        assert!(self.waits < MAX_WAITS, "the run does not end");
        if self.stop_asked()? {
            return Ok(HostEvent::StopRequested);
        }
        let until = self.now + patience;
        let Some((at, position)) = self.earliest().filter(|(at, _)| *at <= until) else {
            self.now = until;
            return Ok(HostEvent::TimedOut);
        };
        self.now = self.now.max(at);
        let host = HostId::from_index(position);
        let life = self.life(host);
        let event = life.hear().expect("it was the earliest");
        let incarnation = life.incarnation;
        Ok(match event {
            SimHostEvent::Record(reply) => {
                let header = RecordHeader {
                    incarnation,
                    ..reply.header
                };
                self.payload = reply.payload;
                self.remember_answered(&header);
                HostEvent::Record { host, header }
            }
            SimHostEvent::InvalidRing => HostEvent::InvalidRing {
                host,
                violation: RingViolation {
                    position: 64,
                    reason: "the sequence is not the one that comes next",
                },
            },
            SimHostEvent::Exited(status) => {
                life.has_exited = true;
                let status = ExitStatus::from_raw(status);
                HostEvent::Exited { host, status }
            }
        })
    }

    fn stop_asked(&mut self) -> Result<bool, HostSetError> {
        let asked = self
            .stop_after
            .is_some_and(|after| self.seen.actions >= after);
        if asked {
            self.stop_after = None;
        }
        Ok(asked)
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn take_payload(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.payload)
    }

    fn most_payload_bytes(&self, host: HostId) -> usize {
        // Small for some hosts, so that steps are sent in parts. A single step is never too large.
        if (self.fleet.seed + u64::from(host.0)).is_multiple_of(2) {
            256
        } else {
            1 << 20
        }
    }

    fn try_push(
        &mut self,
        host: HostId,
        header: &RecordHeader,
        payload_bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<bool, PushError> {
        let now = self.now;
        let life = self.life(host);
        assert!(
            life.is_welcome,
            "host {host} gets a record before it was welcome"
        );
        if life.full_until > now {
            return Ok(false);
        }
        let payload: Vec<u8> = parts.flatten().copied().collect();
        assert_eq!(
            payload.len(),
            payload_bytes,
            "the parts make up the payload"
        );
        if life.is_doomed {
            return Ok(true);
        }
        if header.kind == inference::INPUT {
            let asked = self
                .batches
                .entry(header.correlation)
                .or_insert_with(|| payload.clone());
            assert_eq!(
                *asked, payload,
                "batch {} is submitted again, and is another",
                header.correlation
            );
        }
        let (fleet, mut random) = (self.fleet, self.random.clone());
        let done = match &mut self.life(host).inside {
            Inside::Agents(inside) => inside.take(fleet, header, &payload, &mut random),
            Inside::Engine(inside) => inside.take(fleet, header, &payload),
        };
        self.random = random;
        self.done(host, done);
        Ok(true)
    }

    fn notify(&mut self, _host: HostId) {}

    fn progress(&self, host: HostId) -> u64 {
        let life = self.places[host.index()].life.as_ref();
        let until = life.map_or(Duration::ZERO, |life| life.reports_until);
        u64::try_from(self.now.min(until).as_millis()).expect("a short run")
    }

    fn is_ready(&self, host: HostId) -> bool {
        let life = self.places[host.index()].life.as_ref();
        life.is_some_and(|life| life.is_welcome)
    }

    fn ensure_standby(&mut self) -> bool {
        self.has_spare = self.fleet.launch.hot_standby;
        true
    }

    fn spawn(&mut self, host: HostId) -> Result<Incarnation, HostSetError> {
        let place = &mut self.places[host.index()];
        assert!(
            place.life.is_none(),
            "host {host} is started, and the last one was not ended"
        );
        if place.refusals > 0 {
            place.refusals -= 1;
            *self.seen.losses.entry(host).or_default() += 1;
            return Err(HostSetError::TimedOut { seconds: 0.0 });
        }
        let inside = match self.inference_host() == Some(host) {
            true => Inside::Engine(self.engine_again()),
            false => Inside::Agents(AgentHost::default()),
        };
        let incarnation = Incarnation(self.next_incarnation);
        self.next_incarnation += 1;
        let is_spare = self.kind(host) == HostKind::Agents && std::mem::take(&mut self.has_spare);
        self.places[host.index()].life = Some(Life {
            is_welcome: is_spare,
            ..Life::new(incarnation, inside)
        });
        if is_spare {
            return Ok(incarnation);
        }
        let ready = Ready {
            protocol: codec::VERSION,
            confinement: Vec::new(),
        };
        self.done(
            host,
            Done::of(vec![Reply::encoded(
                RecordHeader::new(READY, Tick::ZERO),
                &ready,
            )]),
        );
        Ok(incarnation)
    }

    fn complete_handshake(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), HostSetError> {
        let kind = self.kind(host);
        let ready: Ready = decoded(kind, host, header, READY, &self.payload)?;
        assert_eq!(ready.protocol, codec::VERSION);
        let life = self.life(host);
        assert!(!life.is_welcome, "host {host} is welcomed twice");
        if life.is_gone() {
            return Err(HostSetError::Gone { host });
        }
        life.is_welcome = true;
        Ok(())
    }

    fn command_agents(
        &mut self,
        host: HostId,
        command: agents::AgentCommand,
    ) -> Result<(), HostSetError> {
        if !self.hears(host)? {
            return Ok(());
        }
        let fleet = self.fleet;
        let Inside::Agents(inside) = &mut self.life(host).inside else {
            panic!("host {host} is the engine, and gets a command for agents");
        };
        let done = inside.obey(fleet, &command);
        self.done(host, done);
        Ok(())
    }

    fn command_inference(
        &mut self,
        command: inference::InferenceCommand,
    ) -> Result<(), HostSetError> {
        let host = self
            .inference_host()
            .expect("there is an engine to command");
        if !self.hears(host)? {
            return Ok(());
        }
        let fleet = self.fleet;
        let Inside::Engine(inside) = &mut self.life(host).inside else {
            panic!("host {host} is no engine");
        };
        let done = inside.obey(fleet, &command);
        self.done(host, done);
        Ok(())
    }

    fn started(&mut self, host: HostId) -> Result<(), HostSetError> {
        assert!(self.life(host).is_welcome);
        Ok(())
    }

    fn set_models(&mut self, memory: OwnedFd) {
        let length = File::from(memory).metadata().map(|found| found.len());
        self.model_memory = length.expect("a memory has a length");
    }

    fn retire_engine(&mut self, host: HostId) {
        // What was wrong with it is never told.
        self.places[host.index()].life = None;
    }

    fn end(&mut self, host: HostId) -> String {
        // A start that was refused has been counted.
        if let Some(life) = self.places[host.index()].life.take() {
            assert!(
                life.is_doomed || life.is_suspect,
                "incarnation {} of {} {host} is ended, and nothing was wrong with it",
                life.incarnation,
                self.kind(host)
            );
            *self.seen.losses.entry(host).or_default() += 1;
        }
        String::new()
    }
}
