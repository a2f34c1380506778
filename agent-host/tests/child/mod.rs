//! A host process and the supervisor's end of it.

use bincode::{Decode, Encode};
use command_fds::{CommandFdExt, FdMapping};
use ipc_channel::ipc::IpcSender;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::{self, Extent, HostArguments, Role};
use shm_protocol::fault::FaultSlot;
use shm_protocol::id::{AgentId, HostId, Incarnation, Tick};
use shm_protocol::link::{LinkSizes, SupervisorLink};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{
    AgentCommand, AgentSetup, LoadAgent, OnFailure, STEPS, StartAgents, Step, Steps,
};
use shm_protocol::sys::sealed_memory;
use shm_protocol::{codec, limit};
use std::io::{self, PipeReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Stdio};
use std::{env, fs, thread};
use tempfile::TempDir;

/// A built example agent.
pub(crate) fn read_built(name: &str) -> Vec<u8> {
    let path = format!("{}/../agents/built/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn own_program(role: Role) -> process::Command {
    let mut command = process::Command::new(env::current_exe().expect("this program"));
    command.arg(role.argument());
    command
}

fn map(parent_fd: OwnedFd, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd,
        child_fd,
    }
}

/// Runs a compiler: its exit code, what it made, and what it said.
pub(crate) fn compile(component: &[u8], nan: &str) -> (Option<i32>, Vec<u8>, String) {
    let input = sealed_memory("component", &[component]).expect("memory");
    // A file serves as well as the memory that the supervisor gives.
    let mut output = tempfile::tempfile().expect("a file");
    let mut command = own_program(Role::Compiler);
    command.args([nan, &process::id().to_string()]);
    let output_of_child: OwnedFd = output.try_clone().expect("a duplicate").into();
    let mappings = vec![
        map(input, boot::COMPONENT),
        map(output_of_child, boot::ARTIFACT),
    ];
    command.fd_mappings(mappings).expect("distinct numbers");
    let ended = command.output().expect("it starts");
    let mut artifact = Vec::new();
    output
        .rewind()
        .and_then(|()| output.read_to_end(&mut artifact))
        .expect("readable");
    (
        ended.status.code(),
        artifact,
        String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
    )
}

pub(crate) struct Child {
    process: process::Child,
    link: SupervisorLink,
    hello: PipeReader,
    sender: Option<IpcSender<AgentCommand>>,
    extents: Vec<Extent>,
    // The folder of the control channel; removed with this.
    _folder: TempDir,
}

impl Child {
    pub(crate) fn start(components: &[&str]) -> Child {
        Child::start_for(components, i32::try_from(process::id()).expect("small"))
    }

    /// Starts a host that is told that this process is its supervisor.
    pub(crate) fn start_for(components: &[&str], supervisor: i32) -> Child {
        Child::start_with(components, supervisor, &[])
    }

    /// Starts a host in which these faults wait.
    pub(crate) fn start_with(components: &[&str], supervisor: i32, faults: &[FaultSlot]) -> Child {
        let incarnation = Incarnation(1);
        let sizes = LinkSizes {
            down_bytes: 1 << 20,
            up_bytes: 8 << 20,
        };
        let (mut link, theirs) =
            SupervisorLink::create_with(sizes, incarnation, !faults.is_empty())
                .expect("memory for a link");
        for slot in faults {
            assert!(link.faults().expect("faults may be").arm(slot));
        }
        let (hello, their_hello) = io::pipe().expect("a pipe");
        let (extents, artifacts) = artifacts(components);
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = own_program(Role::AgentHost);
        command.args(
            HostArguments {
                host: HostId(0),
                incarnation,
                supervisor,
            }
            .to_arguments(),
        );
        command
            .env_clear()
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mappings = vec![
            map(theirs.down, boot::TO_HOST),
            map(theirs.up, boot::FROM_HOST),
            map(theirs.bell, boot::BELL),
            map(their_hello.into(), boot::CONTROL_NAME_PIPE),
            map(artifacts, boot::ARTIFACTS),
        ];
        command.fd_mappings(mappings).expect("distinct numbers");
        let process = command.spawn().expect("it starts");
        Child {
            process,
            link,
            hello,
            sender: None,
            extents,
            _folder: folder,
        }
    }

    pub(crate) fn send(&mut self, command: AgentCommand) {
        let hello = &mut self.hello;
        let sender = self.sender.get_or_insert_with(|| {
            let mut name = String::new();
            hello
                .read_to_string(&mut name)
                .expect("the host says its name");
            IpcSender::connect(name).expect("the host listens")
        });
        // A command of several packets is sent to a host that is gone for ever, so somebody else must watch.
        let sender = sender.clone();
        let sending = thread::spawn(move || sender.send(command).expect("the host reads"));
        while !sending.is_finished() {
            self.expect_alive();
            thread::yield_now();
        }
        sending.join().expect("the host reads");
    }

