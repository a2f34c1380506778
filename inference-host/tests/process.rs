//! The promise: an inference host is a process that answers every command, gives up its rights before it reads a model,
//! reports what went wrong with an exit code that names who is to blame, and never outlives its supervisor.

mod child;
mod common;

use child::{Host, facts, load_command, push_batch, setup};
use common::{load, model_file, run_alone};
use inference_host::confine;
use shm_protocol::agent_to_supervisor::{Blame, FAILURE, Failure, READY, Ready};
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultKind, FaultPoint, FaultSlot};
use shm_protocol::id::Tick;
use shm_protocol::inference_to_supervisor::{
    Batching, ENGINE_READY, EngineReady, MODEL_LOADED, ModelLoaded, OUTPUT,
};
use shm_protocol::supervisor_to_inference;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use test_support::host_process::{INCARNATION, own_process};

/// Its presence makes this program play the host; its value is the host's arguments.
const ARGUMENTS: &str = "INFERENCE_HOST_TEST_ARGUMENTS";

/// Plays the host when this program was started as one, and nothing otherwise.
#[test]
#[allow(clippy::exit, reason = "as the binary does")]
fn host() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        std::process::exit(inference_host::main(&arguments).into());
    }
}

/// Its presence makes this program give up its rights and try to use them.
const CONFINED: &str = "INFERENCE_HOST_TEST_CONFINED";

/// Gives up its rights when this program was started for that, and prints what it can still do.
#[test]
fn confined() {
    let Ok(path) = std::env::var(CONFINED) else {
        return;
    };
    let mut file = File::create(path).expect("still allowed");
    let mut words = Vec::new();
    for layer in confine::early().into_iter().chain(confine::after_engine()) {
        words.push(format!(
            "{}={}",
            layer.name,
            layer.missing.unwrap_or_else(|| "holds".to_owned())
        ));
    }
    words.push(format!(
        "write={:?}",
        file.write_all(b"x").map_err(|error| error.kind())
    ));
    words.push(format!(
        "open={:?}",
        File::open("/proc/self/status")
            .map(|_| ())
            .map_err(|error| error.kind())
    ));
    let bound = TcpListener::bind("127.0.0.1:0")
        .map(|_| ())
        .map_err(|error| error.kind());
    words.push(format!("bind={bound:?}"));
    let thread = thread::spawn(|| {
        File::open("/proc/self/status")
            .map(|_| ())
            .map_err(|error| error.kind())
    });
    words.push(format!(
        "open-on-a-thread={:?}",
        thread.join().expect("a thread")
    ));
    let pipes: Vec<_> = (0..100).map_while(|_| std::io::pipe().ok()).collect();
    words.push(format!("descriptors={}", pipes.len() < 40));
    eprintln!("{}", words.join("\n"));
}

#[test]
fn a_confined_process_has_no_rights() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["confined", "--exact", "--nocapture"])
        .env(CONFINED, folder.path().join("file"))
        .output()
        .expect("a process");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let says = |line: &str| words.lines().any(|held| held == line);
    for layer in ["no_new_privs=holds", "dumpable=holds", "rlimits=holds"] {
        assert!(says(layer), "{words}");
    }
    assert!(
        says("write=Err(FileTooLarge)") && says("descriptors=true"),
        "{words}"
    );
    if says("landlock=holds") {
        let denied = "Err(PermissionDenied)";
        for attempt in ["open", "bind", "open-on-a-thread"] {
            assert!(says(&format!("{attempt}={denied}")), "{words}");
        }
    } else {
        eprintln!(
            "skipped: this kernel does not enforce Landlock, so opening files was not checked\n{words}"
        );
    }
}

