//! Agents and runs that end.

use super::*;

#[test]
fn a_halted_agent_takes_no_steps_and_no_messages() {
    let (mut machine, _) = begun(vec![agent(0), agent(0)]);
    let trapped = Outcome {
        status: Status::Trapped("unreachable".to_owned()),
        ..outcome(AgentId(1), Vec::new())
    };
    let send = Effect::Send {
        to: AgentId(1),
        payload: vec![1],
    };
    let actions =
        answer(&mut machine, vec![outcome(AgentId(0), vec![send]), trapped]).expect("sound");
    let dropped = DroppedMessages {
        receiver: AgentId(1),
        messages: 1,
    };
    assert_eq!(committed(&actions).dropped, [dropped]);
    assert_eq!(asked(&actions), [AgentId(0)]);
}

#[test]
fn only_an_agent_that_may_restart_steps_again_after_a_trap() {
    let restarted = PlannedAgent {
        on_failure: OnFailure::Restart,
        ..agent(0)
    };
    let (mut machine, _) = begun(vec![restarted.clone(), restarted]);
    let failed = |id, status| Outcome {
        status,
        ..outcome(AgentId(id), Vec::new())
    };
    let actions = answer(
        &mut machine,
        vec![
            failed(0, Status::Halted("restart: init refuses".to_owned())),
            failed(1, Status::Trapped("unreachable".to_owned())),
        ],
    )
    .expect("sound");
    assert_eq!(asked(&actions), [AgentId(1)]);
    let last = failed(1, Status::Halted("restart: init refuses".to_owned()));
    let actions = answer(&mut machine, vec![last]).expect("sound");
    assert!(matches!(
        actions.last(),
        Some(TickAction::Finish(RunEnd::AllHalted))
    ));
}

#[test]
fn the_run_ends_when_all_have_halted_and_when_somebody_asks() {
    let (mut machine, _) = begun(vec![agent(0)]);
    let spent = Outcome {
        status: Status::OutOfFuel,
        ..outcome(AgentId(0), Vec::new())
    };
    let actions = answer(&mut machine, vec![spent]).expect("sound");
    assert!(matches!(
        actions.last(),
        Some(TickAction::Finish(RunEnd::AllHalted))
    ));

    let (mut machine, mut actions) = begun(vec![agent(0)]);
    machine
        .apply(TickInput::Stop, &mut actions)
        .expect("anybody may ask");
    let actions = answer(&mut machine, vec![outcome(AgentId(0), Vec::new())]).expect("sound");
    assert!(
        matches!(actions.last(), Some(TickAction::Finish(RunEnd::Stopped))),
        "the open tick is finished first"
    );
}

#[test]
fn the_first_finish_in_schedule_order_ends_the_run() {
    let finisher = |priority| PlannedAgent {
        priority,
        may_finish: true,
        ..agent(0)
    };
    let (mut machine, _) = begun(vec![finisher(0), finisher(5), agent(0)]);
    let finish = |reason: &str| Effect::Finish {
        reason: reason.to_owned(),
    };
    let outcomes = vec![
        outcome(AgentId(1), vec![finish("second"), finish("third")]),
        outcome(AgentId(0), vec![finish("first")]),
        outcome(AgentId(2), Vec::new()),
    ];
    let actions = answer(&mut machine, outcomes).expect("sound");
    assert_eq!(committed(&actions).outcomes.len(), 3);
    let Some(TickAction::Finish(RunEnd::AgentFinished { agent, reason })) = actions.last() else {
        panic!("the run goes on: {actions:?}");
    };
    assert_eq!((*agent, reason.as_str()), (AgentId(1), "second"));
}

#[test]
fn a_finish_that_the_fleet_does_not_grant_is_a_violation() {
    let (mut machine, _) = begun(vec![agent(0)]);
    let finish = Effect::Finish {
        reason: "enough".to_owned(),
    };
    let refused = answer(&mut machine, vec![outcome(AgentId(0), vec![finish])]);
    assert!(matches!(refused, Err(Violation::FinishNotGranted { .. })));
}
