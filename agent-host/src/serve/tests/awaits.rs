//! The promise: an agent that awaits within its step delays no other agent, has the same outcome whether results come
//! during the step or before it, and is dropped with its host if they never come.

use super::supervisor::{Given, Host, numbered};
use crate::error::AgentHostError;
use shm_protocol::agent_state::{SNAPSHOT, Snapshot};
use shm_protocol::agent_to_supervisor::{
    AWAIT_REQUESTS, AwaitRequest, AwaitRequests, Effect, OUTCOMES, Outcome, Outcomes, Status,
};
use shm_protocol::id::AgentId;
use shm_protocol::supervisor_to_agent::{
    AWAIT_RESULTS, AwaitResult, AwaitResults, ModelPorts, OnFailure, OnMismatch, RequestResult,
};
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use shm_protocol::{codec, limit};
use std::sync::Arc;

const WIDTH: usize = 4;

fn model() -> ModelPorts {
    let port = |name: &str| Port {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: vec![None, Some(WIDTH as u64)],
    };
    ModelPorts {
        signature: Signature {
            inputs: vec![port("x")],
            outputs: vec![port("y")],
        },
        on_mismatch: OnMismatch::Reject,
    }
}

fn ponder() -> Given {
    Given::new("ponder").setting("width", &WIDTH.to_string())
}

/// A model that adds a number to all elements.
fn add(request: &AwaitRequest, number: f32) -> RequestResult {
    let (elements, _) = request.inputs[0].data.as_chunks::<4>();
    let sum = |element: &[u8; 4]| (f32::from_le_bytes(*element) + number).to_le_bytes();
    Ok(vec![Tensor {
        dtype: DType::F32,
        shape: Shape::new(&[1, WIDTH as u64]).expect("two dimensions"),
        data: elements.iter().flat_map(sum).collect(),
    }])
}

fn answered(request: &AwaitRequest) -> AwaitResult {
    let outcome = Arc::new(add(
        request,
        f32::from(u16::try_from(request.agent.0).expect("few")),
    ));
    AwaitResult {
        agent: request.agent,
        number: request.number,
        outcome,
    }
}

/// The records of a host for a tick, so far.
#[derive(Default)]
struct TickReport {
    outcomes: Vec<Outcome>,
    requests: Vec<AwaitRequest>,
}

impl TickReport {
    /// Receives until there is a record of this many agents.
    fn of(host: &mut Host, agents: usize) -> TickReport {
        let mut said = TickReport::default();
        while said.outcomes.len() + said.requests.len() < agents {
            let (header, bytes) = host.take();
            match header.kind {
                OUTCOMES => {
                    let record = codec::decode::<Outcomes, { limit::RECORD_BYTES }>(&bytes);
                    said.outcomes.extend(record.expect("outcomes").outcomes);
                }
                AWAIT_REQUESTS => {
                    let record = codec::decode::<AwaitRequests, { limit::RECORD_BYTES }>(&bytes);
                    said.requests.extend(record.expect("waits").requests);
                }
                kind => panic!("a record of kind {kind}"),
            }
        }
        said
    }
}

fn ask(host: &mut Host, tick: u64, agents: usize) -> TickReport {
    let steps = vec![Vec::new(); agents].into_iter().enumerate();
    host.ask(tick, steps.map(numbered).collect());
    TickReport::of(host, agents)
}

fn resume(host: &mut Host, tick: u64, answers: Vec<AwaitResult>) -> TickReport {
    let agents = answers.len();
    host.push(AWAIT_RESULTS, tick, &AwaitResults { answers });
    TickReport::of(host, agents)
}

/// Completes a tick. Also returns the results that were sent.
fn whole(host: &mut Host, tick: u64, agents: usize) -> (Vec<Outcome>, Vec<AwaitResult>) {
    let mut said = ask(host, tick, agents);
    let (mut outcomes, mut all) = (std::mem::take(&mut said.outcomes), Vec::new());
    while !said.requests.is_empty() {
        // The first to await is the last to be resumed.
        let answers: Vec<AwaitResult> = said.requests.iter().rev().map(answered).collect();
        all.extend(answers.iter().cloned());
        said = resume(host, tick, answers);
        outcomes.append(&mut said.outcomes);
    }
    outcomes.sort_by_key(|outcome| outcome.agent);
    (outcomes, all)
}

