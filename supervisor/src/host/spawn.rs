//! The start of a host process: its memory, its descriptors, its environment.

use super::program::HostProgram;
use super::socket_dir::SocketDir;
use crate::faults::Faults;
use crate::sys::pass_descriptors;
use shm_protocol::boot::{self, HostArguments, Role};
use shm_protocol::id::{AgentId, HostId, Incarnation};
use shm_protocol::link::{HostDescriptors, LinkError, LinkSizes, SupervisorLink};
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use thiserror::Error;

/// Why a host could not be started or reached.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The system has no memory for its rings.
    #[error("cannot allocate shared memory for host {host}: {source}")]
    Link {
        /// The host.
        host: HostId,
        /// The error.
        source: LinkError,
    },
    /// The system refuses the process.
    #[error(
        "cannot start host {host}: {source}; check the limits on processes, descriptors and memory"
    )]
    Start {
        /// The host.
        host: HostId,
        /// The system's error.
        source: io::Error,
    },
    /// Its control channel cannot be reached.
    #[error("cannot connect to host {host}: {source}")]
    Connect {
        /// The host.
        host: HostId,
        /// The system's error.
        source: io::Error,
    },
}

/// The parameters of one incarnation.
pub struct SpawnParams<'a> {
    /// The host.
    pub host: HostId,
    /// The number of the incarnation.
    pub incarnation: Incarnation,
    /// The role of the process.
    pub role: Role,
    /// The sizes of its rings.
    pub sizes: LinkSizes,
    /// Sealed memory with components or models.
    pub artifacts: BorrowedFd<'a>,
    /// The folder for its control server's socket.
    pub(super) socket_dir: SocketDir,
    /// The faults that may be injected into it.
    pub faults: &'a Faults,
    /// The agents that it has, or will have.
    pub agents: &'a [AgentId],
    /// Its memory, if that was created in advance.
    pub memory: Option<IncarnationMemory>,
}

/// The memory of one incarnation: the supervisor's end, and the descriptors for the host.
pub(super) type IncarnationMemory = (SupervisorLink, HostDescriptors);

/// Starts the process of an incarnation. Gives it with the pipe on which it will write the name of its control server.
pub(super) fn spawn_process(
    program: &HostProgram,
    params: &SpawnParams<'_>,
    descriptors: HostDescriptors,
) -> io::Result<(Child, PipeReader)> {
    let (control_name, control_name_of_host) = io::pipe()?;
    let artifacts = params.artifacts.try_clone_to_owned()?;
    let arguments = HostArguments {
        host: params.host,
        incarnation: params.incarnation,
        supervisor: i32::try_from(std::process::id()).expect("process numbers are far smaller"),
    };
    let mut command = Command::new(program.path());
    command
        .arg0("lockstep")
        .arg(params.role.argument())
        .args(arguments.to_arguments())
        .env_clear()
        .envs(inherited_environment(params.role))
        .env("TMPDIR", params.socket_dir.path())
        // The allocator must not look for memory nodes in /sys, which a confined host cannot.
        .env("MIMALLOC_USE_NUMA_NODES", "1")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // The terminal's Ctrl-C is for the supervisor, which then drains its hosts.
        .process_group(0);
    let passed = [
        (descriptors.down, boot::TO_HOST),
        (descriptors.up, boot::FROM_HOST),
        (descriptors.bell, boot::BELL),
        (control_name_of_host.into(), boot::CONTROL_NAME_PIPE),
        (artifacts, boot::ARTIFACTS),
    ];
    pass_descriptors(&mut command, passed).expect("the numbers of the descriptors differ");
    Ok((command.spawn()?, control_name))
}

/// The variables that a host inherits. An agent host inherits none; GPU libraries find their parts through the loader's
/// path.
fn inherited_environment(role: Role) -> Vec<(OsString, OsString)> {
    // Names and values can be any bytes; one that is not text is no reason to stop.
    let is_inherited = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name == b"LD_LIBRARY_PATH" || name.starts_with(b"CUDA_") || name.starts_with(b"NVIDIA_")
    };
    match role {
        Role::InferenceHost => std::env::vars_os()
            .filter(|(name, _)| is_inherited(name))
            .collect(),
        Role::AgentHost | Role::Compiler => Vec::new(),
    }
}
