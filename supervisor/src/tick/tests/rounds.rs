//! The promise: what agents wait for within their steps is answered in rounds,
//! and neither who waits first nor who is answered first is observable.

use super::*;
use crate::record::{ABANDONED, QuarantineReason, RequestName, Verdict};
use shm_protocol::agent_to_supervisor::AwaitRequest;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::AwaitResult;

/// Agents of which each awaits as often as its number, and emits the answers.
struct Waiters {
    machine: TickMachine,
    arrivals: Vec<TickInput>,
    commits: Vec<TickRecord>,
    /// The rows of each batch, as the engine gets them.
    batches: Vec<Vec<u8>>,
    /// The answers that each agent has got in the open tick.
    heard: Vec<Vec<u8>>,
    is_over: bool,
}

fn waiting(model: u32, data: Vec<u8>) -> (ModelId, Arc<Vec<Tensor>>) {
    (ModelId(model), Arc::new(vec![rows(data)]))
}

fn wait(agent: AgentId, number: u32, data: Vec<u8>) -> AwaitRequest {
    let (model, inputs) = waiting(0, data);
    AwaitRequest {
        agent,
        number,
        model,
        inputs,
    }
}

impl Waiters {
    fn new(agents: Vec<PlannedAgent>, joined: bool, ticks: u64) -> Waiters {
        let heard = vec![Vec::new(); agents.len()];
        let plan = RunPlan::new(agents, vec![model(joined, 5, 1)], STEP_BYTES);
        Waiters {
            machine: TickMachine::new(plan, Some(Tick(ticks))),
            arrivals: vec![TickInput::Begin],
            commits: Vec::new(),
            batches: Vec::new(),
            heard,
            is_over: false,
        }
    }

    /// The next record of an agent: an await, or its outcome.
    fn say(&self, agent: AgentId) -> TickInput {
        let (host, tick) = (self.machine.host_of(agent), self.machine.tick());
        let heard = &self.heard[agent.index()];
        let data = |number: usize| {
            let before = if number == 0 { 0 } else { heard[number - 1] };
            vec![low(agent.0.into()), low(tick.0).wrapping_add(before)]
        };
        if heard.len() < agent.index() {
            let number = heard.len();
            let waits = vec![wait(agent, u32::try_from(number).unwrap(), data(number))];
            return TickInput::Parked {
                host,
                tick,
                awaits: waits,
            };
        }
        let infer = |number| {
            let (model, inputs) = waiting(0, data(number));
            Effect::Infer { model, inputs }
        };
        let mut effects: Vec<Effect> = (0..heard.len()).map(infer).collect();
        effects.push(Effect::Emit {
            topic: "heard".to_owned(),
            payload: heard.clone(),
        });
        TickInput::Outcomes {
            host,
            tick,
            outcomes: vec![outcome(agent, effects)],
        }
    }

    fn apply(&mut self, input: TickInput) {
        let mut actions = Vec::new();
        self.machine.apply(input, &mut actions).expect("sound");
        for action in actions {
            match action {
                TickAction::Step { steps, .. } => {
                    for step in steps {
                        self.heard[step.agent.index()].clear();
                        self.arrivals.push(self.say(step.agent));
                    }
                }
                TickAction::Answer { answers, .. } => {
                    for AwaitResult { agent, outcome, .. } in answers {
                        let byte = match &*outcome {
                            Ok(outputs) => outputs[0].data[1],
                            Err(_) => 0xff,
                        };
                        self.heard[agent.index()].push(byte);
                        self.arrivals.push(self.say(agent));
                    }
                }
                TickAction::Infer(batch) => {
                    self.batches
                        .push(batch.input_parts(0).flatten().copied().collect());
                    self.arrivals.push(TickInput::Answer {
                        batch: batch.id,
                        outputs: Ok(World::infer(&batch)),
                    });
                }
                TickAction::Commit { record, .. } => {
                    self.commits.push(Arc::unwrap_or_clone(record))
                }
                TickAction::Finish(_) => self.is_over = true,
                TickAction::Proceed | TickAction::Checkpoint { .. } => unreachable!("nobody asked"),
            }
        }
    }