fn awaits_in(outcome: &Outcome) -> usize {
    let is_await = |effect: &&Effect| matches!(effect, Effect::Infer { .. });
    outcome.effects.iter().filter(is_await).count()
}

#[test]
fn many_await_at_once_and_each_gets_its_own_result() {
    let given: Vec<Given> = (0..40)
        .map(|number| match number % 4 {
            0 => Given::new("counter"),
            _ => ponder().setting("turns", &(number % 4).to_string()),
        })
        .collect();
    let mut host = Host::start_with(&given, vec![model()]);
    let said = ask(&mut host, 1, given.len());
    assert_eq!((said.outcomes.len(), said.requests.len()), (10, 30));
    assert!(said.requests.iter().all(|request| request.number == 0));
    let answers = said.requests.iter().map(answered).collect();
    let said = resume(&mut host, 1, answers);
    // Agents with one await are done.
    assert_eq!((said.outcomes.len(), said.requests.len()), (10, 20));
    let request = &said.requests[0];
    let first = AgentId(2);
    assert_eq!((request.agent, request.number), (first, 1));
    let rest: Vec<AwaitResult> = said.requests.iter().map(answered).collect();
    let said = resume(&mut host, 1, rest);
    let done = said.outcomes.iter().find(|outcome| outcome.agent == first);
    let inputs: Vec<Vec<u8>> = done
        .expect("it is done")
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Infer { inputs, .. } => Some(inputs[0].data.clone()),
            _ => None,
        })
        .collect();
    let number = |bytes: &[u8]| f32::from_le_bytes(bytes[..4].try_into().expect("four"));
    let added = number(&inputs[1]) - number(&inputs[0]);
    assert!((added - 2.0).abs() < 1e-6, "{added}");
    host.drain();
}

#[test]
fn results_before_the_step_lead_to_the_same_outcome() {
    let given = [ponder(), ponder().setting("turns", "1")];
    let (mut live, mut again) = (
        Host::start_with(&given, vec![model()]),
        Host::start_with(&given, vec![model()]),
    );
    for tick in 1..=5 {
        let (outcomes, answers) = whole(&mut live, tick, 2);
        assert_eq!((awaits_in(&outcomes[0]), awaits_in(&outcomes[1])), (3, 1));
        // All of them, or those that existed when a host was lost.
        let told: Vec<AwaitResult> = answers
            .iter()
            .filter(|answer| u64::from(answer.number) < tick)
            .cloned()
            .collect();
        again.push(AWAIT_RESULTS, tick, &AwaitResults { answers: told });
        let (repeated, rest) = whole(&mut again, tick, 2);
        assert_eq!(repeated, outcomes);
        let expected = answers
            .iter()
            .filter(|answer| u64::from(answer.number) >= tick);
        assert_eq!(rest.len(), expected.count());
    }
    live.drain();
    again.drain();
}

#[test]
fn a_step_may_await_once_in_each_round() {
    let given = [ponder().setting("turns", &(limit::ROUNDS_PER_TICK + 2).to_string())];
    let mut host = Host::start_with(&given, vec![model()]);
    let (outcomes, answers) = whole(&mut host, 1, 1);
    assert_eq!(answers.len(), limit::ROUNDS_PER_TICK);
    assert_eq!(outcomes[0].status, Status::Completed);
    assert_eq!(awaits_in(&outcomes[0]), limit::ROUNDS_PER_TICK);
    let text = format!("{:?}", outcomes[0].effects);
    assert_eq!(
        text.matches("the request was refused: Refusal::TooMany")
            .count(),
        2,
        "{text}"
    );
    host.drain();
}

#[test]
fn a_request_that_does_not_fit_is_refused_at_once() {
    for (wrong, reason) in [
        ("shape", "input x takes f32[?,4], got f32[1,3]"),
        ("model", "Refusal::NoSuchModel"),
    ] {
        let given = [ponder().setting("turns", "1").setting("wrong", wrong)];
        let mut host = Host::start_with(&given, vec![model()]);
        let said = ask(&mut host, 1, 1);
        let text = format!("{:?}", said.outcomes[0]);
        assert!(text.contains(reason), "{text}");
        assert_eq!(awaits_in(&said.outcomes[0]), 0);
        host.drain();
    }
    // Or ends the step, if the model says so.
    let stops = ModelPorts {
        on_mismatch: OnMismatch::Stop,
        ..model()
    };
    let mut host = Host::start_with(&[ponder().setting("wrong", "shape")], vec![stops]);
    let said = ask(&mut host, 1, 1);
    assert!(
        matches!(said.outcomes[0].status, Status::Mismatch(_)),
        "{:?}",
        said.outcomes
    );
    host.drain();
}

