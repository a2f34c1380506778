//! What a step costs beyond the bare call. Not a test: it only prints.
//!
//! `cargo test --release -p agent-host speed -- --ignored --nocapture`

use super::supervisor::{FUEL, Given, Host, artifact, bare};
use crate::agent::Stepped;
use crate::agents::Agents;
use crate::bindings::AgentPre;
use crate::fleet::Fleet;
use crate::list_record::ListRecord;
use crate::program::Program;
use crate::state::State;
use crate::{determinism, imports};
use shm_protocol::agent_state::StateRecord;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{AgentSetup, Step, Steps};
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
    let program = Program::load(&engine, &linker, &artifact("counter")).expect("ours");
    let pre = AgentPre::new(program.instances).expect("fits");
    let setup = AgentSetup {
        step_bytes: limit::STEP_BYTES as u64,
        random_key: [0; 32],
        canonical_nan: true,
        agents: vec!["a".into()],
        models: Vec::new(),
    };
    let fleet = Arc::new(Fleet::new(setup));
    let config = crate::bindings::Config {
        name: "a".into(),
        id: 0,
        settings: Vec::new(),
        agents: Vec::new(),
        models: Vec::new(),
    };
    let instance = |id| {
        let mut store = Store::new(
            &engine,
            State::new(Arc::clone(&fleet), AgentId(id), 1 << 24),
        );
        store.limiter(|state| &mut state.limiter);
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
    let mut record = ListRecord::new(limit::RECORD_BYTES);
    let encoded = codec::encode(&all());
    measure("decode, step, encode", |tick| {
        let steps = codec::decode::<Steps, { limit::RECORD_BYTES }>(&encoded).expect("valid");
        let mut send = |bytes: &[u8]| {
            black_box(bytes);
            Ok::<(), Infallible>(())
        };
        for step in steps.steps {
            let Stepped::Done(outcome) = agents.step(Tick(tick), step).expect("a sound machine")
            else {
                panic!("a counter does not wait");
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

/// What it costs to begin an agent, of which most is making its instance.
#[test]
#[ignore = "a measurement"]
fn begin() {
    let given = vec![Given::new("counter"); 200];
    let all = best(|| (), |()| drop(black_box(bare(&given))));
    eprintln!("{:6.2} us an agent, of 200", all / 200.0);
}

/// What a snapshot costs: comparing all pages, copying those that have changed, and encoding them.
fn save(agents: &mut Agents, is_full: bool) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let give = |record: &StateRecord| {
        records.push(codec::encode(record));
        Ok(())
    };
    agents.save(is_full, 4 << 20, give).expect("nobody refuses");
    records
}

/// What it costs to capture and restore the state of an agent.
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
        let mut step = |agents: &mut Agents| {
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

/// How long it takes, in microseconds.
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn once(run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_secs_f64() * 1e6
}
