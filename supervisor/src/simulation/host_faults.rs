//! What goes wrong with hosts, and when: drawn from a seed, before the run begins.

use super::fleet::Fleet;
use super::hosts::{Answered, Waited};
use super::reply::Reply;
use bincode::Encode;
use shm_protocol::agent_state::STATE;
use shm_protocol::agent_to_supervisor::{
    AGENT_LOADED, AWAIT_REQUESTS, AgentLoaded, AwaitRequest, AwaitRequests, Blame, Effect, FAILURE,
    Failure, OUTCOMES, Outcome, Outcomes, READY, Status,
};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, ModelId, RequestId, Tick};
use shm_protocol::inference_to_supervisor::{LoadRefused, MODEL_LOADED, ModelLoaded, OUTPUT};
use shm_protocol::ring::RecordHeader;
use shm_protocol::tensor::DType;
use std::collections::VecDeque;
use std::sync::Arc;
use test_support::TestRng;

/// Something that goes wrong while a host does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostFault {
    /// It dies, with some of its answer published, or all, or nothing.
    Dies,
    /// It goes on for a while and dies whenever.
    DiesLater,
    /// It says nothing more, after some of its answer.
    Hangs,
    /// It takes long, but not too long.
    IsSlow,
    /// It takes longer than its deadline, and reports progress all the while.
    WorksForLong,
    /// What it writes into its ring is no record.
    Garbage,
    /// A record of it does not decode.
    Undecodable,
    /// A record of it decodes, and no sound host says it.
    Lies,
    /// It says why it cannot go on, and ends.
    Fails,
    /// It refuses what it is to load.
    RefusesToLoad,
    /// It dies, and cannot be started some times.
    DiesAndIsNotStarted,
    /// All hosts die.
    AllDie,
    /// What it says of an agent's state is wrong, which nobody notices before it is needed.
    SpoilsState,
}

impl HostFault {
    const ANYWHERE: [HostFault; 9] = [
        HostFault::Dies,
        HostFault::DiesLater,
        HostFault::Hangs,
        HostFault::IsSlow,
        HostFault::WorksForLong,
        HostFault::Garbage,
        HostFault::Fails,
        HostFault::DiesAndIsNotStarted,
        HostFault::AllDie,
    ];

    /// Something that can go wrong where a host is about to answer this.
    pub(super) fn choose(random: &mut TestRng, replies: &[Reply]) -> HostFault {
        let mut possible = HostFault::ANYWHERE.to_vec();
        let answers = |kind| {
            replies
                .iter()
                .any(|reply: &Reply| reply.header.kind == kind)
        };
        if answers(OUTCOMES)
            || answers(AWAIT_REQUESTS)
            || answers(AGENT_LOADED)
            || answers(MODEL_LOADED)
        {
            possible.push(HostFault::Undecodable);
        }
        if answers(OUTCOMES) || answers(AWAIT_REQUESTS) || answers(OUTPUT) {
            possible.extend([HostFault::Lies; 3]);
        }
        if answers(AGENT_LOADED) || answers(MODEL_LOADED) {
            possible.push(HostFault::RefusesToLoad);
        }
        if answers(STATE) {
            possible.extend([HostFault::SpoilsState, HostFault::Lies]);
        }
        random.pick(&possible)
    }
}

/// What goes wrong with the hosts of a run, one after the other.
#[derive(Clone, Debug)]
pub(super) struct HostFaults {
    /// For each, how many things hosts do after the one before.
    left: VecDeque<u64>,
    /// What hosts have done since the last one.
    since: u64,
    pub(super) random: TestRng,
}

impl HostFaults {
    /// As many as this, in a run in which hosts do so many things.
    pub(super) fn drawn(mut random: TestRng, count: u64, actions: u64) -> HostFaults {
        let share = (actions / (count + 1)).max(1);
        let mut left: VecDeque<u64> = (0..count)
            .map(|_| match random.chance(1, 2) {
                // Soon after the one before: while it is being mended.
                true => random.below(24),
                false => random.below(2 * share),
            })
            .collect();
        if let Some(first) = left.front_mut() {
            *first = random.below(actions.max(1));
        }
        HostFaults {
            left,
            since: 0,
            random,
        }
    }

    pub(super) fn none() -> HostFaults {
        HostFaults {
            left: VecDeque::new(),
            since: 0,
            random: TestRng::for_purpose(0, 0),
        }
    }

    /// A host does something: whether that goes wrong.
    pub(super) fn strikes(&mut self) -> bool {
        self.since += 1;
        match self.left.front() {
            Some(after) if self.since > *after => {
                self.left.pop_front();
                self.since = 0;
                true
            }
            _ => false,
        }
    }
}