    pub(crate) fn ready(&mut self) -> Ready {
        let (header, bytes) = self.take();
        assert_eq!(header.kind, READY, "the first record");
        codec::decode::<Ready, { limit::RECORD_BYTES }>(&bytes).expect("valid")
    }

    pub(crate) fn load(
        &mut self,
        agent: u32,
        component: usize,
        settings: &[(&str, &str)],
        on_failure: OnFailure,
    ) {
        self.load_as(agent, component, settings, on_failure, false);
    }

    pub(crate) fn load_as(
        &mut self,
        agent: u32,
        component: usize,
        settings: &[(&str, &str)],
        on_failure: OnFailure,
        restored: bool,
    ) {
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let (fuel, memory_bytes, artifact) = (1_000_000, 8 << 20, self.extents[component]);
        self.send(AgentCommand::Load(LoadAgent {
            agent: AgentId(agent),
            artifact,
            settings,
            fuel,
            memory_bytes,
            on_failure,
            restored,
        }));
    }

    pub(crate) fn step(&mut self, tick: u64, steps: Vec<Step>) {
        self.push(STEPS, tick, &Steps { steps });
    }

    pub(crate) fn push(&mut self, kind: u16, tick: u64, message: &impl Encode) {
        let pushed = self.link.down.try_push(
            &RecordHeader::new(kind, Tick(tick)),
            &codec::encode(message),
        );
        assert_eq!(pushed, Ok(true));
        self.link.down.notify();
    }

    /// The next record.
    pub(crate) fn take(&mut self) -> (RecordHeader, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            if let Some(header) = self.link.up.try_take(&mut bytes).expect("a sound ring") {
                return (header, bytes);
            }
            self.expect_alive();
            thread::yield_now();
        }
    }

    fn expect_alive(&mut self) {
        if let Some(status) = self.process.try_wait().expect("our child") {
            let mut said = String::new();
            let stderr = self.process.stderr.as_mut().expect("piped");
            stderr.read_to_string(&mut said).expect("text");
            panic!("the host has ended: {status}; {said}");
        }
    }

    pub(crate) fn hang_up(&mut self) {
        self.sender = None;
    }

    /// Waits until a fault has fired, and gives its rule.
    pub(crate) fn fired(&mut self) -> u32 {
        loop {
            if let Some(rule) = self.link.faults().expect("faults may be").fired() {
                return rule;
            }
            thread::yield_now();
        }
    }

    /// How the process ended.
    pub(crate) fn status(mut self) -> process::ExitStatus {
        self.process.wait().expect("our child")
    }

    /// Kills a host that waits for its end.
    pub(crate) fn kill(mut self) {
        assert_eq!(self.process.try_wait().expect("our child"), None);
        self.process.kill().expect("our child");
        assert_eq!(self.status().signal(), Some(9));
    }

    /// Waits for the end: exit code, and what it said.
    pub(crate) fn end(self) -> (Option<i32>, String) {
        let ended = self.process.wait_with_output().expect("our child");
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stderr).into_owned(),
        )
    }
}

/// The next record, as what it must be.
pub(crate) fn expect<T: Decode<()>>(child: &mut Child) -> T {
    let (header, bytes) = child.take();
    codec::decode::<T, { limit::RECORD_BYTES }>(&bytes)
        .unwrap_or_else(|error| panic!("kind {}: {error}", header.kind))
}

fn artifacts(components: &[&str]) -> (Vec<Extent>, OwnedFd) {
    let parts: Vec<Vec<u8>> = components
        .iter()
        .map(|name| compile(&read_built(name), "canonical").1)
        .collect();
    let mut offset = 0;
    let extent = |part: &Vec<u8>| {
        let extent = Extent {
            offset,
            bytes: part.len() as u64,
        };
        offset += extent.bytes;
        extent
    };
    let extents = parts.iter().map(extent).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    (extents, sealed_memory("artifacts", &parts).expect("memory"))
}

pub(crate) fn setup(agents: Vec<String>) -> AgentSetup {
    AgentSetup {
        step_bytes: limit::STEP_BYTES as u64,
        random_key: [0; 32],
        canonical_nan: true,
        agents,
        models: Vec::new(),
    }
}

pub(crate) fn no_models() -> StartAgents {
    StartAgents { models: Vec::new() }
}
