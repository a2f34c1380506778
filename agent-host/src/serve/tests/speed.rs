//! Measurements of the cost of a step beyond the bare call. They print and check nothing.
//!
//! `cargo test --release -p agent-host speed -- --ignored --nocapture`

use super::supervisor::{FUEL, Given, Host, artifact, bare};
use crate::agent::StepProgress;
use crate::agent_set::AgentSet;
use crate::bindings::AgentPre;
use crate::compiled_component::CompiledComponent;
use crate::record_batcher::RecordBatcher;
use crate::shared_config::SharedConfig;
use crate::store_data::StoreData;
use crate::{determinism, imports};
use shm_protocol::agent_state::StateRecord;
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{AgentSetup, LoadAgent, OnFailure, Step, Steps};
use shm_protocol::{codec, limit};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Engine, Store};

const AGENTS: u32 = 100;
const TICKS: u64 = 5_000;

/// The best of several runs, in microseconds for each tick.
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn measure(name: &str, mut tick: impl FnMut(u64)) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = Instant::now();
        (1..=TICKS).for_each(&mut tick);
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / TICKS as f64);
    }
    eprintln!(
        "{name:40} {best:8.2} us a tick of {AGENTS} agents, {:6.1} ns a step",
        best * 1e3 / f64::from(AGENTS)
    );
}

fn all() -> Steps {
    Steps {
        steps: (0..AGENTS)
            .map(|id| Step {
                agent: AgentId(id),
                events: Vec::new(),
            })
            .collect(),
    }
}

fn bare_calls() {
    let engine = Engine::new(&determinism::config(true).expect("known")).expect("valid");
    let linker = imports::linker(&engine).expect("memory");
    let component = CompiledComponent::load(&engine, &linker, &artifact("counter")).expect("ours");
    let pre = AgentPre::new(component.instance_pre).expect("fits");
    let setup = AgentSetup {
        max_step_bytes: limit::STEP_BYTES as u64,
        random_key: [0; 32],
        canonical_nan: true,
        agents: vec!["a".into()],
        models: Vec::new(),
    };
    let shared = Arc::new(SharedConfig::new(setup));
    let config = crate::bindings::Config {
        name: "a".into(),
        id: 0,
        settings: Vec::new(),
    };
    let load = |id| LoadAgent {
        agent: AgentId(id),
        artifact: Extent {
            offset: 0,
            bytes: 0,
        },
        settings: Vec::new(),
        fuel: FUEL,
        memory_bytes: 1 << 24,
        on_failure: OnFailure::Halt,
        may_finish: false,
        restored: false,
    };
    let instance = |id| {
        let mut store = Store::new(&engine, StoreData::new(Arc::clone(&shared), &load(id)));
        store.limiter(|data| &mut data.limiter);
        store.set_fuel(FUEL).expect("on");
        let exports = pre.instantiate(&mut store).expect("instance");
        exports
            .call_init(&mut store, &config)
            .expect("returns")
            .expect("agrees");
        (store, exports)
    };
    let mut instances: Vec<_> = (0..AGENTS).map(instance).collect();
    measure("bare calls", |_| {
        for (store, exports) in &mut instances {
            store.set_fuel(FUEL).expect("on");
            exports.call_step(store, &[]).expect("returns");
        }
    });
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    bare_calls();
    let given = vec![Given::new("counter"); AGENTS as usize];
    let mut agents = bare(&given);
    let mut record = RecordBatcher::new(limit::RECORD_BYTES);
    let encoded = codec::encode(&all());
    measure("decode, step, encode", |tick| {
        let steps = codec::decode::<Steps, { limit::RECORD_BYTES }>(&encoded).expect("valid");
        let mut send = |bytes: &[u8]| {
            black_box(bytes);
            Ok::<(), Infallible>(())
        };
        for step in steps.steps {
            let StepProgress::Done(outcome) =
                agents.step(Tick(tick), step).expect("a sound machine")
            else {
                panic!("a counter does not await");
            };
            let Ok(()) = record.add(&outcome, &mut send);
            agents.recycle(outcome);
        }
        let Ok(()) = record.flush(&mut send);
    });
    let mut host = Host::start(&given);
    let order: Vec<u32> = (0..AGENTS).collect();
    measure("through the rings, with a test in front", |tick| {
        black_box(host.tick(tick, &order));
    });
    host.drain();
}

/// The best of several runs, in microseconds.
fn best<R>(mut prepare: impl FnMut() -> R, mut run: impl FnMut(&mut R)) -> f64 {
    let one = |_| {
        let mut input = prepare();
        once(|| run(&mut input))
    };
    (0..100).map(one).fold(f64::INFINITY, f64::min)
}

/// The cost of loading an agent, which is mostly that of its instance.
#[test]
#[ignore = "a measurement"]
fn begin() {
    let given = vec![Given::new("counter"); 200];
    let all = best(|| (), |()| drop(black_box(bare(&given))));
    eprintln!("{:6.2} us an agent, of 200", all / 200.0);
}

/// A snapshot: compares all pages, copies those that have changed, and encodes them.
fn save(agents: &mut AgentSet, is_full: bool) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let give = |record: &StateRecord| {
        records.push(codec::encode(record));
        Ok(())
    };
    agents.save(is_full, 4 << 20, give).expect("nobody refuses");
    records
}

/// The cost of capturing and restoring the state of an agent.
#[test]
#[ignore = "a measurement"]
fn state() {
    for (name, memory) in [
        ("counter", "a small agent"),
        ("touching", "1 MiB, 4 pages changed"),
        ("touching-much", "16 MiB, 4 pages changed"),
    ] {
        let given = [Given::new(name)];
        let mut agents = bare(&given);
        let mut tick = 0;
        let mut step = |agents: &mut AgentSet| {
            tick += 1;
            let events = Vec::new();
            let agent = AgentId(0);
            agents
                .step(Tick(tick), Step { agent, events })
                .expect("a sound machine");
        };
        step(&mut agents);
        let first = best(
            || bare(&given),
            |agents| drop(black_box(save(agents, false))),
        );
        save(&mut agents, false);
        let mut changed = f64::INFINITY;
        for _ in 0..100 {
            step(&mut agents);
            changed = changed.min(once(|| drop(black_box(save(&mut agents, false)))));
        }
        let full = best(|| (), |()| drop(black_box(save(&mut agents, true))));
        let records = save(&mut agents, true);
        let bytes: usize = records.iter().map(Vec::len).sum();
        let restored = [given[0].clone().restored()];
        let restore = best(
            || bare(&restored),
            |agents| {
                for record in &records {
                    let record = codec::decode::<StateRecord, { limit::RECORD_BYTES }>(record);
                    agents
                        .restore(Tick(tick), record.expect("valid"))
                        .expect("it fits");
                }
            },
        );
        eprintln!(
            "{memory:25} changed {changed:8.1} us, full {full:8.1} us of {bytes} bytes, restore {restore:8.1} us, \
             first of a new one {first:8.1} us"
        );
    }
}

/// The time that it takes, in microseconds.
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn once(run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_secs_f64() * 1e6
}