#[test]
fn a_failed_result_is_an_error_for_the_agent_only() {
    let mut host = Host::start_with(&[ponder().setting("turns", "1")], vec![model()]);
    let said = ask(&mut host, 1, 1);
    let failed = AwaitResult {
        outcome: Arc::new(Err("the engine has no memory".to_owned())),
        ..answered(&said.requests[0])
    };
    let said = resume(&mut host, 1, vec![failed]);
    assert_eq!(said.outcomes[0].status, Status::Completed);
    let text = format!("{:?}", said.outcomes[0].effects);
    assert!(text.contains("the engine has no memory"), "{text}");
    host.drain();
}

#[test]
fn a_trap_after_an_await_keeps_the_request_in_the_outcome() {
    let given = [
        ponder()
            .setting("trap_at", "2")
            .on_failure(OnFailure::Restart),
        ponder(),
    ];
    let mut host = Host::start_with(&given, vec![model()]);
    let (first, _) = whole(&mut host, 1, 2);
    let (second, answers) = whole(&mut host, 2, 2);
    assert!(matches!(second[0].status, Status::Trapped(_)), "{second:?}");
    assert_eq!(awaits_in(&second[0]), 1);
    assert!(
        second[0]
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Log(_)))
    );
    assert_eq!(answers.len(), 4);
    assert_eq!(second[1].status, Status::Completed);
    // It restarts, and awaits again.
    let (third, _) = whole(&mut host, 3, 2);
    assert_eq!(third[0].status, Status::Completed);
    assert_eq!(awaits_in(&third[0]), 3);
    assert_eq!(first[0].effects.len(), third[0].effects.len());
    host.drain();
}

#[test]
fn suspended_steps_are_dropped_with_their_host() {
    let given = vec![ponder(); 20];
    let mut host = Host::start_with(&given, vec![model()]);
    assert_eq!(ask(&mut host, 1, given.len()).requests.len(), given.len());
    host.drain();
}

#[test]
fn records_out_of_turn_end_the_host() {
    let out_of_turn = |what: &dyn Fn(&mut Host, AwaitRequest)| {
        let mut host = Host::start_with(&[ponder()], vec![model()]);
        let mut said = ask(&mut host, 1, 1);
        what(&mut host, said.requests.remove(0));
        match host.end() {
            Err(AgentHostError::OutOfTurn { agent, what }) => {
                assert_eq!(agent, AgentId(0));
                what
            }
            other => panic!("{other:?}"),
        }
    };
    let answer = |host: &mut Host, answer| {
        let answers = vec![answer];
        host.push(AWAIT_RESULTS, 1, &AwaitResults { answers });
    };
    let later = out_of_turn(&|host, request| {
        answer(
            host,
            AwaitResult {
                number: 1,
                ..answered(&request)
            },
        );
    });
    assert_eq!(later, "the result of its await 1");
    let step = out_of_turn(&|host, _| host.ask(1, vec![numbered((0, Vec::new()))]));
    assert_eq!(step, "its next step");
    let snapshot = out_of_turn(&|host, _| host.push(SNAPSHOT, 1, &Snapshot { full: true }));
    assert_eq!(snapshot, "a snapshot");
}

#[test]
fn an_agent_that_has_awaited_can_be_restored() {
    let mut host = Host::start_with(&[ponder()], vec![model()]);
    whole(&mut host, 1, 1);
    let state = host.snapshot(1, true);
    let (expected, _) = whole(&mut host, 2, 1);
    let mut other = Host::start_with(&[ponder().restored()], vec![model()]);
    for record in &state {
        other.push(shm_protocol::agent_state::RESTORE, 1, record);
    }
    let (found, _) = whole(&mut other, 2, 1);
    assert_eq!(found, expected);
    host.drain();
    other.drain();
}
