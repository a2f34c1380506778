//! Protocol violations of hosts, and requests that do not fit.

use super::*;

#[test]
fn what_is_over_an_inbox_is_dropped_and_counted() {
    let (mut machine, _) = begun(vec![agent(0)]);
    let send = || Effect::Send {
        to: AgentId(0),
        payload: vec![0; 40],
    };
    let actions = answer(
        &mut machine,
        vec![outcome(AgentId(0), vec![send(), send()])],
    )
    .expect("sound");
    assert_eq!(
        committed(&actions).dropped[0].messages,
        1,
        "64 bytes fit one message of 40"
    );
}

#[test]
fn what_no_sound_host_says_is_refused() {
    let (agent_zero, tick) = (AgentId(0), Tick(1));
    let refused = |outcomes: Vec<Outcome>| {
        let (mut machine, _) = begun(vec![agent(0), agent(1)]);
        answer(&mut machine, outcomes).expect_err("no sound host says so")
    };
    let twice = vec![
        outcome(agent_zero, Vec::new()),
        outcome(agent_zero, Vec::new()),
    ];
    assert!(matches!(refused(twice), Violation::NotStepping { .. }));
    assert!(
        matches!(
            refused(vec![outcome(AgentId(1), Vec::new())]),
            Violation::NotStepping { .. }
        ),
        "another host's agent"
    );
    assert!(matches!(
        refused(vec![outcome(AgentId(7), Vec::new())]),
        Violation::NotStepping { .. }
    ));
    let to_nobody = Effect::Send {
        to: AgentId(2),
        payload: Vec::new(),
    };
    assert!(matches!(
        refused(vec![outcome(agent_zero, vec![to_nobody])]),
        Violation::NoSuchReceiver { .. }
    ));
    let submit = |request, model, inputs| Effect::Submit {
        request: RequestId(request),
        model: ModelId(model),
        inputs,
    };
    let good = || vec![rows(vec![1, 2])];
    assert!(matches!(
        refused(vec![outcome(agent_zero, vec![submit(1, 0, good())])]),
        Violation::RequestOrder { .. }
    ));
    assert!(matches!(
        refused(vec![outcome(agent_zero, vec![submit(0, 1, good())])]),
        Violation::NoSuchModel { .. }
    ));
    assert!(matches!(
        refused(vec![outcome(agent_zero, vec![submit(0, 0, Vec::new())])]),
        Violation::BadRequest { .. }
    ));
    let lying = Tensor {
        data: vec![1, 2, 3],
        ..rows(vec![1, 2])
    };
    assert!(matches!(
        refused(vec![outcome(agent_zero, vec![submit(0, 0, vec![lying])])]),
        Violation::BadRequest { .. }
    ));

    let (mut machine, mut actions) = begun(vec![agent(0)]);
    let late = TickInput::Outcomes {
        host: HostId(0),
        tick: Tick(9),
        outcomes: Vec::new(),
    };
    let violation = machine
        .apply(late, &mut actions)
        .expect_err("tick 9 is not open");
    assert_eq!(
        violation,
        Violation::WrongTick {
            host: HostId(0),
            answered: Tick(9),
            open: tick
        }
    );
    let unknown = TickInput::Answer {
        batch: shm_protocol::id::BatchId(3),
        outputs: Ok(Vec::new()),
    };
    assert!(matches!(
        machine.apply(unknown, &mut actions),
        Err(Violation::NoSuchBatch { .. })
    ));
}