    fn go(mut self, mut choose: impl FnMut(usize) -> usize) -> Waiters {
        while !self.is_over {
            let next = self.arrivals.swap_remove(choose(self.arrivals.len()));
            self.apply(next);
        }
        self
    }
}

proptest! {
    #[test]
    fn the_order_of_awaits_and_answers_is_not_observable(
        seed in any::<u64>(),
        hosts in proptest::collection::vec(0_u32..3, 1..7),
        joined in any::<bool>(),
    ) {
        let mut state = seed;
        let shuffled = |among: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % among
        };
        let spread: Vec<_> = hosts.iter().map(|host| agent(*host)).collect();
        let together = hosts.iter().map(|_| agent(0)).collect();
        let in_order = Waiters::new(together, joined, 6).go(|_| 0);
        let any_order = Waiters::new(spread, joined, 6).go(shuffled);
        prop_assert_eq!(in_order.commits, any_order.commits);
        // The same rows in the same batches, in the same order: a round begins when no agent is missing.
        prop_assert_eq!(in_order.batches, any_order.batches);
    }
}

#[test]
fn a_round_begins_with_all_agents_and_ends_with_all_answers() {
    let mut waiters = Waiters::new((0..3).map(|_| agent(0)).collect(), true, 1);
    let begin = waiters.arrivals.remove(0);
    waiters.apply(begin);
    let [zero, one, two] =
        <[TickInput; 3]>::try_from(std::mem::take(&mut waiters.arrivals)).unwrap();
    waiters.apply(two);
    waiters.apply(one);
    assert!(waiters.machine.is_parked(AgentId(1)) && waiters.batches.is_empty());
    waiters.apply(zero);
    assert_eq!(waiters.batches.len(), 1, "one batch of both");
    let waiters = waiters.go(|_| 0);
    let record = &waiters.commits[0];
    let who: Vec<u32> = record.awaited.iter().map(|answer| answer.agent.0).collect();
    assert_eq!(who, [1, 2, 2]);
    // Twice its input, and then twice the sum of that and the tick.
    let Effect::Emit { payload, .. } = record.outcomes[2].effects.last().unwrap() else {
        panic!("it emits");
    };
    assert_eq!(payload, &[2, 6]);
}

fn refused(machine: &mut TickMachine, input: TickInput) -> Violation {
    let asked = machine.awaited_requests(AgentId(0)).len();
    let refused = machine.apply(input, &mut Vec::new());
    assert_eq!(machine.awaited_requests(AgentId(0)).len(), asked);
    refused.expect_err("no sound host says it")
}

fn parked(waits: Vec<AwaitRequest>) -> TickInput {
    let (host, tick) = (HostId(0), Tick(1));
    TickInput::Parked {
        host,
        tick,
        awaits: waits,
    }
}

#[test]
fn invalid_reports_of_awaits_are_refused_and_change_nothing() {
    let (mut machine, _) = begun(vec![agent(0), agent(1)]);
    let (own, other) = (AgentId(0), AgentId(1));
    let good = || wait(own, 0, vec![1, 2]);
    let mut say = |waits| refused(&mut machine, parked(waits));
    assert!(matches!(
        say(vec![good(), good()]),
        Violation::NotStepping { .. }
    ));
    let of_other = vec![good(), wait(other, 0, vec![1, 2])];
    assert!(matches!(say(of_other), Violation::NotStepping { .. }));
    let unknown = vec![wait(AgentId(7), 0, vec![1, 2])];
    assert!(matches!(say(unknown), Violation::NotStepping { .. }));
    let later = vec![wait(own, 1, vec![1, 2])];
    assert!(matches!(say(later), Violation::AwaitOrder { .. }));
    let mut model = good();
    model.model = ModelId(9);
    assert!(matches!(say(vec![model]), Violation::NoSuchModel { .. }));
    let mut inputs = good();
    inputs.inputs = Arc::new(Vec::new());
    assert!(matches!(say(vec![inputs]), Violation::BadRequest { .. }));
    let (host, tick, waits) = (HostId(0), Tick(2), vec![good()]);
    let early = refused(
        &mut machine,
        TickInput::Parked {
            host,
            tick,
            awaits: waits,
        },
    );
    assert!(matches!(early, Violation::WrongTick { .. }));
    // An outcome with an await that was never made.
    let (model, inputs) = waiting(0, vec![1, 2]);
    let claimed = outcome(own, vec![Effect::Infer { model, inputs }]);
    assert!(matches!(
        answer(&mut machine, vec![claimed]),
        Err(Violation::AwaitMismatch { number: 0, .. })
    ));
    // An outcome without an await that was made.
    machine
        .apply(parked(vec![good()]), &mut Vec::new())
        .expect("sound");
    assert!(matches!(
        answer(&mut machine, vec![outcome(own, Vec::new())]),
        Err(Violation::NotStepping { .. })
    ));
}

