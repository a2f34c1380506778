//! The serving loop over real rings, with the supervisor's end in the thread of the test, and the built example agents.
//!
//! The promise: the outcomes of an agent are the same every time, down to the fuel, and no agent can end its host.

mod awaits;
mod image;
mod restore_errors;
mod speed;
mod state;
mod supervisor;

mod world;

use shm_protocol::agent_to_supervisor::{Effect, LogLevel, LogLine, Outcome, Status};
use shm_protocol::id::{AgentId, ModelId, RequestId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AgentEvent, ModelPorts, OnFailure, OnMismatch};
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use supervisor::{Given, Host};

/// The outcome of tick 1 of a `trouble` agent.
fn trouble(what: &str) -> Outcome {
    let mut host = Host::start(&[Given::new("trouble").setting("what", what)]);
    let mut outcomes = host.tick(1, &[0]);
    host.drain();
    outcomes.remove(0)
}

fn emitted(outcome: &Outcome, wanted: &str) -> String {
    let text = outcome.effects.iter().find_map(|effect| match effect {
        Effect::Emit { topic, payload } if topic == wanted => {
            Some(String::from_utf8_lossy(payload).into_owned())
        }
        _ => None,
    });
    text.unwrap_or_else(|| panic!("nothing under {wanted}: {outcome:?}"))
}

#[test]
fn a_counter_counts() {
    let mut host = Host::start(&[Given::new("counter").setting("emit_every", "2")]);
    assert_eq!(host.tick(1, &[0])[0].effects, []);
    let outcome = host.tick(2, &[0]).remove(0);
    assert_eq!(
        (outcome.status.clone(), emitted(&outcome, "count")),
        (Status::Completed, "2".to_owned())
    );
    assert!(outcome.fuel_used > 0);
    host.drain();
}

#[test]
fn messages_and_randomness_repeat_exactly() {
    let run = || {
        let agent = |peer: &str| Given::new("pingpong").setting("peer", peer);
        let mut host = Host::start(&[agent("agent-1"), agent("agent-0")]);
        let mut inbox = vec![Vec::new(), Vec::new()];
        let mut all = Vec::new();
        for tick in 1..=20 {
            let events = std::mem::replace(&mut inbox, vec![Vec::new(), Vec::new()]);
            let outcomes = host.step(
                tick,
                events
                    .into_iter()
                    .enumerate()
                    .map(supervisor::numbered)
                    .collect(),
            );
            for outcome in &outcomes {
                for effect in &outcome.effects {
                    if let Effect::Send { to, payload } = effect {
                        inbox[to.index()].push(AgentEvent::Message {
                            sender: outcome.agent,
                            payload: payload.clone(),
                        });
                    }
                }
            }
            all.push(outcomes);
        }
        host.drain();
        all
    };
    let first = run();
    assert_eq!(first, run(), "two runs differ");
    assert!(
        first
            .iter()
            .flatten()
            .all(|outcome| outcome.status == Status::Completed)
    );
    assert_ne!(
        emitted(&first[9][0], "checksum"),
        emitted(&first[9][1], "checksum"),
        "agents share a stream"
    );
}

#[test]
fn a_trap_has_one_text_and_keeps_the_log() {
    for (what, text) in [
        (
            "unreachable",
            "wasm trap: wasm `unreachable` instruction executed",
        ),
        (
            "panic",
            "wasm trap: wasm `unreachable` instruction executed",
        ),
        ("divide", "wasm trap: integer divide by zero"),
        ("out-of-bounds", "wasm trap: out of bounds memory access"),
        ("recurse", "wasm trap: call stack exhausted"),
    ] {
        let outcome = trouble(what);
        assert_eq!(outcome.status, Status::Trapped(text.to_owned()), "{what}");
        let line = LogLine {
            level: LogLevel::Info,
            text: "count 1".to_owned(),
        };
        assert_eq!(outcome.effects[0], Effect::Log(line), "{what}");
        assert!(
            outcome
                .effects
                .iter()
                .all(|effect| matches!(effect, Effect::Log(_))),
            "{what}"
        );
        assert_eq!(outcome, trouble(what), "{what}");
    }
}

#[test]
fn spinning_ends_at_the_fuel_of_the_step() {
    let outcome = trouble("spin");
    assert_eq!(
        (&outcome.status, outcome.fuel_used),
        (&Status::OutOfFuel, supervisor::FUEL)
    );
    assert_eq!(outcome, trouble("spin"));
}

#[test]
fn memory_ends_at_its_limit() {
    let outcome = trouble("memory");
    assert_eq!(outcome.status, Status::Completed);
    let bytes: u64 = emitted(&outcome, "memory").parse().expect("a number");
    assert!(bytes > 0 && bytes < supervisor::MEMORY_BYTES, "{bytes}");
    assert_eq!(outcome, trouble("memory"));
}

#[test]
fn calls_beyond_the_limits_are_refused() {
    let outcome = trouble("flood");
    assert_eq!(
        emitted(&outcome, "flood"),
        limit::EFFECTS_PER_STEP.to_string()
    );
    let outcome = trouble("large");
    assert_eq!(emitted(&outcome, "large"), "send=too-large emit=too-large");
}

#[test]
fn nans_are_canonical() {
    let bits = emitted(&trouble("nan"), "nan");
    for number in bits.split(' ') {
        // The sign may be flipped afterwards; everything else is the one pattern.
        let expected = [
            "7ff8000000000000",
            "fff8000000000000",
            "7fc00000",
            "ffc00000",
        ];
        assert!(expected.contains(&number), "{number} in {bits}");
    }
}

