//! A simulated agent host: it obeys the commands and records that a real one
//! obeys, and does not forgive any that a real one would not understand.

use super::agent::{Agent, Surroundings};
use super::fleet::Fleet;
use super::reply::{Done, Ends, Reply};
use shm_protocol::agent_state::{RESTORE, SNAPSHOT, STATE, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{
    AGENT_LOADED, AWAIT_REQUESTS, AgentLoaded, AwaitRequest, AwaitRequests, OUTCOMES, Outcome,
    Outcomes,
};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{
    AWAIT_RESULTS, AgentCommand, AwaitResult, AwaitResults, LoadAgent, RequestResult, STEPS, Step,
    Steps,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use test_support::TestRng;

/// One agent in a host.
#[derive(Debug, Default)]
struct Seat {
    /// None until it is restored.
    agent: Option<Agent>,
    /// Records of the state that it is being restored to.
    restoring: Vec<StateRecord>,
    /// The last tick that its state contains.
    contains: Tick,
    /// Answers that came before the step that asks for them, and those that it has got.
    answers: Vec<Arc<RequestResult>>,
    /// The step in which it waits.
    parked: Option<Step>,
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

    pub(super) fn obey(&mut self, fleet: &Fleet, command: &AgentCommand) -> Done {
        match command {
            AgentCommand::Setup(setup) => {
                assert!(!self.is_set_up, "an agent host is set up once");
                assert_eq!(*setup, fleet.orders.agent_setup);
                self.is_set_up = true;
                Done::silent()
            }
            AgentCommand::Load(load) => Done::of(vec![self.load(fleet, load)]),
            AgentCommand::Start(start) => {
                assert!(
                    self.is_set_up && !self.is_started,
                    "a host is set up, then started, once"
                );
                assert_eq!(*start, fleet.orders.start);
                self.is_started = true;
                Done::silent()
            }
            AgentCommand::Drain => panic!("nobody drains a host while a run goes on"),
        }
    }

    fn load(&mut self, fleet: &Fleet, load: &LoadAgent) -> Reply {
        assert!(
            self.is_set_up && !self.is_started,
            "agents are loaded between setup and start"
        );
        let expected = LoadAgent {
            restored: load.restored,
            ..fleet.orders.loads[load.agent.index()].clone()
        };
        assert_eq!(*load, expected, "a host is told the same each time");
        let character = fleet.character(load.agent);
        let seat = match load.restored {
            true => Seat {
                agent: None,
                ..Seat::default()
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
            RecordHeader::new(AGENT_LOADED, Tick::ZERO),
            &AgentLoaded {
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
        header: &RecordHeader,
        payload: &[u8],
        random: &mut TestRng,
    ) -> Done {
        assert!(
            self.is_started,
            "a record of kind {} before the start",
            header.kind
        );
        match header.kind {
            STEPS => self.step(fleet, header.tick, payload, random),
            AWAIT_RESULTS => self.answer(fleet, header.tick, payload, random),
            SNAPSHOT => self.snapshot(fleet, header.tick, payload, random),
            RESTORE => {
                self.restore(header, payload);
                Done::silent()
            }
            kind => panic!("a record of kind {kind} goes down to an agent host"),
        }
    }

    fn step(&mut self, fleet: &Fleet, tick: Tick, payload: &[u8], random: &mut TestRng) -> Done {
        let Steps { steps } = decode(payload);
        let mut said = Said::default();
        for step in steps {
            let number = step.agent;
            let pin = &fleet.header.agents[number.index()];
            let seat = self.seat(number);
            let due = (seat.contains.0 / pin.every + 1) * pin.every;
            assert_eq!(
                tick.0, due,
                "agent {number}, whose state contains tick {}, is stepped in another tick than its next",
                seat.contains
            );
            assert!(
                seat.parked.is_none(),
                "agent {number} is stepped within its step"
            );
            if seat.go_on(fleet, tick, step, &mut said) {
                return said.published(tick, random, fleet.ends_at(number));
            }
        }
        said.published(tick, random, Ends::No)
    }

    fn answer(&mut self, fleet: &Fleet, tick: Tick, payload: &[u8], random: &mut TestRng) -> Done {
        let AwaitResults { answers } = decode(payload);
        let mut said = Said::default();
        for answer in answers {
            let AwaitResult {
                agent,
                number,
                outcome,
            } = answer;
            let seat = self.seat(agent);
            assert_eq!(
                number as usize,
                seat.answers.len(),
                "agent {agent} gets an answer out of turn"
            );
            seat.answers.push(outcome);
            if let Some(step) = seat.parked.take()
                && seat.go_on(fleet, tick, step, &mut said)
            {
                return said.published(tick, random, fleet.ends_at(agent));
            }
        }
        said.published(tick, random, Ends::No)
    }

    fn seat(&mut self, agent: AgentId) -> &mut Seat {
        let seat = self.seats.get_mut(&agent);
        seat.unwrap_or_else(|| panic!("agent {agent} is spoken of and not loaded"))
    }

    fn restore(&mut self, header: &RecordHeader, payload: &[u8]) {
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

    fn snapshot(
        &mut self,
        fleet: &Fleet,
        tick: Tick,
        payload: &[u8],
        random: &mut TestRng,
    ) -> Done {
        let Snapshot { full } = decode(payload);
        let mut replies = Vec::new();
        for (number, seat) in &mut self.seats {
            if fleet.character(*number).opaque {
                continue;
            }
            assert!(
                seat.parked.is_none() && seat.answers.is_empty(),
                "agent {number} is asked for its state within its step"
            );
            let agent = seat.agent.as_mut();
            let agent = agent.unwrap_or_else(|| panic!("agent {number} gives a state it lacks"));
            let per_record = random.pick(&[1, 2, 256]);
            for record in agent.snapshot(full, per_record) {
                let mut header = RecordHeader::new(STATE, tick);
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
            ..Seat::default()
        }
    }
}

impl Seat {
    /// Takes a step as far as there are answers. Whether that ends the host.
    fn go_on(&mut self, fleet: &Fleet, tick: Tick, step: Step, said: &mut Said) -> bool {
        let number = step.agent;
        let character = fleet.character(number);
        // Nobody waits for a language model.
        let plain = fleet.header.models.len() - usize::from(fleet.writer().is_some());
        let is_poison = character.poison.is_some_and(|(at, _)| at == tick);
        let around = Surroundings {
            agents: fleet.characters.len(),
            models: fleet.header.models.len(),
            writer: fleet.writer(),
            on_failure: fleet.header.agents[number.index()].on_failure,
            may_finish: fleet.header.agents[number.index()].may_finish,
            waits_for: plain,
        };
        let agent = self.agent.as_ref();
        let agent =
            agent.unwrap_or_else(|| panic!("agent {number} is stepped, and lacks its state"));
        let mut gone_on = agent.clone();
        match gone_on.step(tick, &step, character, &around, &self.answers) {
            Err(awaiting) => {
                said.waits.push(AwaitRequest {
                    agent: number,
                    number: u32::try_from(self.answers.len()).expect("few"),
                    model: awaiting.model,
                    inputs: awaiting.inputs,
                });
                self.parked = Some(step);
            }
            Ok(_) if is_poison => return true,
            Ok(outcome) => {
                said.outcomes.push(outcome);
                self.agent = Some(gone_on);
                self.answers.clear();
                self.contains = tick;
            }
        }
        false
    }
}

/// What a host says of the steps of a tick.
#[derive(Default)]
struct Said {
    outcomes: Vec<Outcome>,
    waits: Vec<AwaitRequest>,
}

impl Said {
    /// Each kind in one record or in several.
    fn published(self, tick: Tick, random: &mut TestRng, ends: Ends) -> Done {
        let per_record = random.pick(&[1, 2, usize::MAX]);
        let outcomes = |outcomes: &[Outcome]| {
            let outcomes = outcomes.to_vec();
            Reply::encoded(RecordHeader::new(OUTCOMES, tick), &Outcomes { outcomes })
        };
        let waits = |waits: &[AwaitRequest]| {
            let waits = waits.to_vec();
            Reply::encoded(
                RecordHeader::new(AWAIT_REQUESTS, tick),
                &AwaitRequests { requests: waits },
            )
        };
        let outcomes = self.outcomes.chunks(per_record).map(outcomes);
        let replies = outcomes.chain(self.waits.chunks(per_record).map(waits));
        Done {
            replies: replies.collect(),
            ends,
        }
    }
}

fn decode<T: bincode::Decode<()>>(payload: &[u8]) -> T {
    codec::decode_record::<T>(payload).expect("the supervisor speaks the protocol")
}
