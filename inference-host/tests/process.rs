//! The promise: an inference host is a process that answers every command, gives
//! up its rights before it reads a model, says what went wrong with an exit code
//! that names whose fault it is, and never outlives its supervisor.

mod common;

use command_fds::{CommandFdExt, FdMapping};
use common::{floats, load, model_file, run_alone};
use inference_host::confine;
use ipc_channel::ipc::IpcSender;
use shm_protocol::agent_to_supervisor::{Blame, FAILURE, Failure, READY, Ready};
use shm_protocol::boot::{self, Extent, HostArguments};
use shm_protocol::codec;
use shm_protocol::fault::{self, Kind, Phase, Slot};
use shm_protocol::id::{BatchId, HostId, Incarnation, ModelId, Tick, VersionId};
use shm_protocol::inference_to_supervisor::{
    Batching, ENGINE_READY, EngineReady, MODEL_LOADED, ModelFacts, ModelLoaded, OUTPUT,
};
use shm_protocol::limit::RECORD_BYTES;
use shm_protocol::link::{LinkSizes, SupervisorLink};
use shm_protocol::ring::Header;
use shm_protocol::supervisor_to_inference::{self, INPUT, Load, RUN, Run, Setup};
use shm_protocol::sys::sealed_memory;
use shm_protocol::tensor::Tensor;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use tempfile::TempDir;

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

