//! A host process and the supervisor's end of it.

use bincode::{Decode, Encode};
use command_fds::CommandFdExt;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::{self, Extent, Role};
use shm_protocol::fault::FaultSlot;
use shm_protocol::id::AgentId;
use shm_protocol::supervisor_to_agent::{
    AgentCommand, AgentSetup, LoadAgent, OnFailure, STEPS, StartAgents, Step, Steps,
};
use shm_protocol::sys::sealed_memory;
use shm_protocol::{codec, limit};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process;
use std::{env, fs};
use test_support::host_process::{HostProcess, host_arguments, mapping, own_process};

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

/// Runs a compiler: its exit code, what it made, and what it said.
pub(crate) fn compile(component: &[u8], nan: &str) -> (Option<i32>, Vec<u8>, String) {
    let input = sealed_memory("component", &[component]).expect("memory");
    // A file serves as well as the memory that the supervisor gives.
    let mut output = tempfile::tempfile().expect("a file");
    let mut command = own_program(Role::Compiler);
    command.args([nan, &process::id().to_string()]);
    let output_of_child: OwnedFd = output.try_clone().expect("a duplicate").into();
    let mappings = vec![
        mapping(input, boot::COMPONENT),
        mapping(output_of_child, boot::ARTIFACT),
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
    process: HostProcess<AgentCommand>,
    extents: Vec<Extent>,
}

impl Child {
    pub(crate) fn start(components: &[&str]) -> Child {
        Child::start_for(components, own_process())
    }

    /// Starts a host that is told that this process is its supervisor.
    pub(crate) fn start_for(components: &[&str], supervisor: i32) -> Child {
        Child::start_with(components, supervisor, &[])
    }

    /// Starts a host in which these faults wait.
    pub(crate) fn start_with(components: &[&str], supervisor: i32, faults: &[FaultSlot]) -> Child {
        let (extents, artifacts) = artifacts(components);
        let mut program = own_program(Role::AgentHost);
        program.args(host_arguments(supervisor)).env_clear();
        Child {
            process: HostProcess::start(program, artifacts, faults),
            extents,
        }
    }

    pub(crate) fn send(&mut self, command: AgentCommand) {
        self.process.send(command);
    }

    pub(crate) fn ready(&mut self) -> Ready {
        let (header, bytes) = self.process.record();
        assert_eq!(header.kind, READY, "the first record");
        codec::decode_record(&bytes).expect("valid")
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
            may_finish: false,
            restored,
        }));
    }

    pub(crate) fn step(&mut self, tick: u64, steps: Vec<Step>) {
        self.push(STEPS, tick, &Steps { steps });
    }

    pub(crate) fn push(&mut self, kind: u16, tick: u64, message: &impl Encode) {
        self.process.push_message(kind, tick, message);
    }

    pub(crate) fn hang_up(&mut self) {
        self.process.hang_up();
    }

    pub(crate) fn fired(&mut self) -> u32 {
        self.process.fired()
    }

    /// Kills a host that waits for its end.
    pub(crate) fn kill(mut self) {
        let child = &mut self.process.child;
        assert_eq!(child.try_wait().expect("our child"), None);
        child.kill().expect("our child");
        assert_eq!(self.process.end().0.signal(), Some(9));
    }

    /// The exit status of the process.
    pub(crate) fn status(self) -> process::ExitStatus {
        self.process.end().0
    }

    /// Waits for the end: exit code, and what it said.
    pub(crate) fn end(self) -> (Option<i32>, String) {
        let (status, words) = self.process.end();
        (status.code(), words)
    }
}

/// The next record, as what it must be.
pub(crate) fn expect<T: Decode<()>>(child: &mut Child) -> T {
    let (header, bytes) = child.process.record();
    codec::decode_record(&bytes).unwrap_or_else(|error| panic!("kind {}: {error}", header.kind))
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
        max_step_bytes: limit::STEP_BYTES as u64,
        random_key: [0; 32],
        canonical_nan: true,
        agents,
        models: Vec::new(),
    }
}

pub(crate) fn no_models() -> StartAgents {
    StartAgents { models: Vec::new() }
}