#[test]
fn a_failed_agent_halts_or_restarts() {
    let mut host = Host::start(&[
        Given::new("trouble")
            .setting("what", "unreachable")
            .setting("at", "2")
            .on_failure(OnFailure::Halt),
        Given::new("trouble")
            .setting("what", "unreachable")
            .setting("at", "2")
            .on_failure(OnFailure::Restart),
    ]);
    let counts = |outcomes: &[Outcome]| -> Vec<Vec<Effect>> {
        outcomes.iter().map(|o| o.effects.clone()).collect()
    };
    let line = |text: &str| {
        vec![Effect::Log(LogLine {
            level: LogLevel::Info,
            text: text.to_owned(),
        })]
    };
    assert_eq!(
        counts(&host.tick(1, &[0, 1])),
        [line("count 1"), line("count 1")]
    );
    assert_eq!(
        counts(&host.tick(2, &[0, 1])),
        [line("count 2"), line("count 2")]
    );
    let third = host.tick(3, &[0, 1]);
    assert_eq!(third[0].status, Status::Halted("halted".to_owned()));
    assert_eq!(
        (&third[1].status, &third[1].effects),
        (&Status::Completed, &line("count 1"))
    );
    host.drain();
}

#[test]
fn a_refusing_init_names_agent_and_reason() {
    let host = Host::start(&[
        Given::new("trouble").setting("what", "init-error"),
        Given::new("counter"),
    ]);
    assert_eq!(
        host.loaded[0].result,
        Err("agent agent-0: init refuses: asked to refuse".to_owned())
    );
    assert_eq!(host.loaded[1].result, Ok(()));
    host.drain();
}

fn mlp_ports(width: u64, on_mismatch: OnMismatch) -> ModelPorts {
    let port = |name: &str, dims: &[Option<u64>]| Port {
        name: name.into(),
        dtype: DType::F32,
        dims: dims.to_vec(),
    };
    let signature = Signature {
        inputs: vec![port("x", &[None, Some(width)])],
        outputs: vec![port("y", &[None, Some(16)])],
    };
    ModelPorts {
        signature,
        on_mismatch,
    }
}

#[test]
fn requests_are_numbered_and_results_reach_the_agent() {
    let given = Given::new("mlp")
        .setting("emit_every", "2")
        .on_failure(OnFailure::Restart);
    let mut host = Host::start_with(&[given], vec![mlp_ports(64, OnMismatch::Reject)]);
    let submitted = |outcome: &Outcome| match &outcome.effects[..] {
        [
            Effect::Submit {
                request,
                model: ModelId(0),
                inputs,
            },
            ..,
        ] => (*request, inputs.clone()),
        other => panic!("no request first: {other:?}"),
    };
    let (request, inputs) = submitted(&host.tick(1, &[0])[0]);
    assert_eq!(request, RequestId(0));
    assert_eq!(
        (
            inputs[0].dtype,
            inputs[0].shape.dims(),
            inputs[0].data.len()
        ),
        (DType::F32, &[1, 64][..], 256)
    );
    let shape = Shape::new(&[1, 16]).expect("few dimensions");
    let output = Tensor {
        dtype: DType::F32,
        shape,
        data: vec![1; 64],
    };
    let event = AgentEvent::Inference {
        request,
        model: ModelId(0),
        outcome: Ok(vec![output]).into(),
    };
    let second = host
        .step(2, vec![supervisor::numbered((0, vec![event]))])
        .remove(0);
    assert_eq!(submitted(&second).0, RequestId(1));
    assert!(!emitted(&second, "checksum").is_empty());
    host.drain();
}

#[test]
fn a_mismatch_is_refused_or_stops_the_run() {
    let text = "model policy: input x takes f32[?,32], got f32[1,64]";
    let mut host = Host::start_with(
        &[Given::new("mlp")],
        vec![mlp_ports(32, OnMismatch::Reject)],
    );
    let outcome = host.tick(1, &[0]).remove(0);
    assert_eq!(outcome.status, Status::Completed);
    let told = |effect: &Effect| matches!(effect, Effect::Log(line) if line.text.contains(text));
    assert!(outcome.effects.iter().any(told), "{outcome:?}");
    host.drain();
    let mut host = Host::start_with(&[Given::new("mlp")], vec![mlp_ports(32, OnMismatch::Stop)]);
    assert_eq!(
        host.tick(1, &[0])[0].status,
        Status::Mismatch(text.to_owned())
    );
    host.drain();
}

#[test]
fn outcomes_come_in_the_order_of_the_steps() {
    let mut host = Host::start(&vec![Given::new("counter"); 40]);
    let order: Vec<u32> = (0..40).rev().collect();
    for tick in 1..50 {
        let outcomes = host.tick(tick, &order);
        assert_eq!(
            outcomes
                .iter()
                .map(|outcome| outcome.agent)
                .collect::<Vec<_>>(),
            order.iter().map(|id| AgentId(*id)).collect::<Vec<_>>()
        );
    }
    host.drain();
}

#[test]
fn a_step_for_an_unknown_agent_ends_the_host() {
    let mut host = Host::start(&[Given::new("counter")]);
    host.ask(1, vec![supervisor::numbered((7, Vec::new()))]);
    let error = host.end().expect_err("it has no such agent").to_string();
    assert_eq!(
        error,
        "a record of tick 1 is for agent 7, which this host has not loaded"
    );
}
