//! Both roles as real processes: this program starts itself, as `lockstep` does.
//!
//! The promise: a confined host serves its supervisor whatever its agents do, saves and restores their states, and exits
//! with code 0 when drained. A compiler refuses a component that cannot be an agent, in one line. A host without a
//! supervisor exits.
//!
//! Confinement cannot be undone, so every check has its own processes. The test has no harness, because the processes run
//! the main function of this program.

#![allow(clippy::print_stdout, reason = "no harness speaks for this program")]

mod child;

use child::{Child, compile, expect, read_built};
use shm_protocol::agent_state::{RESTORE, SNAPSHOT, Snapshot, StateRecord};
use shm_protocol::agent_to_supervisor::{AgentLoaded, Outcomes, Status};
use shm_protocol::boot::Role;
use shm_protocol::fault::{self, FaultKind, FaultPoint, FaultSlot};
use shm_protocol::id::AgentId;
use shm_protocol::supervisor_to_agent::{AgentCommand, OnFailure, Step};
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

/// Ticks of the check under load.
const TICKS: u64 = 300;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let role = arguments
        .first()
        .and_then(|argument| Role::from_argument(argument));
    match role {
        Some(Role::AgentHost) => ExitCode::from(agent_host::main(&arguments[1..])),
        Some(Role::Compiler) => ExitCode::from(agent_host::compiler_main(&arguments[1..])),
        Some(Role::InferenceHost) => unreachable!("this program has no such role"),
        None => {
            check("a compiler compiles an agent", a_compiler_compiles_an_agent);
            check(
                "a compiler refuses in one line",
                a_compiler_refuses_in_one_line,
            );
            check("a host serves under load", a_host_serves_under_load);
            check("a host takes up a state", a_host_takes_up_a_state);
            check("a host ends with its channel", a_host_ends_with_its_channel);
            check("a host of somebody else ends", a_host_of_somebody_else_ends);
            check(
                "a confined host ends as a fault says",
                a_confined_host_ends_as_a_fault_says,
            );
            check(
                "a confined host passes all its points",
                a_confined_host_passes_all_its_points,
            );
            ExitCode::SUCCESS
        }
    }
}

fn check(name: &str, body: fn()) {
    println!("{name} ...");
    body();
    println!("{name}: ok");
}

fn a_compiler_compiles_an_agent() {
    let (code, artifact, said) = compile(&read_built("counter"), "canonical");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(artifact.len() > 1000);
}

