//! One incarnation of a host: its process, its memory, its command channel and the end of its standard error.

use super::command_sender::CommandSender;
use super::lifecycle::{IllegalTransition, Lifecycle, LifecycleEvent};
use super::program::HostProgram;
use super::socket_dir::SocketDir;
use super::spawn::{SpawnError, SpawnParams, spawn_process};
use super::stderr_tail::StderrTail;
use crate::faults::HostView;
use crate::sys::{ProcessHandle, set_nonblocking, wait_readable};
use ipc_channel::ipc::IpcSender;
use serde::Serialize;
use shm_protocol::boot::{MAX_CONTROL_NAME_BYTES, Role};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, Incarnation};
use shm_protocol::link::SupervisorLink;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ExitStatus};
use std::time::Duration;

/// How long a host may take to offer its control channel; it does so before it loads anything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One incarnation of a host.
pub struct HostProcess {
    host: HostId,
    incarnation: Incarnation,
    lifecycle: Lifecycle,
    child: Child,
    handle: ProcessHandle,
    stderr: ChildStderr,
    stderr_tail: StderrTail,
    /// The pipe on which the host writes the name of its control server, until it was read.
    control_name: Option<PipeReader>,
    /// The folder of the control server's socket, until the channel is connected. It is removed after the process that
    /// may write to it.
    socket_dir: Option<SocketDir>,
    /// Whether [`super::HostEvent::Dying`] was reported.
    is_reported_dying: bool,
    /// The rings.
    pub link: SupervisorLink,
}

impl HostProcess {
    /// Starts a host.
    ///
    /// # Errors
    /// [`SpawnError::Link`] and [`SpawnError::Start`].
    pub fn start(
        program: &HostProgram,
        mut params: SpawnParams<'_>,
    ) -> Result<HostProcess, SpawnError> {
        let host = params.host;
        let start = |source: io::Error| SpawnError::Start { host, source };
        params.faults.pass_now(FaultPoint::BeforeSpawn);
        let may_fault = params.faults.may_fault();
        let (mut link, descriptors) = match params.memory.take() {
            Some(memory) => memory,
            None => SupervisorLink::create_with(params.sizes, params.incarnation, may_fault)
                .map_err(|source| SpawnError::Link { host, source })?,
        };
        if let Some(armed) = link.faults() {
            params.faults.host_started(host);
            let view = HostView {
                host,
                is_inference: params.role == Role::InferenceHost,
                agents: params.agents,
            };
            params.faults.arm(&view, armed);
        }
        let (mut child, control_name) =
            spawn_process(program, &params, descriptors).map_err(start)?;
        let handle = ProcessHandle::of_child(&child).map_err(start)?;
        let stderr = child.stderr.take().expect("standard error is piped");
        set_nonblocking(&stderr).map_err(start)?;
        Ok(HostProcess {
            host,
            incarnation: params.incarnation,
            lifecycle: Lifecycle::Starting,
            child,
            handle,
            stderr,
            stderr_tail: StderrTail::default(),
            control_name: Some(control_name),
            socket_dir: Some(params.socket_dir),
            is_reported_dying: false,
            link,
        })
    }

    /// Reads the name of the control server and connects to it. Waits until the host has written the name or has ended,
    /// for at most ten seconds.
    ///
    /// # Errors
    /// [`SpawnError::Connect`].
    pub fn connect<C: Serialize + Send + 'static>(
        &mut self,
    ) -> Result<CommandSender<C>, SpawnError> {
        let host = self.host;
        let failed = |source| SpawnError::Connect { host, source };
        let name = self.read_control_name().map_err(failed)?;
        let commands = IpcSender::connect(name)
            .and_then(|channel| CommandSender::new(host, channel))
            .map_err(failed)?;
        self.socket_dir = None;
        Ok(commands)
    }

    fn read_control_name(&mut self) -> io::Result<String> {
        let pipe = self.control_name.take();
        let pipe = pipe.ok_or(io::ErrorKind::AlreadyExists)?;
        if !wait_readable(&[pipe.as_fd()], Some(CONNECT_TIMEOUT))? {
            return Err(io::Error::other(format!(
                "it has not offered its control channel for {} s",
                CONNECT_TIMEOUT.as_secs()
            )));
        }
        let mut name = String::new();
        pipe.take(MAX_CONTROL_NAME_BYTES as u64)
            .read_to_string(&mut name)?;
        if name.is_empty() {
            return Err(io::Error::other(
                "it ended before it offered its control channel",
            ));
        }
        Ok(name)
    }

    /// Whether it is dying and that was not reported.
    pub(super) fn is_newly_dying(&self) -> bool {
        !self.is_reported_dying && self.link.is_dying() && self.lifecycle != Lifecycle::Draining
    }

    /// Notes that its dying was reported.
    pub(super) fn note_dying(&mut self) {
        self.is_reported_dying = true;
    }

    /// Makes it an incarnation of this host, whatever host it was started as.
    pub fn serve_as(&mut self, host: HostId) {
        self.host = host;
    }

    /// The number of the incarnation.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The host that it is an incarnation of.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.host
    }

    /// Its process number, for people.
    #[must_use]
    pub fn process_number(&self) -> u32 {
        self.child.id()
    }

    /// The state of its life.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Moves its lifecycle on.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn advance(&mut self, event: LifecycleEvent) -> Result<(), IllegalTransition> {
        self.lifecycle = self.lifecycle.after(event)?;
        Ok(())
    }

    /// Readable once the process has ended.
    pub(super) fn exit_descriptor(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Readable when the host has written to standard error.
    pub(super) fn stderr(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// Reads standard error without waiting. `false` when it has ended.
    pub(super) fn read_stderr(&mut self) -> bool {
        self.stderr_tail.read_from(&mut self.stderr)
    }

    /// Reaps the process if it has ended.
    pub(super) fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for the end of the process and reaps it. `None` when it has not ended in this time.
    pub(super) fn exit_status_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.handle.wait_exit(timeout).ok()?;
        let status = self.child.try_wait().ok()??;
        self.advance(LifecycleEvent::Exited).ok()?;
        self.read_stderr();
        Some(status)
    }

    /// The end of what it wrote to standard error.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        self.stderr_tail.text()
    }

    /// Suspends the process, which then hangs; does nothing when it has ended.
    pub fn stop(&self) {
        self.handle.suspend();
    }

    /// Kills the process; does nothing when it has ended.
    pub fn kill(&self) {
        self.handle.kill();
    }
}

impl Drop for HostProcess {
    /// No host lives longer than its value in the supervisor, and none stays a zombie.
    fn drop(&mut self) {
        if self.lifecycle != Lifecycle::Ended {
            self.kill();
            let _ = self.child.wait();
        }
    }
}
