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