fn a_compiler_refuses_in_one_line() {
    let refused = |component: &[u8]| {
        let (code, artifact, said) = compile(component, "native");
        assert_eq!((code, artifact.len()), (Some(2), 0), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    assert!(refused(&read_built("clock")).contains("wasi:clocks/monotonic-clock@0.2.0"));
    assert!(refused(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
    assert!(refused(b"garbage").contains("not a WebAssembly component"));
    let mut damaged = read_built("counter");
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    refused(&damaged);
}

fn a_host_serves_under_load() {
    let troubles = [
        "unreachable",
        "spin",
        "memory",
        "recurse",
        "flood",
        "out-of-bounds",
        "nan",
    ];
    let mut child = Child::start(&["counter", "trouble"]);
    // More names than one packet of the control channel holds.
    let agents: Vec<String> = (0..40_000)
        .map(|position| format!("an agent with the number {position}"))
        .collect();
    child.send(AgentCommand::Setup(child::setup(agents)));
    let ready = child.ready();
    for layer in &ready.confinement {
        match &layer.missing {
            None => println!("  {} holds", layer.name),
            Some(reason) => println!("  {} is skipped: {reason}", layer.name),
        }
    }
    child.load(0, 0, &[], OnFailure::Halt);
    for (what, position) in troubles.iter().zip(1..) {
        child.load(
            position,
            1,
            &[("what", what), ("at", "2")],
            OnFailure::Restart,
        );
    }
    let count = troubles.len() + 1;
    for _ in 0..count {
        let loaded: AgentLoaded = expect(&mut child);
        assert_eq!(loaded.result, Ok(()));
    }
    child.send(AgentCommand::Start(child::no_models()));
    for tick in 1..=TICKS {
        let step = |position| Step {
            agent: AgentId::from_index(position),
            events: Vec::new(),
        };
        // The trouble comes again and again: an agent that began anew sees tick 2 each time.
        child.step(
            if tick % 2 == 0 { 2 } else { tick },
            (0..count).map(step).collect(),
        );
        // Slow steps make it several records.
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            outcomes.extend(expect::<Outcomes>(&mut child).outcomes);
        }
        assert_eq!(outcomes.len(), count);
        assert_eq!(outcomes[0].status, Status::Completed);
        let is_trouble = tick % 2 == 0;
        assert_eq!(
            outcomes[1].status != Status::Completed,
            is_trouble,
            "tick {tick}"
        );
        assert_eq!(
            outcomes[2].status == Status::OutOfFuel,
            is_trouble,
            "tick {tick}"
        );
    }
    child.send(AgentCommand::Drain);
    assert_eq!(child.end(), (Some(0), String::new()));
}

fn a_host_takes_up_a_state() {
    let one = |restored| {
        let mut child = Child::start(&["counter"]);
        child.send(AgentCommand::Setup(child::setup(vec!["agent".to_owned()])));
        child.ready();
        let settings = [("emit_every", "1")];
        child.load_as(0, 0, &settings, OnFailure::Halt, restored);
        let loaded: AgentLoaded = expect(&mut child);
        assert_eq!((loaded.result, loaded.opaque), (Ok(()), None));
        child.send(AgentCommand::Start(child::no_models()));
        child
    };
    let step = |child: &mut Child, tick| {
        let agent = AgentId(0);
        let events = Vec::new();
        child.step(tick, vec![Step { agent, events }]);
        expect::<Outcomes>(child).outcomes
    };
    let mut first = one(false);
    for tick in 1..=5 {
        step(&mut first, tick);
    }
    first.push(SNAPSHOT, 5, &Snapshot { full: true });
    let mut records: Vec<StateRecord> = Vec::new();
    while records.last().is_none_or(|record| !record.is_last) {
        records.push(expect(&mut first));
    }
    let mut second = one(true);
    for record in &records {
        for page in &record.pages {
            let mut record = record.clone();
            record.is_last = false;
            record.pages = vec![page.clone()];
            second.push(RESTORE, 5, &record);
        }
    }
    let mut last = records.pop().expect("there is one");
    last.pages.clear();
    second.push(RESTORE, 5, &last);
    let outcomes = step(&mut first, 6);
    assert_eq!(step(&mut second, 6), outcomes);
    assert_eq!(outcomes[0].effects.len(), 1, "it counts aloud");
    for mut child in [first, second] {
        child.send(AgentCommand::Drain);
        assert_eq!(child.end(), (Some(0), String::new()));
    }
}

fn a_host_ends_with_its_channel() {
    let mut child = Child::start(&["counter"]);
    child.send(AgentCommand::Setup(child::setup(vec!["agent".to_owned()])));
    child.ready();
    child.hang_up();
    assert_eq!(child.end().0, Some(70));
}

fn a_host_of_somebody_else_ends() {
    let (code, said) = Child::start_for(&["counter"], i32::MAX).end();
    assert_eq!(code, Some(70));
    assert!(said.contains("is not the parent"), "{said}");
}

fn fault(point: FaultPoint, kind: FaultKind) -> FaultSlot {
    FaultSlot {
        rule: 1,
        point,
        kind,
        tick: fault::ANY_TICK,
        subject: fault::ANY,
        ms: 1,
    }
}

/// A host with one counter and these faults. Gives it with its first step in the ring.
fn faulty(faults: &[FaultSlot]) -> Child {
    let own = i32::try_from(std::process::id()).expect("small");
    let mut child = Child::start_with(&["counter"], own, faults);
    child.send(AgentCommand::Setup(child::setup(vec!["agent".to_owned()])));
    child.ready();
    // An agent that calls its host in each step.
    child.load(0, 0, &[("emit_every", "1")], OnFailure::Halt);
    let loaded: AgentLoaded = expect(&mut child);
    assert_eq!(loaded.result, Ok(()));
    child.send(AgentCommand::Start(child::no_models()));
    let step = Step {
        agent: AgentId(0),
        events: Vec::new(),
    };
    child.step(1, vec![step]);
    child
}

/// The engine catches signals of its own, and the filter kills for calls that it does not know: neither may stand in
/// the way of an end that is asked for.
fn a_confined_host_ends_as_a_fault_says() {
    let ends = [
        (FaultKind::Segfault, Some(11), None),
        (FaultKind::Abort, Some(6), None),
        (FaultKind::Exit, None, Some(1)),
    ];
    for (kind, signal, code) in ends {
        for point in [FaultPoint::BeforeStep, FaultPoint::InStep] {
            let mut child = faulty(&[fault(point, kind)]);
            assert_eq!(child.fired(), 1);
            let status = child.status();
            assert_eq!((status.signal(), status.code()), (signal, code), "{kind:?}");
        }
    }
    let mut child = faulty(&[fault(FaultPoint::InStep, FaultKind::Kill)]);
    assert_eq!(child.fired(), 1);
    child.kill();
}

fn a_confined_host_passes_all_its_points() {
    let points = [
        FaultPoint::ProcessStarted,
        FaultPoint::BeforeReady,
        FaultPoint::AfterReady,
        FaultPoint::BeforeLoad,
        FaultPoint::AfterLoad,
        FaultPoint::BeforeStep,
        FaultPoint::InStep,
        FaultPoint::AfterStep,
        FaultPoint::BeforeOutcomes,
        FaultPoint::AfterOutcomes,
        FaultPoint::RingReserved,
        FaultPoint::RingHalfPayload,
        FaultPoint::RingBeforePublish,
        FaultPoint::RingAfterPublish,
    ];
    for point in points {
        let mut child = faulty(&[fault(point, FaultKind::Slow)]);
        let outcomes: Outcomes = expect(&mut child);
        assert_eq!(outcomes.outcomes[0].status, Status::Completed, "{point:?}");
        assert_eq!(child.fired(), 1, "{point:?}");
        child.send(AgentCommand::Drain);
        assert_eq!(child.end(), (Some(0), String::new()), "{point:?}");
    }
}
