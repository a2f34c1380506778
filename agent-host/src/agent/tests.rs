//! The promise: an agent whose restart fails is halted for good, and access to an agent's state does not change its
//! steps.

use super::*;
use crate::capture::{self, StateCapture};
use crate::compile::compile;
use crate::{determinism, imports};
use shm_protocol::agent_state::StateRecord;
use shm_protocol::agent_to_supervisor::LogLevel;
use shm_protocol::boot::Extent;
use shm_protocol::codec;
use shm_protocol::supervisor_to_agent::AgentSetup;
use test_support::handwritten_agents;
use wasmtime::Engine;
use wasmtime::component::Component;

/// A built example agent.
fn built(name: &str) -> Vec<u8> {
    let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn engine() -> Engine {
    Engine::new(&determinism::config(true).expect("known")).expect("valid")
}

/// An agent out of this artifact.
fn agent(artifact: &[u8], settings: &[(&str, &str)]) -> HostedAgent {
    let engine = engine();
    let linker = imports::linker(&engine).expect("memory");
    let component = Arc::new(CompiledComponent::load(&engine, &linker, artifact).expect("ours"));
    let shared = SharedConfig::new(AgentSetup {
        max_step_bytes: shm_protocol::limit::STEP_BYTES as u64,
        random_key: [7; 32],
        canonical_nan: true,
        agents: vec!["agent".to_owned()],
        models: Vec::new(),
    });
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let load = LoadAgent {
        agent: AgentId(0),
        artifact: Extent {
            offset: 0,
            bytes: artifact.len() as u64,
        },
        settings: settings.iter().map(own).collect(),
        fuel: 50_000_000,
        memory_bytes: 16 << 20,
        on_failure: OnFailure::Restart,
        may_finish: false,
        restored: false,
    };
    let (agent, loaded) =
        HostedAgent::load(&Arc::new(shared), component, load).expect("a sound machine");
    assert_eq!(loaded.result, Ok(()));
    agent
}

/// A `trouble` agent that traps in tick 1 and is to be restarted after it.
fn failing() -> HostedAgent {
    let artifact = compile(&built("trouble"), true).expect("it compiles");
    agent(&artifact, &[("what", "unreachable")])
}

fn step(agent: &mut HostedAgent, tick: u64) -> Outcome {
    let stepped = agent.step(Tick(tick), &mut Vec::new(), &mut Vec::new());
    match stepped.expect("a sound machine") {
        StepProgress::Done(outcome) => outcome,
        StepProgress::Awaiting(request) => panic!("it awaits: {request:?}"),
    }
}

fn halted(text: &str) -> Outcome {
    Outcome {
        agent: AgentId(0),
        status: Status::Halted(text.to_owned()),
        fuel_used: 0,
        effects: Vec::new(),
    }
}

#[test]
fn an_agent_whose_restart_fails_is_halted_for_good() {
    let mut agent = failing();
    let failed = step(&mut agent, 1);
    assert!(matches!(failed.status, Status::Trapped(_)), "{failed:?}");
    // Its second `init` is given other settings than its first, and refuses them.
    let settings = &mut agent.load.settings;
    *settings = vec![("what".to_owned(), "init-error".to_owned())];
    assert_eq!(
        step(&mut agent, 2),
        halted("restart: init refuses: asked to refuse")
    );
    assert_eq!(step(&mut agent, 3), halted("halted"));
}

#[test]
fn an_agent_whose_restart_succeeds_goes_on() {
    let mut agent = failing();
    step(&mut agent, 1);
    let outcome = step(&mut agent, 2);
    let line = LogLine {
        level: LogLevel::Info,
        text: "count 1".to_owned(),
    };
    assert_eq!(
        (outcome.status, outcome.effects),
        (Status::Completed, vec![Effect::Log(line)])
    );
}

#[test]
fn the_additions_to_a_component_cost_no_fuel() {
    for component in [
        built("counter"),
        built("trouble"),
        handwritten_agents::named("numbers").expect("known"),
    ] {
        let plain = Component::new(&engine(), &component).and_then(|plain| plain.serialize());
        let unknown = StateCapture::Opaque {
            reason: "it is not asked".to_owned(),
        };
        let plain = capture::encode_artifact(&unknown, &plain.expect("it compiles"));
        let prepared = compile(&component, true).expect("it compiles");
        let mut agents = [plain, prepared].map(|artifact| agent(&artifact, &[]));
        for tick in 1..20 {
            let [plain, prepared] = agents.each_mut().map(|agent| step(agent, tick));
            assert_eq!(prepared, plain, "tick {tick}");
        }
    }
}

fn saved(agent: &mut HostedAgent, max_payload_bytes: usize) -> Vec<StateRecord> {
    let mut records: Vec<StateRecord> = Vec::new();
    let mut give = |record: &StateRecord| {
        records.push(record.clone());
        Ok(())
    };
    agent
        .save(true, max_payload_bytes, &mut give)
        .expect("it has a state");
    records
}

#[test]
fn records_of_a_state_are_as_small_as_the_ring_wants_them() {
    let artifact = compile(&built("counter"), true).expect("it compiles");
    let mut agent = agent(&artifact, &[]);
    let pages = |records: &[StateRecord]| -> Vec<_> {
        let pages = records.iter().flat_map(|record| record.pages.clone());
        pages.collect()
    };
    let whole = saved(&mut agent, 1 << 20);
    assert_eq!(whole.len(), 1);
    let parts = saved(&mut agent, 9_000);
    assert!(parts.len() > 1 && pages(&parts) == pages(&whole));
    assert!(parts.iter().all(|part| codec::encode(part).len() <= 9_000));
    assert_eq!(
        parts.iter().map(|part| part.is_last).collect::<Vec<_>>(),
        (1..=parts.len())
            .map(|number| number == parts.len())
            .collect::<Vec<_>>()
    );
}