/// Whether an outcome was never said before, so that nobody can compare it with what is known.
pub(super) type IsNew<'a> = &'a dyn Fn(AgentId, Tick) -> bool;

/// Changes an answer so that no sound host can have said it. False when there is no way to.
pub(super) fn lie(
    fleet: &Fleet,
    random: &mut TestRng,
    replies: &mut Vec<Reply>,
    is_new: IsNew<'_>,
) -> bool {
    let lies: Vec<usize> = (0..replies.len())
        .filter(|at| [OUTCOMES, AWAIT_REQUESTS, OUTPUT, STATE].contains(&replies[*at].header.kind))
        .collect();
    if lies.is_empty() {
        return false;
    }
    let at = random.pick(&lies);
    if random.chance(1, 8) {
        let kind = random.pick(&[999, READY, u16::MAX - 1]);
        replies.insert(at, Reply::encoded(RecordHeader::new(kind, Tick(1)), &0_u8));
        return true;
    }
    match replies[at].header.kind {
        OUTCOMES => lie_about_outcomes(fleet, random, replies, at, is_new),
        AWAIT_REQUESTS => lie_about_waits(fleet, random, replies, at),
        OUTPUT => lie_about_output(random, replies, at),
        _ => {
            replies[at].header.subject = u32::MAX;
        }
    }
    true
}

fn lie_about_outcomes(
    fleet: &Fleet,
    random: &mut TestRng,
    replies: &mut Vec<Reply>,
    at: usize,
    is_new: IsNew<'_>,
) {
    let tick = replies[at].header.tick;
    let mut outcomes: Outcomes = decode(&replies[at].payload);
    let chosen = random.index(outcomes.outcomes.len());
    let ways = match is_new(outcomes.outcomes[chosen].agent, tick) {
        true => 10,
        false => 5,
    };
    let outcome = &mut outcomes.outcomes[chosen];
    match random.below(ways) {
        0 => replies[at].header.tick = Tick(tick.0 - 1),
        1 => replies[at].header.tick = tick.plus(1000),
        2 => {
            let agents = fleet.characters.len();
            outcome.agent = AgentId::from_index(agents + random.index(3));
        }
        3 => {
            let again = replies[at].clone();
            replies.insert(at, again);
            return;
        }
        4 => {
            let again = outcome.clone();
            outcomes.outcomes.push(again);
        }
        5 => {
            *outcome = saying(
                outcome,
                Effect::Send {
                    to: AgentId(9999),
                    payload: Vec::new(),
                },
            )
        }
        6 => *outcome = saying(outcome, request(RequestId(9999), ModelId(0))),
        7 => *outcome = saying(outcome, request(RequestId(0), ModelId(9999))),
        8 => {
            *outcome = saying(
                outcome,
                Effect::Infer {
                    model: ModelId(0),
                    inputs: Arc::new(Vec::new()),
                },
            )
        }
        _ => outcome.agent = of_another_host(fleet, outcome.agent),
    }
    replies[at].payload = codec::encode(&outcomes);
}

/// What agents wait for may have been said before, and is then compared with that; so what is wrong here is never what they
/// wait for.
fn lie_about_waits(fleet: &Fleet, random: &mut TestRng, replies: &mut Vec<Reply>, at: usize) {
    let tick = replies[at].header.tick;
    let mut parked: AwaitRequests = decode(&replies[at].payload);
    let wait = random.index(parked.requests.len());
    match random.below(6) {
        0 => replies[at].header.tick = Tick(tick.0 - 1),
        1 => replies[at].header.tick = tick.plus(1000),
        2 => {
            let again = replies[at].clone();
            replies.insert(at, again);
            return;
        }
        3 => parked.requests.push(parked.requests[wait].clone()),
        4 => parked.requests[wait].agent = of_another_host(fleet, parked.requests[wait].agent),
        _ => parked.requests[wait].number += 1000,
    }
    replies[at].payload = codec::encode(&parked);
}