#[test]
fn a_host_serves_from_start_to_drain() {
    let (policy, mixing) = (
        model_file("policy.onnx"),
        model_file("testdata/cross_row.onnx"),
    );
    let mut host = Host::start(&[&policy, &mixing], own_process());
    let ready: Ready = host.next(READY);
    assert_eq!(ready.protocol, codec::VERSION);
    for layer in &ready.confinement {
        assert_eq!(layer.missing, None, "{}", layer.name);
    }
    host.send(setup(None, 2));
    let engine: EngineReady = host.next(ENGINE_READY);
    assert_eq!(engine.engine, "onnxruntime 1.31.1");
    assert!(host.has_no_new_privileges());
    host.send(load_command(0, 0, policy.len(), &["cuda", "cpu"]));
    let policy_facts = facts(host.next(MODEL_LOADED));
    assert_eq!(
        (policy_facts.provider.as_str(), policy_facts.batching),
        ("cpu", Batching::Joined)
    );
    assert_eq!(policy_facts.refused.len(), 1);
    host.send(load_command(1, policy.len(), mixing.len(), &[]));
    assert!(matches!(
        facts(host.next(MODEL_LOADED)).batching,
        Batching::Alone(_)
    ));
    host.send(supervisor_to_inference::InferenceCommand::Start);
    let input = push_batch(&mut host);
    let (header, output) = host.0.record();
    assert_eq!(
        (header.kind, header.tick, header.incarnation),
        (OUTPUT, Tick(1), INCARNATION)
    );
    assert_eq!(
        output,
        run_alone(load("policy.onnx").as_mut(), &[input])[0].data
    );
    host.send(supervisor_to_inference::InferenceCommand::Drain);
    let (status, words) = host.end();
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}

#[test]
fn an_invalid_model_is_reported_and_the_host_goes_on() {
    let (garbage, policy) = (
        model_file("testdata/garbage.onnx"),
        model_file("policy.onnx"),
    );
    let mut host = Host::start(&[&garbage, &policy], own_process());
    let _: Ready = host.next(READY);
    host.send(setup(None, 1));
    let _: EngineReady = host.next(ENGINE_READY);
    host.send(load_command(0, 0, garbage.len(), &[]));
    let refused = host
        .next::<ModelLoaded>(MODEL_LOADED)
        .result
        .expect_err("garbage");
    assert_eq!(refused.blame, Blame::Input);
    assert!(
        refused.message.contains("model `model-0`"),
        "{}",
        refused.message
    );
    host.send(load_command(1, garbage.len(), policy.len() + 1, &[]));
    let refused = host
        .next::<ModelLoaded>(MODEL_LOADED)
        .result
        .expect_err("one byte too many");
    assert_eq!(refused.blame, Blame::Us);
    host.send(load_command(1, garbage.len(), policy.len(), &[]));
    facts(host.next(MODEL_LOADED));
    host.send(supervisor_to_inference::InferenceCommand::Drain);
    assert_eq!(host.end().0.code(), Some(0));
}

#[test]
fn a_wrong_library_ends_the_host_with_code_two() {
    let mut host = Host::start(&[&[0]], own_process());
    let _: Ready = host.next(READY);
    host.send(setup(Some("/nowhere/libonnxruntime.so"), 1));
    let failure: Failure = host.next(FAILURE);
    assert_eq!(failure.blame, Blame::Input);
    assert!(
        failure.message.contains("/nowhere/libonnxruntime.so"),
        "{}",
        failure.message
    );
    let (status, words) = host.end();
    assert_eq!(status.code(), Some(2));
    assert_eq!(
        words,
        format!("lockstep inference host: {}\n", failure.message)
    );
}

#[test]
fn a_library_by_its_path_serves_as_well() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), inference_host::embedded_library().bytes).expect("its bytes");
    let policy = model_file("policy.onnx");
    let mut host = Host::start(&[&policy], own_process());
    let _: Ready = host.next(READY);
    host.send(setup(file.path().to_str(), 1));
    let _: EngineReady = host.next(ENGINE_READY);
    host.send(load_command(0, 0, policy.len(), &["cpu"]));
    assert_eq!(facts(host.next(MODEL_LOADED)).provider, "cpu");
    host.send(supervisor_to_inference::InferenceCommand::Start);
    host.send(supervisor_to_inference::InferenceCommand::Drain);
    assert_eq!(host.end().0.code(), Some(0));
}