/// Answers all batches of these actions, until an agent is answered.
fn answered(machine: &mut TickMachine, actions: &mut Vec<TickAction>) -> Vec<AwaitResult> {
    for _ in 0..9 {
        for action in std::mem::take(actions) {
            match action {
                TickAction::Infer(batch) => {
                    let (batch, outputs) = (batch.id, Ok(World::infer(&batch)));
                    machine
                        .apply(TickInput::Answer { batch, outputs }, actions)
                        .expect("sound");
                }
                TickAction::Answer { answers, .. } => return answers,
                _ => {}
            }
        }
    }
    panic!("nobody was answered");
}

#[test]
fn a_step_waits_as_often_as_a_tick_has_rounds_and_no_more() {
    let (mut machine, mut actions) = begun(vec![agent(0)]);
    for number in 0..limit::ROUNDS_PER_TICK {
        let number = u32::try_from(number).unwrap();
        let waits = vec![wait(AgentId(0), number, vec![1, 2])];
        machine.apply(parked(waits), &mut actions).expect("sound");
        assert_eq!(answered(&mut machine, &mut actions)[0].number, number);
    }
    let number = u32::try_from(limit::ROUNDS_PER_TICK).unwrap();
    let more = parked(vec![wait(AgentId(0), number, vec![1, 2])]);
    assert!(matches!(
        refused(&mut machine, more),
        Violation::AwaitOrder { .. }
    ));
}

#[test]
fn answers_over_the_bound_of_a_step_are_replaced_by_an_error() {
    // The bound of these machines is 64 bytes.
    let (mut machine, mut actions) = begun(vec![agent(0)]);
    let mut said = |number| {
        let waits = vec![wait(AgentId(0), number, vec![1; 40])];
        machine.apply(parked(waits), &mut actions).expect("sound");
        answered(&mut machine, &mut actions).remove(0).outcome
    };
    assert!(said(0).is_ok());
    let error = said(1).as_ref().clone().expect_err("40 and 40 are over 64");
    assert!(error.contains("over 64 bytes"), "{error}");
}

#[test]
fn who_is_given_up_while_it_waits_holds_nobody_up() {
    let (mut machine, mut actions) = begun(vec![agent(0), agent(0)]);
    let waits = |agent| vec![wait(AgentId(agent), 0, vec![1, 2])];
    machine
        .apply(parked(waits(0)), &mut actions)
        .expect("sound");
    let agent = AgentId(0);
    let reason = QuarantineReason::StepCrashesHost;
    let given_up = || TickInput::Verdict(Verdict::Quarantined { agent, reason });
    // Before the round: it is not in it.
    machine
        .apply(given_up(), &mut actions)
        .expect("anybody may");
    machine
        .apply(parked(waits(1)), &mut actions)
        .expect("sound");
    assert_eq!(
        machine
            .running()
            .map(|batch| batch.members.len())
            .sum::<usize>(),
        1
    );
    assert_eq!(answered(&mut machine, &mut actions)[0].agent, AgentId(1));
    // In the round: it is not answered, and the others are.
    let (mut machine, mut actions) = begun(vec![super::agent(0), super::agent(0)]);
    machine
        .apply(parked(waits(0)), &mut actions)
        .expect("sound");
    machine
        .apply(parked(waits(1)), &mut actions)
        .expect("sound");
    machine
        .apply(given_up(), &mut actions)
        .expect("anybody may");
    let answers = answered(&mut machine, &mut actions);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].agent, AgentId(1));
}