/// Lets a step that was answered before come to something else, or one that waited before wait for something else. False
/// when there is none.
pub(super) fn misremember(answered: &Answered, waited: &Waited, replies: &mut [Reply]) -> bool {
    for reply in replies
        .iter_mut()
        .filter(|reply| reply.header.kind == AWAIT_REQUESTS)
    {
        let mut parked: AwaitRequests = decode(&reply.payload);
        let tick = reply.header.tick;
        let is_known = |wait: &&mut AwaitRequest| waited.contains(&(tick, wait.agent, wait.number));
        if let Some(wait) = parked.requests.iter_mut().find(is_known) {
            let mut inputs = wait.inputs.to_vec();
            inputs[0].data[0] ^= 1;
            wait.inputs = Arc::new(inputs);
            reply.payload = codec::encode(&parked);
            return true;
        }
    }
    let known = |agent: &AgentId, tick| answered.get(agent).is_some_and(|last| tick <= *last);
    for reply in replies
        .iter_mut()
        .filter(|reply| reply.header.kind == OUTCOMES)
    {
        let mut outcomes: Outcomes = decode(&reply.payload);
        let tick = reply.header.tick;
        let again = outcomes
            .outcomes
            .iter_mut()
            .find(|outcome| known(&outcome.agent, tick));
        if let Some(outcome) = again {
            let (topic, payload) = ("else".to_owned(), Vec::new());
            *outcome = saying(outcome, Effect::Emit { topic, payload });
            reply.payload = codec::encode(&outcomes);
            return true;
        }
    }
    false
}

/// An agent that another host steps, or none.
fn of_another_host(fleet: &Fleet, agent: AgentId) -> AgentId {
    let layout = &fleet.orders.placement;
    let own = layout.host_of[agent.index()];
    let other = layout.host_of.iter().position(|host| *host != own);
    other.map_or(AgentId(u32::MAX), AgentId::from_index)
}

fn saying(outcome: &Outcome, effect: Effect) -> Outcome {
    let mut effects = outcome.effects.clone();
    effects.push(effect);
    Outcome {
        effects,
        status: Status::Completed,
        ..outcome.clone()
    }
}

fn request(request: RequestId, model: ModelId) -> Effect {
    Effect::Submit {
        request,
        model,
        inputs: Vec::new(),
    }
}

fn lie_about_output(random: &mut TestRng, replies: &mut Vec<Reply>, at: usize) {
    let again = replies[at].clone();
    let header = &mut replies[at].header;
    match random.below(5) {
        0 => header.correlation += 1000,
        1 => header.subject += 1,
        2 => replies.insert(at, again),
        // Another shape is the model's to answer for; another type is not.
        3 => header.tensor = header.tensor.map(|(_, shape)| (DType::I8, shape)),
        _ => header.tensor = None,
    }
}

/// A record that does not decode any more. False when there is none that must.
pub(super) fn spoil(random: &mut TestRng, replies: &mut [Reply]) -> bool {
    let kinds = [OUTCOMES, AWAIT_REQUESTS, AGENT_LOADED, MODEL_LOADED];
    let chosen = replies
        .iter_mut()
        .find(|reply| kinds.contains(&reply.header.kind));
    let Some(reply) = chosen else {
        return false;
    };
    spoil_payload(random, reply);
    true
}

/// What is said of an agent's state does not decode.
pub(super) fn spoil_state(random: &mut TestRng, replies: &mut [Reply]) -> bool {
    let states: Vec<usize> = (0..replies.len())
        .filter(|at| replies[*at].header.kind == STATE)
        .collect();
    if states.is_empty() {
        return false;
    }
    let at = random.pick(&states);
    spoil_payload(random, &mut replies[at]);
    true
}

fn spoil_payload(random: &mut TestRng, reply: &mut Reply) {
    match random.chance(1, 2) {
        true => reply.payload.push(0),
        false => reply.payload.truncate(random.index(reply.payload.len())),
    }
}

/// Refuses what is to be loaded. False when nothing is.
pub(super) fn refuse(replies: &mut [Reply]) -> bool {
    for reply in replies {
        match reply.header.kind {
            AGENT_LOADED => {
                let loaded: AgentLoaded = decode(&reply.payload);
                let result = Err("there is no memory for it".to_owned());
                reply.payload = codec::encode(&AgentLoaded { result, ..loaded });
                return true;
            }
            MODEL_LOADED => {
                let loaded: ModelLoaded = decode(&reply.payload);
                let result = Err(LoadRefused {
                    blame: Blame::Us,
                    message: "there is no memory for it".to_owned(),
                });
                reply.payload = codec::encode(&ModelLoaded { result, ..loaded });
                return true;
            }
            _ => {}
        }
    }
    false
}

/// What a host says that cannot go on.
pub(super) fn failure() -> Reply {
    Reply::encoded(
        RecordHeader::new(FAILURE, Tick::ZERO),
        &Failure {
            blame: Blame::Us,
            message: "it cannot go on".to_owned(),
        },
    )
}

fn decode<T: bincode::Decode<()> + Encode>(payload: &[u8]) -> T {
    codec::decode_record::<T>(payload).expect("it was encoded just now")
}