#[test]
fn an_unexpected_command_is_an_internal_error() {
    let mut host = Host::start(&[&[0]], own_process());
    let _: Ready = host.next(READY);
    host.send(supervisor_to_inference::InferenceCommand::Start);
    let failure: Failure = host.next(FAILURE);
    assert_eq!(failure.blame, Blame::Us);
    assert!(
        failure.message.contains("a start instead of a setup"),
        "{}",
        failure.message
    );
    assert_eq!(host.end().0.code(), Some(70));
}

#[test]
fn a_host_that_is_no_child_of_the_supervisor_does_not_start() {
    let mut host = Host::start(&[&[0]], 1);
    assert_eq!(host.0.announced_name(), "");
    let (status, words) = host.end();
    assert_eq!(status.code(), Some(70));
    assert!(words.contains("not the parent"), "{words}");
}

#[test]
fn a_host_ends_with_its_control_channel() {
    for start in [false, true] {
        let mut host = Host::start(&[&[0]], own_process());
        let _: Ready = host.next(READY);
        if start {
            host.send(setup(None, 1));
            let _: EngineReady = host.next(ENGINE_READY);
            host.send(supervisor_to_inference::InferenceCommand::Start);
        } else {
            host.send(setup(None, 1));
            let _: EngineReady = host.next(ENGINE_READY);
        }
        host.0.hang_up();
        let (status, _) = host.end();
        assert_eq!((status.code(), status.signal()), (Some(70), None));
    }
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

#[test]
fn a_host_passes_all_its_fault_points() {
    let policy = model_file("policy.onnx");
    let points = [
        FaultPoint::ProcessStarted,
        FaultPoint::BeforeReady,
        FaultPoint::AfterReady,
        FaultPoint::BeforeEngine,
        FaultPoint::AfterEngine,
        FaultPoint::BeforeModel,
        FaultPoint::AfterModel,
        FaultPoint::BeforeBatch,
        FaultPoint::AfterRun,
        FaultPoint::MidAnswer,
        FaultPoint::AfterAnswer,
    ];
    for point in points {
        let mut host =
            Host::start_with(&[&policy], own_process(), &[fault(point, FaultKind::Slow)]);
        let _: Ready = host.next(READY);
        host.send(setup(None, 1));
        let _: EngineReady = host.next(ENGINE_READY);
        host.send(load_command(0, 0, policy.len(), &[]));
        facts(host.next(MODEL_LOADED));
        host.send(supervisor_to_inference::InferenceCommand::Start);
        push_batch(&mut host);
        host.0.record();
        assert_eq!(host.0.fired(), 1, "{point:?}");
        host.send(supervisor_to_inference::InferenceCommand::Drain);
        assert_eq!(host.end().0.code(), Some(0), "{point:?}");
    }
}

#[test]
fn an_injected_missing_model_is_refused_once() {
    let policy = model_file("policy.onnx");
    let gone = fault(FaultPoint::BeforeModel, FaultKind::ModelGone);
    let mut host = Host::start_with(&[&policy], own_process(), &[gone]);
    let _: Ready = host.next(READY);
    host.send(setup(None, 1));
    let _: EngineReady = host.next(ENGINE_READY);
    host.send(load_command(0, 0, policy.len(), &[]));
    let refused = host.next::<ModelLoaded>(MODEL_LOADED).result;
    let message = refused.expect_err("it is gone").message;
    assert!(
        message.contains("model-0") && message.contains("model-gone"),
        "{message}"
    );
    host.send(load_command(0, 0, policy.len(), &[]));
    facts(host.next(MODEL_LOADED));
}