#[test]
fn an_await_that_crashes_the_engine_is_abandoned_alone() {
    let (mut machine, mut actions) = begun(vec![agent(0), agent(0), agent(0)]);
    machine.quarantine_after(3);
    let waits = |agent| vec![wait(AgentId(agent), 0, vec![1, 2])];
    for agent in 0..3 {
        let waits = parked(waits(agent));
        machine.apply(waits, &mut actions).expect("sound");
    }
    // The engine crashes over whatever has the second agent in it, and answers the rest.
    let mut crashes = 0;
    loop {
        let next = machine.running().next().cloned();
        let Some(batch) = next else { break };
        if batch.members.iter().any(|member| member.slot == 1) {
            let batch = batch.id;
            crashes += 1;
            machine
                .apply(TickInput::Crashed { batch }, &mut actions)
                .expect("anybody may");
        } else {
            let (batch, outputs) = (batch.id, Ok(World::infer(&batch)));
            machine
                .apply(TickInput::Answer { batch, outputs }, &mut actions)
                .expect("sound");
        }
    }
    assert_eq!(crashes, 4, "twice whole, then a half of two, then alone");
    let answers = actions.into_iter().find_map(|action| match action {
        TickAction::Answer { answers, .. } => Some(answers),
        _ => None,
    });
    let answers = answers.expect("the round is over");
    let errors = answers
        .iter()
        .map(|answer| answer.outcome.as_ref().as_ref().err());
    let errors: Vec<_> = errors.map(|error| error.map(String::as_str)).collect();
    assert_eq!(errors, [None, Some(ABANDONED), None]);
    let expected = Verdict::RequestAbandoned {
        agent: AgentId(1),
        model: ModelId(0),
        asked: Tick(1),
        request: RequestName::Awaited(0),
    };
    assert_eq!(machine.verdicts(), [expected]);
}

#[test]
fn replay_follows_awaits_without_waiting_or_an_engine() {
    let agents = || (0..4).map(|_| agent(0)).collect::<Vec<_>>();
    let live = Waiters::new(agents(), true, 3).go(|_| 0);
    // Who follows has the outcomes, and never asks an engine.
    let plan = RunPlan::new(agents(), vec![model(true, 5, 1)], STEP_BYTES);
    let mut machine = TickMachine::new(plan, Some(Tick(3)));
    let (mut actions, mut commits) = (Vec::new(), Vec::new());
    machine
        .apply(TickInput::Begin, &mut actions)
        .expect("it begins");
    for (record, tick) in live.commits.iter().zip(1..) {
        machine
            .apply(TickInput::Awaited(record.awaited.clone()), &mut actions)
            .expect("a journal");
        let (host, tick, outcomes) = (HostId(0), Tick(tick), record.outcomes.clone());
        let outcomes = TickInput::Outcomes {
            host,
            tick,
            outcomes,
        };
        machine.apply(outcomes, &mut actions).expect("a journal");
    }
    for action in actions {
        match action {
            TickAction::Commit { record, .. } => commits.push(Arc::unwrap_or_clone(record)),
            TickAction::Infer(batch) => panic!("{batch:?}"),
            _ => {}
        }
    }
    assert_eq!(commits, live.commits);
    // Who replays has the answers of the journal.
    let mut replay = Waiters::new(agents(), true, 3);
    replay.machine = replay.machine.without_engine();
    while !replay.is_over {
        let tick = usize::try_from(replay.machine.tick().0).unwrap();
        let next = replay.arrivals.remove(0);
        let is_new = replay.machine.awaited_requests(AgentId(3)).is_empty();
        if let (Some(record), true) = (live.commits.get(tick.wrapping_sub(1)), is_new)
            && matches!(next, TickInput::Outcomes { .. })
        {
            replay.apply(TickInput::Awaited(record.awaited.clone()));
        }
        replay.apply(next);
    }
    assert_eq!(replay.commits, live.commits);
    assert!(replay.batches.is_empty());
}

#[test]
fn an_await_missing_in_the_journal_gets_an_error() {
    let (machine, mut actions) = begun(vec![agent(0)]);
    let mut machine = machine.without_engine();
    let waits = vec![wait(AgentId(0), 0, vec![1, 2])];
    machine.apply(parked(waits), &mut actions).expect("sound");
    let answers = answered(&mut machine, &mut actions);
    assert!(answers[0].outcome.is_err());
}