/// Gives up its rights when this program was started for that, and says what it can still do.
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
fn what_was_given_up_is_gone() {
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

/// A host process, and this side of it.
struct Host {
    child: Child,
    link: SupervisorLink,
    commands: Option<IpcSender<supervisor_to_inference::Command>>,
    _folder: TempDir,
}

impl Host {
    /// Starts a host with these artifacts, which believes `supervisor` to be its parent.
    fn start(artifacts: &[&[u8]], supervisor: u32) -> Host {
        Host::start_with(artifacts, supervisor, &[])
    }

    /// As [`Host::start`], and these faults wait in it.
    fn start_with(artifacts: &[&[u8]], supervisor: u32, faults: &[Slot]) -> Host {
        let sizes = LinkSizes {
            down_bytes: 1 << 20,
            up_bytes: 1 << 20,
        };
        let may_fault = !faults.is_empty();
        let (mut link, descriptors) =
            SupervisorLink::create_with(sizes, Incarnation(3), may_fault).expect("a link");
        for slot in faults {
            assert!(link.faults().expect("faults may be").arm(slot));
        }
        let (mut hello, hello_host) = std::io::pipe().expect("a pipe");
        let artifacts = sealed_memory("artifacts", artifacts).expect("memory");
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = i32::try_from(supervisor).expect("a process number");
        let arguments = HostArguments {
            host: HostId(0),
            incarnation: Incarnation(3),
            supervisor,
        };
        let mapping = |parent_fd, child_fd| FdMapping {
            parent_fd,
            child_fd,
        };
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command
            .args(["host", "--exact", "--nocapture"])
            .env(ARGUMENTS, arguments.to_arguments().join(" "))
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .fd_mappings(vec![
                mapping(descriptors.down, boot::DOWN),
                mapping(descriptors.up, boot::UP),
                mapping(descriptors.bell, boot::BELL),
                mapping(hello_host.into(), boot::HELLO),
                mapping(artifacts, boot::ARTIFACTS),
            ])
            .expect("distinct descriptors");
        let child = command.spawn().expect("a process");
        drop(command);
        let mut name = String::new();
        hello.read_to_string(&mut name).expect("a name or the end");
        let commands = (!name.is_empty()).then(|| IpcSender::connect(name).expect("its server"));
        Host {
            child,
            link,
            commands,
            _folder: folder,
        }
    }

    fn send(&self, command: supervisor_to_inference::Command) {
        self.commands
            .as_ref()
            .expect("the host is there")
            .send(command)
            .expect("the host reads");
    }

    /// The next record, which must be of this kind. The end of the host is a failed test.
    fn next<T: bincode::Decode<()>>(&mut self, kind: u16) -> T {
        let mut data = Vec::new();
        let header = loop {
            if let Some(header) = self.link.up.try_take(&mut data).expect("a ring in order") {
                break header;
            }
            if let Some(status) = self.child.try_wait().expect("a child")
                && self.link.up.is_empty()
            {
                panic!("the host ended with {status}: {}", self.words());
            }
            thread::yield_now();
        };
        if header.kind == FAILURE && kind != FAILURE {
            let failure: Failure = codec::decode::<_, RECORD_BYTES>(&data).expect("a failure");
            panic!("{}", failure.message);
        }
        assert_eq!(header.kind, kind);
        codec::decode::<_, RECORD_BYTES>(&data).expect("a message")
    }

    fn words(&mut self) -> String {
        let mut words = String::new();
        let _ = self
            .child
            .stderr
            .as_mut()
            .expect("piped")
            .read_to_string(&mut words);
        words
    }

    fn end(mut self) -> (ExitStatus, String) {
        let words = self.words();
        (self.child.wait().expect("a child"), words)
    }

    /// Whether the thread on which the host lives has given up new privileges. Here it is not the first thread of
    /// the process, because that is the test runner's.
    fn has_no_new_privileges(&self) -> bool {
        let tasks =
            std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("its threads");
        let statuses =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        statuses
            .into_iter()
            .any(|status| status.contains("NoNewPrivs:\t1"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setup(library: Option<&str>, intra_threads: u32) -> supervisor_to_inference::Command {
    supervisor_to_inference::Command::Setup(Setup {
        library: library.map(str::to_owned),
        intra_threads,
        loads_drivers_later: false,
    })
}

fn load_command(
    model: u32,
    offset: usize,
    bytes: usize,
    providers: &[&str],
) -> supervisor_to_inference::Command {
    supervisor_to_inference::Command::Load(Load {
        version: VersionId(model),
        model: ModelId(model),
        keep: true,
        name: format!("model-{model}"),
        artifact: Extent {
            offset: offset as u64,
            bytes: bytes as u64,
        },
        providers: providers.iter().map(|name| (*name).to_owned()).collect(),
        strict_providers: false,
        memory_bytes: 0,
        generator: None,
        may_batch: true,
    })
}

fn facts(loaded: ModelLoaded) -> ModelFacts {
    loaded
        .result
        .unwrap_or_else(|refused| panic!("{}", refused.message))
}

/// Sends a batch for model 0, and gives its input.
fn push_batch(host: &mut Host) -> Tensor {
    let input = floats(&[3, 4], |n| if n % 2 == 0 { 0.1 } else { -0.2 });
    let run = Run {
        batch: BatchId(0),
        version: VersionId(0),
        model: ModelId(0),
        inputs: 1,
    };
    assert!(
        host.link
            .down
            .try_push(&Header::new(RUN, Tick(1)), &codec::encode(&run))
            .expect("room")
    );
    let header = Header {
        tensor: Some((input.dtype, input.shape)),
        ..Header::new(INPUT, Tick(1))
    };
    assert!(host.link.down.try_push(&header, &input.data).expect("room"));
    host.link.down.notify();
    input
}

#[test]
fn a_whole_life() {
    let (policy, mixing) = (
        model_file("policy.onnx"),
        model_file("testdata/cross_row.onnx"),
    );
    let mut host = Host::start(&[&policy, &mixing], std::process::id());
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
    host.send(supervisor_to_inference::Command::Start);
    let input = push_batch(&mut host);
    let mut output = Vec::new();
    let header = loop {
        if let Some(header) = host.link.up.try_take(&mut output).expect("a ring in order") {
            break header;
        }
        thread::yield_now();
    };
    assert_eq!(
        (header.kind, header.tick, header.incarnation),
        (OUTPUT, Tick(1), Incarnation(3))
    );
    assert_eq!(
        output,
        run_alone(load("policy.onnx").as_mut(), &[input])[0].data
    );
    host.send(supervisor_to_inference::Command::Drain);
    let (status, words) = host.end();
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}

#[test]
fn a_broken_model_is_told_and_the_host_goes_on() {
    let (garbage, policy) = (
        model_file("testdata/garbage.onnx"),
        model_file("policy.onnx"),
    );
    let mut host = Host::start(&[&garbage, &policy], std::process::id());
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
    host.send(supervisor_to_inference::Command::Drain);
    assert_eq!(host.end().0.code(), Some(0));
}

#[test]
fn a_wrong_library_ends_the_host_with_code_two() {
    let mut host = Host::start(&[&[0]], std::process::id());
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
fn a_library_named_by_its_path_serves_as_well() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), inference_host::embedded_library().bytes).expect("its bytes");
    let policy = model_file("policy.onnx");
    let mut host = Host::start(&[&policy], std::process::id());
    let _: Ready = host.next(READY);
    host.send(setup(file.path().to_str(), 1));
    let _: EngineReady = host.next(ENGINE_READY);
    host.send(load_command(0, 0, policy.len(), &["cpu"]));
    assert_eq!(facts(host.next(MODEL_LOADED)).provider, "cpu");
    host.send(supervisor_to_inference::Command::Start);
    host.send(supervisor_to_inference::Command::Drain);
    assert_eq!(host.end().0.code(), Some(0));
}

#[test]
fn a_command_out_of_place_is_our_own_fault() {
    let mut host = Host::start(&[&[0]], std::process::id());
    let _: Ready = host.next(READY);
    host.send(supervisor_to_inference::Command::Start);
    let failure: Failure = host.next(FAILURE);
    assert_eq!(failure.blame, Blame::Us);
    assert!(
        failure.message.contains("a start where a setup belongs"),
        "{}",
        failure.message
    );
    assert_eq!(host.end().0.code(), Some(70));
}

#[test]
fn a_host_that_is_not_the_supervisors_child_does_not_begin() {
    let host = Host::start(&[&[0]], 1);
    assert!(host.commands.is_none());
    let (status, words) = host.end();
    assert_eq!(status.code(), Some(70));
    assert!(words.contains("not the parent"), "{words}");
}

#[test]
fn a_host_whose_channel_ends_is_gone() {
    for start in [false, true] {
        let mut host = Host::start(&[&[0]], std::process::id());
        let _: Ready = host.next(READY);
        if start {
            host.send(setup(None, 1));
            let _: EngineReady = host.next(ENGINE_READY);
            host.send(supervisor_to_inference::Command::Start);
        } else {
            host.send(setup(None, 1));
            let _: EngineReady = host.next(ENGINE_READY);
        }
        host.commands = None;
        let status = host.child.wait().expect("a child");
        assert_eq!((status.code(), status.signal()), (Some(70), None));
    }
}

fn fault(phase: Phase, kind: Kind) -> Slot {
    Slot {
        rule: 1,
        phase,
        kind,
        tick: fault::ANY_TICK,
        subject: fault::ANY,
        ms: 1,
    }
}

#[test]
fn a_host_passes_all_its_points() {
    let policy = model_file("policy.onnx");
    let points = [
        Phase::HostBorn,
        Phase::BeforeReady,
        Phase::AfterReady,
        Phase::BeforeEngine,
        Phase::AfterEngine,
        Phase::BeforeModel,
        Phase::AfterModel,
        Phase::BeforeBatch,
        Phase::AfterRun,
        Phase::MidAnswer,
        Phase::AfterAnswer,
    ];
    for phase in points {
        let mut host =
            Host::start_with(&[&policy], std::process::id(), &[fault(phase, Kind::Slow)]);
        let _: Ready = host.next(READY);
        host.send(setup(None, 1));
        let _: EngineReady = host.next(ENGINE_READY);
        host.send(load_command(0, 0, policy.len(), &[]));
        facts(host.next(MODEL_LOADED));
        host.send(supervisor_to_inference::Command::Start);
        push_batch(&mut host);
        let mut output = Vec::new();
        while host
            .link
            .up
            .try_take(&mut output)
            .expect("in order")
            .is_none()
        {
            thread::yield_now();
        }
        host.send(supervisor_to_inference::Command::Drain);
        let status = host.child.wait().expect("a child");
        assert_eq!(status.code(), Some(0), "{phase:?}");
        let faults = host.link.faults().expect("faults may be");
        assert_eq!(faults.fired(), Some(1), "{phase:?}");
    }
}

#[test]
fn a_model_that_is_said_to_be_gone_is_refused_once() {
    let policy = model_file("policy.onnx");
    let gone = fault(Phase::BeforeModel, Kind::ModelGone);
    let mut host = Host::start_with(&[&policy], std::process::id(), &[gone]);
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
