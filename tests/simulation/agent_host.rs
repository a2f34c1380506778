//! A simulated agent host: it obeys the commands and records that a real one
//! obeys, and does not forgive any that a real one would not understand.

use super::agent::{Agent, Surroundings};
use super::fleet::Fleet;
use super::random::Random;
use super::reply::{Done, Reply};
use shm_protocol::agent_state::{RESTORE, SNAPSHOT, STATE, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{LOADED, Loaded, OUTCOMES, Outcome, Outcomes};
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_agent::{Command, Load, STEPS, Steps};
use shm_protocol::{codec, limit};
use std::collections::BTreeMap;

/// One agent in a host.
#[derive(Debug)]
struct Seat {
    /// None until it is restored.
    agent: Option<Agent>,
    /// Records of the state that it is being restored to.
    restoring: Vec<StateRecord>,
    /// The last tick that its state contains.
    contains: Tick,
}

/// One incarnation of an agent host.
#[derive(Debug, Default)]
pub(super) struct AgentHost {
    is_set_up: bool,
    is_started: bool,
    seats: BTreeMap<AgentId, Seat>,
}

impl AgentHost {
    /// One that has its agents and has been told to start, as at the beginning of a run.
    pub(super) fn loaded(fleet: &Fleet, agents: impl Iterator<Item = AgentId>) -> AgentHost {
        let seat = |agent| (agent, Seat::new(Agent::new(agent, fleet.character(agent))));
        AgentHost {
            is_set_up: true,
            is_started: true,
            seats: agents.map(seat).collect(),
        }
    }

    pub(super) fn obey(&mut self, fleet: &Fleet, command: &Command) -> Done {
        match command {
            Command::Setup(setup) => {
                assert!(!self.is_set_up, "an agent host is set up once");
                assert_eq!(*setup, fleet.orders.setup);
                self.is_set_up = true;
                Done::silent()
            }
            Command::Load(load) => Done::of(vec![self.load(fleet, load)]),
            Command::Start(start) => {
                assert!(
                    self.is_set_up && !self.is_started,
                    "a host is set up, then started, once"
                );
                assert_eq!(*start, fleet.orders.start);
                self.is_started = true;
                Done::silent()
            }
            Command::Drain => panic!("nobody drains a host while a run goes on"),
        }
    }

    fn load(&mut self, fleet: &Fleet, load: &Load) -> Reply {
        assert!(
            self.is_set_up && !self.is_started,
            "agents are loaded between setup and start"
        );
        let expected = Load {
            restored: load.restored,
            ..fleet.orders.loads[load.agent.index()].clone()
        };
        assert_eq!(*load, expected, "a host is told the same each time");
        let character = fleet.character(load.agent);
        let seat = match load.restored {
            true => Seat {
                agent: None,
                restoring: Vec::new(),
                contains: Tick::ZERO,
            },
            false => Seat::new(Agent::new(load.agent, character)),
        };
        assert!(
            self.seats.insert(load.agent, seat).is_none(),
            "an agent is loaded once"
        );
        assert!(
            !(load.restored && character.opaque),
            "nobody has the state of an opaque agent"
        );
        Reply::encoded(
            Header::new(LOADED, Tick::ZERO),
            &Loaded {
                agent: load.agent,
                logs: Vec::new(),
                result: Ok(()),
                opaque: character.opaque.then(|| "it is opaque".to_owned()),
            },
        )
    }

    pub(super) fn take(
        &mut self,
        fleet: &Fleet,
        header: &Header,
        payload: &[u8],
        random: &mut Random,
    ) -> Done {
        assert!(
            self.is_started,
            "a record of kind {} before the start",
            header.kind
        );
        match header.kind {
            STEPS => self.step(fleet, header.tick, payload, random),
            SNAPSHOT => self.snapshot(fleet, header.tick, payload, random),
            RESTORE => {
                self.restore(header, payload);
                Done::silent()
            }
            kind => panic!("a record of kind {kind} goes down to an agent host"),
        }
    }

    fn step(&mut self, fleet: &Fleet, tick: Tick, payload: &[u8], random: &mut Random) -> Done {
        let Steps { steps } = decode(payload);
        let mut outcomes = Vec::new();
        let mut dies = false;
        for step in steps {
            let number = step.agent;
            let character = fleet.character(number);
            let pin = &fleet.header.agents[number.index()];
            let seat = self.seats.get_mut(&number);
            let seat = seat.unwrap_or_else(|| panic!("agent {number} is stepped and not loaded"));
            let due = (seat.contains.0 / pin.every + 1) * pin.every;
            assert_eq!(
                tick.0, due,
                "agent {number}, whose state contains tick {}, is stepped in another tick than its next",
                seat.contains
            );
            let agent = seat.agent.as_mut();
            let agent =
                agent.unwrap_or_else(|| panic!("agent {number} is stepped, and lacks its state"));
            if character.poison == Some(tick) {
                dies = true;
                break;
            }
            let around = Surroundings {
                writer: fleet.writer(),
                agents: fleet.characters.len(),
                models: fleet.header.models.len(),
                on_failure: pin.on_failure,
            };
            outcomes.push(agent.step(tick, &step, character, &around));
            seat.contains = tick;
        }
        Done {
            replies: grouped(tick, outcomes, random),
            dies,
        }
    }

    fn restore(&mut self, header: &Header, payload: &[u8]) {
        let record: StateRecord = decode(payload);
        let number = record.agent;
        assert_eq!(
            number.0, header.subject,
            "a state belongs to the agent that its record names"
        );
        let seat = self.seats.get_mut(&number);
        let seat = seat.unwrap_or_else(|| panic!("agent {number} is restored and not loaded"));
        assert!(
            seat.agent.is_none(),
            "agent {number} is restored and has its state"
        );
        assert_eq!(
            record.is_last,
            header.correlation == 1,
            "header and payload say what is last"
        );
        let is_last = record.is_last;
        seat.restoring.push(record);
        if is_last {
            seat.agent = Some(Agent::restored(&std::mem::take(&mut seat.restoring)));
            seat.contains = header.tick;
        }
    }

    fn snapshot(&mut self, fleet: &Fleet, tick: Tick, payload: &[u8], random: &mut Random) -> Done {
        let Snapshot { full } = decode(payload);
        let mut replies = Vec::new();
        for (number, seat) in &mut self.seats {
            if fleet.character(*number).opaque {
                continue;
            }
            let agent = seat.agent.as_mut();
            let agent = agent.unwrap_or_else(|| panic!("agent {number} gives a state it lacks"));
            let per_record = random.pick(&[1, 2, 256]);
            for record in agent.snapshot(full, per_record) {
                let mut header = Header::new(STATE, tick);
                header.subject = number.0;
                header.correlation = u64::from(record.is_last);
                replies.push(Reply::encoded(header, &record));
            }
        }
        Done::of(replies)
    }
}

impl Seat {
    fn new(agent: Agent) -> Seat {
        Seat {
            agent: Some(agent),
            restoring: Vec::new(),
            contains: Tick::ZERO,
        }
    }
}

/// Outcomes in one record or in several.
fn grouped(tick: Tick, outcomes: Vec<Outcome>, random: &mut Random) -> Vec<Reply> {
    let per_record = random.pick(&[1, 2, usize::MAX]);
    let record = |outcomes: &[Outcome]| {
        let outcomes = outcomes.to_vec();
        Reply::encoded(Header::new(OUTCOMES, tick), &Outcomes { outcomes })
    };
    outcomes.chunks(per_record).map(record).collect()
}

fn decode<T: bincode::Decode<()>>(payload: &[u8]) -> T {
    codec::decode::<T, { limit::RECORD_BYTES }>(payload)
        .expect("the supervisor speaks the protocol")
}
