//! The promise: what is committed does not depend on the order in which
//! outcomes and results arrive, nor on how agents are spread over hosts.
//!
//! A small world of agents, whose behaviour is a function of what reaches
//! them, is run by the machine with every arrival shuffled by a seed. The
//! committed ticks must be the same for every seed and every layout.

use super::version_timeline::VersionTimeline;
use super::{
    InferenceBatch, PlannedAgent, PlannedModel, RunEnd, RunPlan, TickAction, TickInput,
    TickMachine, Violation,
};
use crate::record::{DroppedMessages, ModelSettings, TickRecord};
use proptest::prelude::*;
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use shm_protocol::id::{AgentId, HostId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::supervisor_to_agent::{AgentEvent, OnFailure, Step};
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use std::sync::Arc;

mod ends;
mod generations;
mod recovery;
mod refusals;
mod rounds;

const STEP_BYTES: usize = 1 << 20;

fn agent(host: u32) -> PlannedAgent {
    PlannedAgent {
        host: HostId(host),
        priority: 0,
        every: 1,
        on_failure: OnFailure::Halt,
        may_finish: false,
    }
}

fn model(joined: bool, max_batch: u64, latency_ticks: u64) -> PlannedModel {
    let port = |name: &str| Port {
        name: name.to_owned(),
        dtype: DType::U8,
        dims: vec![None, Some(2)],
    };
    let signature = Signature {
        inputs: vec![port("x")],
        outputs: vec![port("y")],
    };
    PlannedModel {
        name: "double".to_owned(),
        signature,
        timeline: VersionTimeline::new(VersionId(0), joined),
        settings: ModelSettings {
            max_batch,
            latency_ticks,
            ..ModelSettings::default()
        },
        seed: 0,
    }
}

fn rows(data: Vec<u8>) -> Tensor {
    let shape = Shape::new(&[data.len() as u64 / 2, 2]).expect("two dimensions");
    Tensor {
        dtype: DType::U8,
        shape,
        data,
    }
}

fn outcome(agent: AgentId, effects: Vec<Effect>) -> Outcome {
    Outcome {
        agent,
        status: Status::Completed,
        fuel_used: 1,
        effects,
    }
}

/// The lowest byte of a number.
fn low(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// The steps of the agents: each sends the payload that it got to the next one, and requests an inference on it.
struct World {
    requests: Vec<u64>,
    agents: u32,
}

impl World {
    fn step(&mut self, tick: Tick, step: &Step) -> Outcome {
        let heard: u8 = step
            .events
            .iter()
            .map(|event| match event {
                AgentEvent::Message { sender, payload } => {
                    payload[0].wrapping_add(low(sender.0.into()))
                }
                AgentEvent::Inference { outcome, .. } => match outcome.as_ref() {
                    Ok(outputs) => outputs[0].data.iter().fold(0, |sum, byte| sum ^ byte),
                    Err(_) => 99,
                },
            })
            .fold(low(tick.0), u8::wrapping_add);
        let own = step.agent.index();
        let request = RequestId(self.requests[own]);
        self.requests[own] += 1;
        let many = 1 + (own % 3);
        let inputs = vec![rows(vec![heard; many * 2])];
        let to = AgentId((step.agent.0 + 1) % self.agents);
        outcome(
            step.agent,
            vec![
                Effect::Send {
                    to,
                    payload: vec![heard],
                },
                Effect::Submit {
                    request,
                    model: ModelId(0),
                    inputs,
                },
            ],
        )
    }

    fn infer(batch: &InferenceBatch) -> Vec<Tensor> {
        let doubled = batch
            .input_parts(0)
            .flatten()
            .map(|byte| byte.wrapping_mul(2));
        vec![rows(doubled.collect())]
    }
}

/// Runs a plan to its end; `choose` says which waiting input arrives next.
fn run(
    agents: Vec<PlannedAgent>,
    model: PlannedModel,
    ticks: u64,
    mut choose: impl FnMut(usize) -> usize,
) -> (Vec<TickRecord>, RunEnd) {
    let count = agents.len();
    let mut world = World {
        requests: vec![0; count],
        agents: u32::try_from(count).expect("few"),
    };
    let plan = RunPlan::new(agents, vec![model], STEP_BYTES);
    let mut machine = TickMachine::new(plan, Some(Tick(ticks)));
    let (mut actions, mut arrivals, mut commits) = (Vec::new(), vec![TickInput::Begin], Vec::new());
    loop {
        let next = arrivals.swap_remove(choose(arrivals.len()));
        machine.apply(next, &mut actions).expect("a sound world");
        for action in actions.drain(..) {
            match action {
                TickAction::Step { host, tick, steps } => {
                    // One answer for each step, so that they can be shuffled as well.
                    arrivals.extend(steps.iter().map(|step| TickInput::Outcomes {
                        host,
                        tick,
                        outcomes: vec![world.step(tick, step)],
                    }));
                }
                TickAction::Answer { .. } => unreachable!("nobody waits"),
                TickAction::Infer(batch) => arrivals.push(TickInput::Answer {
                    batch: batch.id,
                    outputs: Ok(World::infer(&batch)),
                }),
                TickAction::Commit { tick, record } => {
                    commits.push(Arc::unwrap_or_clone(record));
                    assert_eq!(
                        tick.0,
                        commits.len() as u64,
                        "ticks are committed one by one"
                    );
                }
                TickAction::Proceed => arrivals.push(TickInput::Proceed),
                TickAction::Checkpoint { .. } => unreachable!("nobody asked for one"),
                TickAction::Finish(end) => return (commits, end),
            }
        }
    }
}

proptest! {
    #[test]
    fn neither_arrival_nor_layout_is_observable(
        seed in any::<u64>(),
        hosts in proptest::collection::vec(0_u32..4, 1..9),
        joined in any::<bool>(),
        latency in 1_u64..4,
    ) {
        let mut state = seed;
        let shuffled = |among: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % among
        };
        let spread = hosts.iter().map(|host| agent(*host)).collect();
        let together = hosts.iter().map(|_| agent(0)).collect();
        let model = model(joined, 5, latency);
        let (in_order, _) = run(together, model.clone(), 12, |_| 0);
        let (any_order, end) = run(spread, model, 12, shuffled);
        prop_assert_eq!(end, RunEnd::Finished);
        prop_assert_eq!(in_order, any_order);
    }
}

#[test]
fn joining_requests_changes_no_result() {
    let agents = || (0..7).map(|_| agent(0)).collect();
    let (joined, _) = run(agents(), model(true, 4, 1), 10, |_| 0);
    let (alone, _) = run(agents(), model(false, 4, 1), 10, |_| 0);
    assert_eq!(joined, alone);
}

/// A machine with these agents that was begun, and what it asked for.
fn begun(agents: Vec<PlannedAgent>) -> (TickMachine, Vec<TickAction>) {
    begun_with(RunPlan::new(agents, vec![model(true, 8, 2)], 64))
}

/// A machine with this plan that was begun, and what it asked for.
fn begun_with(plan: RunPlan) -> (TickMachine, Vec<TickAction>) {
    let mut machine = TickMachine::new(plan, None);
    let mut actions = Vec::new();
    machine
        .apply(TickInput::Begin, &mut actions)
        .expect("it begins");
    (machine, actions)
}

fn answer(machine: &mut TickMachine, outcomes: Vec<Outcome>) -> Result<Vec<TickAction>, Violation> {
    let mut actions = Vec::new();
    let (host, tick) = (HostId(0), machine.tick());
    machine.apply(
        TickInput::Outcomes {
            host,
            tick,
            outcomes,
        },
        &mut actions,
    )?;
    Ok(actions)
}

fn committed(actions: &[TickAction]) -> &TickRecord {
    let commit = actions.iter().find_map(|action| match action {
        TickAction::Commit { record, .. } => Some(record.as_ref()),
        _ => None,
    });
    commit.expect("a tick was committed")
}

fn asked(actions: &[TickAction]) -> Vec<AgentId> {
    let steps = actions.iter().filter_map(|action| match action {
        TickAction::Step { steps, .. } => Some(steps.iter().map(|step| step.agent)),
        _ => None,
    });
    steps.flatten().collect()
}

#[test]
fn outcomes_are_committed_in_schedule_order() {
    let mut agents = vec![agent(0), agent(0), agent(0)];
    agents[2].priority = 9;
    let (mut machine, _) = begun(agents);
    let outcomes = [1, 0, 2]
        .map(|id| outcome(AgentId(id), Vec::new()))
        .to_vec();
    let actions = answer(&mut machine, outcomes).expect("all were asked");
    let order: Vec<u32> = committed(&actions)
        .outcomes
        .iter()
        .map(|outcome| outcome.agent.0)
        .collect();
    assert_eq!(order, [2, 0, 1]);
}

#[test]
fn an_agent_steps_in_the_ticks_that_its_period_divides() {
    let mut agents = vec![agent(0), agent(0)];
    agents[1].every = 3;
    let (mut machine, mut actions) = begun(agents);
    let mut stepped = Vec::new();
    for _ in 0..6 {
        let due = asked(&actions);
        stepped.push(due.len());
        let outcomes = due.into_iter().map(|id| outcome(id, Vec::new())).collect();
        actions = answer(&mut machine, outcomes).expect("all were asked");
    }
    assert_eq!(stepped, [1, 1, 2, 1, 1, 2]);
}

#[test]
fn a_gap_is_committed_tick_by_tick_and_can_be_stopped() {
    let mut agents = vec![agent(0)];
    agents[0].every = u64::MAX;
    let (mut machine, mut actions) = begun(agents);
    for tick in 1..=5 {
        assert!(
            matches!(actions.first(), Some(TickAction::Proceed)),
            "one tick at a time"
        );
        assert!(actions.len() <= 2, "and not all of them at once");
        assert_eq!(machine.tick(), Tick(tick));
        actions.clear();
        machine
            .apply(TickInput::Proceed, &mut actions)
            .expect("nobody is due");
        assert_eq!(committed(&actions), &TickRecord::default());
    }
    actions.clear();
    machine
        .apply(TickInput::Stop, &mut actions)
        .expect("anybody may ask");
    machine
        .apply(TickInput::Proceed, &mut actions)
        .expect("nobody is due");
    assert!(matches!(
        actions.last(),
        Some(TickAction::Finish(RunEnd::Stopped))
    ));
}

#[test]
fn results_come_after_the_latency_and_never_earlier() {
    let (mut machine, _) = begun(vec![agent(0)]);
    let submit = Effect::Submit {
        request: RequestId(0),
        model: ModelId(0),
        inputs: vec![rows(vec![4, 5])],
    };
    let mut actions = answer(&mut machine, vec![outcome(AgentId(0), vec![submit])]).expect("sound");
    let batch = actions.iter().find_map(|action| match action {
        TickAction::Infer(batch) => Some(batch.id),
        _ => None,
    });
    // The answer is there at once, and tick 2 does not see it: the latency is 2.
    let outputs = Ok(vec![rows(vec![8, 10])]);
    let batch = batch.expect("a request makes a batch");
    machine
        .apply(TickInput::Answer { batch, outputs }, &mut actions)
        .expect("it is running");
    assert!(
        committed(&answer(&mut machine, vec![outcome(AgentId(0), Vec::new())]).expect("sound"))
            .results
            .is_empty()
    );
    let third = answer(&mut machine, vec![outcome(AgentId(0), Vec::new())]).expect("sound");
    assert_eq!(committed(&third).results.len(), 1);
    assert_eq!(committed(&third).results[0].request, RequestId(0));
}

#[test]
fn a_step_waits_for_its_results_and_for_nobody_elses() {
    let mut plan = vec![model(true, 8, 1)];
    plan[0].settings.latency_ticks = 1;
    let mut machine = TickMachine::new(RunPlan::new(vec![agent(0), agent(0)], plan, 64), None);
    let mut actions = Vec::new();
    machine
        .apply(TickInput::Begin, &mut actions)
        .expect("it begins");
    let submit = Effect::Submit {
        request: RequestId(0),
        model: ModelId(0),
        inputs: vec![rows(vec![4, 5])],
    };
    let outcomes = vec![
        outcome(AgentId(0), vec![submit]),
        outcome(AgentId(1), Vec::new()),
    ];
    let actions = answer(&mut machine, outcomes).expect("sound");
    assert_eq!(asked(&actions), [AgentId(1)], "the other one goes ahead");
    let mut late = Vec::new();
    let outputs = Err("the engine is out of memory".to_owned());
    let batch = shm_protocol::id::BatchId(0);
    machine
        .apply(TickInput::Answer { batch, outputs }, &mut late)
        .expect("it is running");
    assert_eq!(asked(&late), [AgentId(0)]);
}
