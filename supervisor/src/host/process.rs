//! One incarnation of a host: its process, its memory, its command channel and
//! the end of its standard error.

use super::lifecycle::{IllegalTransition, Lifecycle, LifecycleEvent};
use super::program::HostProgram;
use super::socket_dir::SocketDir;
use super::stderr_tail::StderrTail;
use crate::faults::{Faults, HostView};
use command_fds::{CommandFdExt, FdMapping};
use ipc_channel::ipc::IpcSender;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use shm_protocol::boot::{self, HostArguments, MAX_CONTROL_NAME_BYTES, Role};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Incarnation};
use shm_protocol::link::{HostDescriptors, LinkError, LinkSizes, SupervisorLink};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use thiserror::Error;

/// How long a host may take to offer its control channel; it does so before it loads anything.
const HELLO_SECONDS: i64 = 10;

/// How long a host that has closed its pipe may take to be gone.
const FAREWELL_NANOSECONDS: i64 = 500_000_000;

/// Why a host could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// Its memory could not be made.
    #[error("the memory of host {host} could not be made: {source}")]
    Link {
        /// The host.
        host: HostId,
        /// Why.
        source: LinkError,
    },
    /// The process could not be started.
    #[error(
        "host {host} could not be started: {source}; is a limit on processes or descriptors reached?"
    )]
    Start {
        /// The host.
        host: HostId,
        /// What the system said.
        source: io::Error,
    },
    /// Its control server could not be reached.
    #[error("host {host} cannot be reached: {source}")]
    Connect {
        /// The host.
        host: HostId,
        /// What the system said.
        source: io::Error,
    },
}

/// What a host is started with.
pub struct SpawnParams<'a> {
    /// Which host.
    pub host: HostId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// In which role.
    pub role: Role,
    /// How large its rings are.
    pub sizes: LinkSizes,
    /// Sealed memory with components or models.
    pub artifacts: BorrowedFd<'a>,
    /// A folder for its control server's socket.
    pub(super) folder: SocketDir,
    /// What may be made to go wrong with it.
    pub faults: &'a Faults,
    /// The agents that it has, or will have.
    pub agents: &'a [AgentId],
    /// Its memory, if that is there already.
    pub memory: Option<IncarnationMemory>,
}

/// Memory for one incarnation, and what the host needs of it.
pub(super) type IncarnationMemory = (SupervisorLink, HostDescriptors);

/// One incarnation of a host.
pub struct HostProcess {
    host: HostId,
    incarnation: Incarnation,
    lifecycle: Lifecycle,
    child: Child,
    pidfd: OwnedFd,
    stderr: ChildStderr,
    stderr_tail: StderrTail,
    hello: Option<OwnedFd>,
    /// Where it offers its control channel, until that is connected. It goes after the process that may write to it.
    folder: Option<SocketDir>,
    /// Whether it was told that it is dying.
    is_known_to_die: bool,
    /// The rings.
    pub link: SupervisorLink,
}

