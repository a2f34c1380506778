//! What it costs to wait for a model within a step.
//!
//! First without hosts: a step that asks 15 times and is answered at once, against one
//! that asks once. The difference is 14 waits, each with leaving and going back to the
//! stack of the step and with a row of 64 numbers on its way there and one of 16 back.
//! Then whole fleets, in which an agent waits within each step, beside the same agents that
//! submit and get the answer in the next tick. Repeats are interleaved.
//!
//! `cargo bench -p lockstep-benches --bench waiting`

use agent_host::bench_support::BareAgents;
use lockstep_benches::binary::in_repository;
use lockstep_benches::clock::timed;
use lockstep_benches::fleets::{model, number, run};
use lockstep_benches::report::Report;
use lockstep_benches::samples::Samples;
use lockstep_benches::{Trouble, binary};
use shm_protocol::boot::Extent;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::supervisor_to_agent::{
    AgentSetup, LoadAgent, ModelPorts, OnFailure, OnMismatch, RequestResult, Step,
};
use shm_protocol::tensor::{DType, Port, Shape, Signature, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use supervisor::artifact::Compiler;
use supervisor::fleet::Durability;

// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each is measured. Odd, for the median.
const REPEATS: usize = 21;

/// Steps of a repeat without hosts.
const STEPS: u64 = 2_000;

/// Waits of the longer step; the shorter one has one.
const TURNS: u32 = 15;

/// Agents of the fleets, and ticks of a repeat.
const AGENTS: [usize; 3] = [1, 8, 64];
const TICKS: u64 = 2_000;

/// How agents ask.
const WAYS: [&str; 2] = ["wait", "submit"];

fn main() -> Result<(), Trouble> {
    let binary = binary::lockstep()?;
    let mut report = Report::new("waiting");
    report.say(&format!("measured: {}", binary.display()));
    bare(&mut report, &binary)?;
    fleets(&mut report, &binary)?;
    report.finish()
}

fn bare(report: &mut Report, binary: &Path) -> Result<(), Trouble> {
    let (mut once, mut often) = (agent(binary, 1)?, agent(binary, TURNS)?);
    let (mut of_once, mut of_often, mut per_wait) =
        (Samples::default(), Samples::default(), Samples::default());
    for repeat in 0..REPEATS as u64 {
        let short = steps(&mut once, repeat)?;
        let long = steps(&mut often, repeat)?;
        of_once.add(short);
        of_often.add(long);
        per_wait.add((long - short) / f64::from(TURNS - 1));
    }
    report.keep("bare/one wait_s", &of_once);
    report.keep("bare/a further wait_s", &per_wait);
    report.table(
        "without hosts",
        &["step with one wait µs", "a further wait µs"],
        &[vec![of_once.show(1e6, 2), per_wait.show(1e6, 2)]],
    );
    Ok(())
}

/// Mean seconds of a step.
fn steps(agent: &mut BareAgents, repeat: u64) -> Result<f64, Trouble> {
    let answer: RequestResult = Ok(vec![Tensor {
        dtype: DType::F32,
        shape: Shape::new(&[1, 16])?,
        data: vec![0; 64],
    }]);
    let (took, result) = timed(|| {
        (1..=STEPS).try_for_each(|number| {
            let step = Step {
                agent: AgentId(0),
                events: Vec::new(),
            };
            let tick = Tick(repeat * STEPS + number);
            let outcome = agent.step_answered(tick, step, |_| answer.clone())?;
            drop(outcome);
            Ok::<(), String>(())
        })
    });
    result?;
    Ok(took / STEPS as f64)
}

/// An agent that thinks in so many turns, without a host.
fn agent(binary: &Path, turns: u32) -> Result<BareAgents, Trouble> {
    let compiler = Compiler {
        program: binary.to_path_buf(),
        cache: None,
        canonical_nan: true,
        wasmtime_version: agent_host::WASMTIME_VERSION.to_owned(),
        config_fingerprint: agent_host::config_fingerprint(),
    };
    let artifact = compiler.artifact(&fs::read(component())?)?;
    let setup = AgentSetup {
        max_step_bytes: shm_protocol::limit::STEP_BYTES as u64,
        random_key: [0; 32],
        canonical_nan: true,
        agents: vec!["ponder".to_owned()],
        models: vec!["mlp".to_owned()],
    };
    let own = |(key, value): (&str, String)| (key.to_owned(), value);
    let settings = [("emit_every", "0".to_owned()), ("turns", turns.to_string())];
    let load = LoadAgent {
        agent: AgentId(0),
        artifact: Extent {
            offset: 0,
            bytes: artifact.len() as u64,
        },
        settings: settings.map(own).to_vec(),
        fuel: 50_000_000,
        memory_bytes: 16 << 20,
        on_failure: OnFailure::Halt,
        may_finish: false,
        restored: false,
    };
    let port = |name: &str, width| Port {
        name: name.to_owned(),
        dtype: DType::F32,
        dims: vec![None, Some(width)],
    };
    let ports = ModelPorts {
        signature: Signature {
            inputs: vec![port("x", 64)],
            outputs: vec![port("y", 16)],
        },
        on_mismatch: OnMismatch::Stop,
    };
    Ok(BareAgents::new(setup, vec![load], &artifact, vec![ports])?)
}

fn component() -> PathBuf {
    in_repository("agents/built/ponder.wasm")
}

fn fleets(report: &mut Report, binary: &Path) -> Result<(), Trouble> {
    let scratch = binary::scratch()?;
    let mut table = Vec::new();
    for agents in AGENTS {
        let files = WAYS.map(|way| fleet(scratch.path(), agents, way));
        let [waiting, submitting] = files;
        let (waiting, submitting) = (waiting?, submitting?);
        let dir = scratch.path().join("run");
        let tick = |file: &Path| -> Result<f64, Trouble> {
            let said = run(binary, file, &dir, TICKS, Durability::Process)?;
            Ok(1.0 / number(&said, "ticks_per_s")?)
        };
        let (mut of_waiting, mut of_submitting, mut ratio) =
            (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..REPEATS {
            let (wait, submit) = (tick(&waiting)?, tick(&submitting)?);
            of_waiting.add(wait);
            of_submitting.add(submit);
            ratio.add(wait / submit);
        }
        for (name, samples) in [
            ("wait_s", &of_waiting),
            ("submit_s", &of_submitting),
            ("ratio", &ratio),
        ] {
            report.keep(&format!("{agents} agents/{name}"), samples);
        }
        table.push(vec![
            agents.to_string(),
            of_submitting.show(1e6, 1),
            of_waiting.show(1e6, 1),
            ratio.show(1.0, 2),
        ]);
    }
    report.table(
        "fleets, one answer for each agent and tick",
        &["agents", "tick, submit µs", "tick, wait µs", "ratio"],
        &table,
    );
    Ok(())
}

/// Writes the file of a fleet whose agents ask in this way, once in each tick.
fn fleet(folder: &Path, agents: usize, way: &str) -> Result<PathBuf, Trouble> {
    let (component, model) = (component().canonicalize()?, model().canonicalize()?);
    let text = format!(
        "[fleet]\nname = \"{way}\"\n\n\
         [[agents]]\nname = \"ponder\"\ncount = {agents}\ncomponent = {component:?}\n\
         settings = {{ turns = 1, emit_every = 0, how = \"{way}\" }}\n\n\
         [[models]]\nname = \"mlp\"\nfile = {model:?}\n"
    );
    let path = folder.join(format!("{way}-{agents}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}