impl HostProcess {
    /// Starts a host.
    ///
    /// # Errors
    /// [`SpawnError::Link`] and [`SpawnError::Start`].
    pub fn start(program: &HostProgram, birth: SpawnParams<'_>) -> Result<HostProcess, SpawnError> {
        let host = birth.host;
        let start = |source: io::Error| SpawnError::Start { host, source };
        birth.faults.pass_now(FaultPoint::BeforeSpawn);
        let may_fault = birth.faults.may_fault();
        let (mut link, descriptors) = match birth.memory {
            Some(memory) => memory,
            None => SupervisorLink::create_with(birth.sizes, birth.incarnation, may_fault)
                .map_err(|source| SpawnError::Link { host, source })?,
        };
        if let Some(armed) = link.faults() {
            birth.faults.born(host);
            let sight = HostView {
                host,
                is_inference: birth.role == Role::InferenceHost,
                agents: birth.agents,
            };
            birth.faults.arm(&sight, armed);
        }
        let (hello, hello_host) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| start(e.into()))?;
        let artifacts = birth.artifacts.try_clone_to_owned().map_err(start)?;
        let mapping = |parent_fd, child_fd| FdMapping {
            parent_fd,
            child_fd,
        };
        let arguments = HostArguments {
            host,
            incarnation: birth.incarnation,
            supervisor: rustix::process::getpid().as_raw_nonzero().get(),
        };
        let mut command = Command::new(program.path());
        command
            .arg0("lockstep")
            .arg(birth.role.argument())
            .args(arguments.to_arguments())
            .env_clear()
            .envs(inherited_environment(birth.role))
            .env("TMPDIR", birth.folder.path())
            // The allocator must not look for memory nodes in /sys, which a confined host cannot.
            .env("MIMALLOC_USE_NUMA_NODES", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // The terminal's Ctrl-C is for the supervisor, which then drains its hosts.
            .process_group(0)
            .fd_mappings(vec![
                mapping(descriptors.down, boot::TO_HOST),
                mapping(descriptors.up, boot::FROM_HOST),
                mapping(descriptors.bell, boot::BELL),
                mapping(hello_host, boot::CONTROL_NAME_PIPE),
                mapping(artifacts, boot::ARTIFACTS),
            ])
            .expect("the places of the descriptors differ");
        let mut child = command.spawn().map_err(start)?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|e| start(e.into()))?;
        let stderr = child.stderr.take().expect("standard error was asked for");
        rustix::io::ioctl_fionbio(&stderr, true).map_err(|e| start(e.into()))?;
        let (lifecycle, stderr_tail, hello) =
            (Lifecycle::Starting, StderrTail::default(), Some(hello));
        Ok(HostProcess {
            host,
            incarnation: birth.incarnation,
            lifecycle,
            child,
            pidfd,
            stderr,
            stderr_tail,
            hello,
            folder: Some(birth.folder),
            is_known_to_die: false,
            link,
        })
    }

    /// Reads the name of the control server and connects to it. Waits until
    /// the host has told the name or is gone, which both end the pipe, or until ten seconds are over.
    ///
    /// # Errors
    /// [`SpawnError::Connect`].
    pub fn connect<C: Serialize + Send + 'static>(
        &mut self,
    ) -> Result<CommandSender<C>, SpawnError> {
        let failed = |source| SpawnError::Connect {
            host: self.host,
            source,
        };
        let hello = self
            .hello
            .take()
            .ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))?;
        self.await_hello(&hello).map_err(failed)?;
        let mut name = String::new();
        std::fs::File::from(hello)
            .take(MAX_CONTROL_NAME_BYTES as u64)
            .read_to_string(&mut name)
            .map_err(failed)?;
        if name.is_empty() {
            return Err(failed(io::Error::other(
                "it ended before it offered its control channel",
            )));
        }
        let commands = IpcSender::connect(name)
            .and_then(|channel| CommandSender::over(self.host, channel))
            .map_err(failed)?;
        self.folder = None;
        Ok(commands)
    }

    /// Waits until the host has told the name of its control server, or has closed the pipe by ending.
    fn await_hello(&self, hello: &OwnedFd) -> io::Result<()> {
        let mut hellos = [PollFd::new(hello, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: HELLO_SECONDS,
            tv_nsec: 0,
        };
        match poll(&mut hellos, Some(&patience)) {
            Ok(0) => Err(io::Error::other(format!(
                "it has not offered its control channel for {HELLO_SECONDS} s"
            ))),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is dying and nobody was told.
    pub(super) fn is_newly_dying(&self) -> bool {
        !self.is_known_to_die && self.link.is_dying() && self.lifecycle != Lifecycle::Draining
    }

    pub(super) fn note_dying(&mut self) {
        self.is_known_to_die = true;
    }

    /// From now on it is the incarnation of this host, whatever it was started as.
    pub fn serve_as(&mut self, host: HostId) {
        self.host = host;
    }

    /// Which life this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Which host this is.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Its process number, for people.
    #[must_use]
    pub fn process_number(&self) -> u32 {
        self.child.id()
    }

    /// Where it is in its life.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Takes note of a moment of its life.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn note(&mut self, moment: LifecycleEvent) -> Result<(), IllegalTransition> {
        self.lifecycle = self.lifecycle.after(moment)?;
        Ok(())
    }

    /// Readable once the process is gone.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable when the host has written to standard error.
    pub(super) fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// Reads standard error without blocking. False when nothing will come any more.
    pub(super) fn listen(&mut self) -> bool {
        self.stderr_tail.read_from(&mut self.stderr)
    }

    /// Reaps the process if it is gone.
    pub(super) fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// How it ended, if it does so within a moment.
    pub(super) fn ending_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: patience.subsec_nanos().into(),
        };
        let ends = PollFd::new(&self.pidfd, PollFlags::IN);
        poll(&mut [ends], Some(&timeout)).ok()?;
        let status = self.child.try_wait().ok()??;
        self.note(LifecycleEvent::Exited).ok()?;
        Some(status)
    }

    /// How it ended and the end of its standard error, if it has ended or does so within a moment.
    pub(super) fn farewell(&mut self) -> Option<(ExitStatus, String)> {
        let ends = PollFd::new(&self.pidfd, PollFlags::IN);
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: FAREWELL_NANOSECONDS,
        };
        poll(&mut [ends], Some(&patience)).ok()?;
        let status = self.child.try_wait().ok()??;
        self.stderr_tail.read_from(&mut self.stderr);
        Some((status, self.stderr_tail()))
    }

    /// The end of what it wrote to standard error.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        self.stderr_tail.text()
    }

    /// Stops the process, which then hangs; harmless when it is gone.
    pub fn stop(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::STOP);
    }

    /// Kills the process; harmless when it is gone.
    pub fn kill(&self) {
        // The only error is that the process is gone already, which is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

impl Drop for HostProcess {
    /// No host outlives the supervisor's interest in it, and none stays a zombie.
    fn drop(&mut self) {
        if self.lifecycle != Lifecycle::Ended {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// The way down for commands. The supervisor only ever sends, and never waits for that: a host that dies while a
/// command longer than a packet is on its way would hold the sender for ever, so a thread of its own does the sending.
pub struct CommandSender<C> {
    host: HostId,
    queue: mpsc::Sender<C>,
}

impl<C: Serialize + Send + 'static> CommandSender<C> {
    fn over(host: HostId, channel: IpcSender<C>) -> io::Result<CommandSender<C>> {
        let (queue, commands) = mpsc::channel();
        thread::Builder::new()
            .name(format!("commands {host}"))
            .spawn(move || {
                // Ends with the queue, or with the host, whose death is noticed elsewhere.
                commands
                    .into_iter()
                    .try_for_each(|command| channel.send(command))
            })?;
        Ok(CommandSender { host, queue })
    }

    /// Sends a command. The caller keeps fewer than [`shm_protocol::limit::COMMANDS_OUTSTANDING`] unanswered.
    ///
    /// # Errors
    /// [`SpawnError::Connect`] when the host is known to be gone.
    pub fn send(&self, command: C) -> Result<(), SpawnError> {
        let gone = |_| SpawnError::Connect {
            host: self.host,
            source: io::ErrorKind::BrokenPipe.into(),
        };
        self.queue.send(command).map_err(gone)
    }
}

/// Variables that a host may see. An agent host gets none but the folder for its
/// socket; GPU libraries find their parts through the loader's path.
fn inherited_environment(role: Role) -> Vec<(OsString, OsString)> {
    // Names and values can be any bytes; one that is not text is no reason to stop.
    let wanted = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name == b"LD_LIBRARY_PATH" || name.starts_with(b"CUDA_") || name.starts_with(b"NVIDIA_")
    };
    match role {
        Role::InferenceHost => std::env::vars_os()
            .filter(|(name, _)| wanted(name))
            .collect(),
        Role::AgentHost | Role::Compiler => Vec::new(),
    }
}
