//! The hosts of one run: started together, commanded by kind, replaced one by one when they fail, drained together.

use super::socket_dir::SocketDir;
use super::spawn_config::SpawnConfig;
use super::stop_signals::StopSignals;
use crate::faults::Injection;
use crate::host::command_sender::CommandSender;
use crate::host::error::{HostKind, HostSetError};
use crate::host::event::HostEvent;
use crate::host::lifecycle::{Lifecycle, LifecycleEvent};
use crate::host::pending_memory::PendingMemory;
use crate::host::pool::HostPool;
use crate::host::process::HostProcess;
use crate::host::spawn::{IncarnationMemory, SpawnParams};
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::Role;
use shm_protocol::id::{HostId, Incarnation};
use shm_protocol::ring::RecordHeader;
use shm_protocol::{codec, supervisor_to_agent, supervisor_to_inference};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

/// How long a host may take between two reports of progress while it starts or loads. Compiling is done before, so only
/// a hung host or a huge model takes longer.
pub const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for the exit status of a dying host, which is nice to have. A small process ends in less.
const EXIT_STATUS_WAIT: Duration = Duration::from_micros(200);

/// How long a host that cannot be reached may take to end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a host may take to end after the command to drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The command channel of a host, by its kind.
enum CommandChannel {
    Agents(CommandSender<supervisor_to_agent::AgentCommand>),
    Inference(CommandSender<supervisor_to_inference::InferenceCommand>),
}

/// The state of a host beside its process.
#[derive(Default)]
pub(super) struct HostEntry {
    channel: Option<CommandChannel>,
    /// Its report that it is ready.
    ready: Option<Ready>,
    /// Whether it has the setup that all agents share.
    pub(super) is_set_up: bool,
}

/// The hosts of one run. Agent hosts come first, the inference host last.
pub struct HostSet {
    /// The processes.
    pub pool: HostPool,
    pub(super) config: SpawnConfig,
    /// By the number of the host; the last slot is the hot standby's.
    pub(super) slots: Vec<HostEntry>,
    next_incarnation: u32,
    /// Memory for the next hot standby.
    pub(super) standby_memory: Option<PendingMemory>,
}

impl HostSet {
    /// Starts all hosts at once and waits until each is ready.
    ///
    /// # Errors
    /// [`HostSetError`]; hosts that were started are ended.
    pub fn start(
        config: SpawnConfig,
        timeout: Duration,
        stop: StopSignals,
    ) -> Result<HostSet, HostSetError> {
        let mut set = HostSet {
            // The last slot is for the hot standby.
            pool: HostPool::new(config.hosts() + 1, stop)?,
            slots: (0..=config.hosts()).map(|_| HostEntry::default()).collect(),
            config,
            next_incarnation: 1,
            standby_memory: None,
        };
        for host in (0..set.hosts()).map(HostId::from_index) {
            set.spawn(host)?;
        }
        for _ in 0..set.hosts() {
            let (host, header) = set.record(timeout)?;
            set.complete_handshake(host, &header)?;
        }
        Ok(set)
    }

    /// Starts an incarnation of a host, which reports when it is ready; or makes the hot standby one, which is.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn spawn(&mut self, host: HostId) -> Result<Incarnation, HostSetError> {
        if self.may_take_standby(host)
            && let Some(mut process) = self.pool.take(self.standby())?
        {
            self.config.faults.host_started(host);
            process.serve_as(host);
            let incarnation = process.incarnation();
            self.pool.insert(process)?;
            let standby = self.standby().index();
            self.slots[host.index()] = std::mem::take(&mut self.slots[standby]);
            self.arm(host);
            return Ok(incarnation);
        }
        let incarnation = self.next_incarnation();
        self.spawn_with(host, incarnation, None)?;
        Ok(incarnation)
    }

    pub(super) fn next_incarnation(&mut self) -> Incarnation {
        let incarnation = Incarnation(self.next_incarnation);
        self.next_incarnation += 1;
        incarnation
    }

    /// Starts a process for a host, with memory that was created in advance if there is some.
    pub(super) fn spawn_with(
        &mut self,
        host: HostId,
        incarnation: Incarnation,
        memory: Option<IncarnationMemory>,
    ) -> Result<(), HostSetError> {
        let (role, sizes, artifacts) = match &self.config.inference {
            Some((models, sizes)) if Some(host) == self.inference_host() => {
                (Role::InferenceHost, *sizes, models.as_fd())
            }
            _ => (
                Role::AgentHost,
                self.config.agent_sizes,
                self.config.components.as_fd(),
            ),
        };
        let params = SpawnParams {
            host,
            incarnation,
            role,
            sizes,
            artifacts,
            socket_dir: SocketDir::new().map_err(HostSetError::SocketDir)?,
            faults: &self.config.faults,
            agents: self.config.view(host).agents,
            memory,
        };
        self.pool
            .insert(HostProcess::start(&self.config.program, params)?)?;
        self.slots[host.index()] = HostEntry::default();
        Ok(())
    }

    /// Whether a host has reported that it is ready.
    #[must_use]
    pub fn is_ready(&self, host: HostId) -> bool {
        self.slots[host.index()].ready.is_some()
    }

    /// Whether a host has the setup that all agents share.
    #[must_use]
    pub fn is_set_up(&self, host: HostId) -> bool {
        self.slots[host.index()].is_set_up
    }

    /// Takes the last record as a host's report that it is ready, and connects to it. A host reports that after it has
    /// offered its control channel, so this does not wait.
    ///
    /// # Errors
    /// [`HostSetError`] when it is another record or the host cannot be reached.
    pub fn complete_handshake(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), HostSetError> {
        let ready: Ready = self.expect(host, header, READY)?;
        let kind = self.kind(host);
        if ready.protocol != codec::VERSION {
            return Err(HostSetError::Version {
                kind,
                host,
                theirs: ready.protocol,
            });
        }
        let process = self
            .pool
            .host_mut(host)
            .ok_or(HostSetError::Gone { host })?;
        process.advance(LifecycleEvent::SaidReady)?;
        let channel = match kind {
            HostKind::Agents => connect(process, kind).map(CommandChannel::Agents)?,
            HostKind::Inference => connect(process, kind).map(CommandChannel::Inference)?,
        };
        self.slots[host.index()] = HostEntry {
            channel: Some(channel),
            ready: Some(ready),
            is_set_up: false,
        };
        Ok(())
    }

    /// Arms the faults that are due in a host.
    pub fn arm(&mut self, host: HostId) {
        let view = self.config.view(host);
        if let Some(armed) = self
            .pool
            .host_mut(host)
            .and_then(|process| process.link.faults())
        {
            self.config.faults.arm(&view, armed);
        }
    }

    /// The exit status of a dying host, if it is known at once.
    pub fn ending_of(&mut self, host: HostId) -> Option<ExitStatus> {
        self.pool
            .host_mut(host)?
            .exit_status_within(EXIT_STATUS_WAIT)
    }

    /// Sets the memory in which the next incarnation of the inference host finds its models.
    pub fn set_models(&mut self, memory: OwnedFd) {
        if let Some((models, _)) = &mut self.config.inference {
            *models = memory;
        }
    }

    /// Ends the incarnation of a host at once. Gives the end of its standard error.
    pub fn end(&mut self, host: HostId) -> String {
        self.slots[host.index()] = HostEntry::default();
        self.pool.kill_and_reap_later(host)
    }

    /// Does to a host that has reached a fault point what the rule says.
    pub(super) fn inject(&mut self, host: HostId, rule: u32) {
        let injection = self.config.faults.fired(rule, host);
        let process = self.pool.host(host);
        match (injection, process) {
            (Some(Injection::Kill(..)), Some(process)) => process.kill(),
            (Some(Injection::Stop(..)), Some(process)) => process.stop(),
            _ => {}
        }
    }

    /// The number of hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.config.hosts()
    }

    /// The number of agent hosts.
    #[must_use]
    pub fn agent_hosts(&self) -> usize {
        self.config.agent_hosts
    }

    /// The inference host, if there is one.
    #[must_use]
    pub fn inference_host(&self) -> Option<HostId> {
        let host = HostId::from_index(self.config.agent_hosts);
        self.config.inference.as_ref().map(|_| host)
    }

    /// The kind of a host.
    #[must_use]
    pub fn kind(&self, host: HostId) -> HostKind {
        if host.index() < self.config.agent_hosts || host == self.standby() {
            HostKind::Agents
        } else {
            HostKind::Inference
        }
    }

    /// The reports of the hosts that are ready.
    #[must_use]
    pub fn ready(&self) -> Vec<Ready> {
        self.slots
            .iter()
            .take(self.config.hosts())
            .filter_map(|slot| slot.ready.clone())
            .collect()
    }

    /// Sends a command to an agent host.
    ///
    /// # Errors
    /// [`HostSetError`] when it has ended.
    pub fn command_agents(
        &self,
        host: HostId,
        command: supervisor_to_agent::AgentCommand,
    ) -> Result<(), HostSetError> {
        match &self.slots[host.index()].channel {
            Some(CommandChannel::Agents(commands)) => Ok(commands.send(command)?),
            _ => Err(HostSetError::Gone { host }),
        }
    }

    /// Sends a command to the inference host.
    ///
    /// # Errors
    /// [`HostSetError`] when it has ended.
    pub fn command_inference(
        &self,
        command: supervisor_to_inference::InferenceCommand,
    ) -> Result<(), HostSetError> {
        let host = HostId::from_index(self.config.agent_hosts);
        match self.slots.get(host.index()).map(|slot| &slot.channel) {
            Some(Some(CommandChannel::Inference(commands))) => Ok(commands.send(command)?),
            _ => Err(HostSetError::Gone { host }),
        }
    }

    /// Notes that a host got the command to start.
    ///
    /// # Errors
    /// [`HostSetError::Lifecycle`].
    pub fn started(&mut self, host: HostId) -> Result<(), HostSetError> {
        match self.pool.host_mut(host) {
            Some(process) => Ok(process.advance(LifecycleEvent::ToldStart)?),
            None => Err(HostSetError::Gone { host }),
        }
    }

    /// Commands all hosts to finish and waits until they have ended; kills those that do not end in time.
    ///
    /// # Errors
    /// [`HostSetError`] when waiting itself fails.
    pub fn drain(mut self) -> Result<(), HostSetError> {
        for channel in self.slots.iter().filter_map(|slot| slot.channel.as_ref()) {
            // A host that gets no command any more has ended or is about to be killed.
            let _ = match channel {
                CommandChannel::Agents(commands) => {
                    commands.send(supervisor_to_agent::AgentCommand::Drain)
                }
                CommandChannel::Inference(commands) => {
                    commands.send(supervisor_to_inference::InferenceCommand::Drain)
                }
            };
        }
        for process in self.pool.hosts_mut() {
            match process.lifecycle() {
                Lifecycle::Ready | Lifecycle::Serving => {
                    process.advance(LifecycleEvent::ToldDrain)?
                }
                // It takes no commands yet, and has nothing to lose.
                Lifecycle::Starting => process.kill(),
                // One that has reported a failure may have ended already.
                Lifecycle::Draining | Lifecycle::Ended => {}
            }
        }
        let until = now() + DRAIN_TIMEOUT;
        let lives = |process: &mut HostProcess| process.lifecycle() != Lifecycle::Ended;
        while self.pool.hosts_mut().any(lives) {
            match self.pool.next(until.saturating_duration_since(now()))? {
                HostEvent::TimedOut => break,
                HostEvent::InvalidRing { host, .. } => drop(self.pool.kill_and_reap_later(host)),
                HostEvent::Fault { host, rule } => self.inject(host, rule),
                HostEvent::Exited { .. }
                | HostEvent::Dying { .. }
                | HostEvent::Record { .. }
                | HostEvent::StopRequested => {}
            }
        }
        // Dropping a process kills it if it is still there, and reaps it.
        Ok(())
    }
}

/// Connects to a host. Where the host has ended, the error is how.
fn connect<C: serde::Serialize + Send + 'static>(
    process: &mut HostProcess,
    kind: HostKind,
) -> Result<CommandSender<C>, HostSetError> {
    process
        .connect()
        .map_err(|error| match process.exit_status_within(EXIT_TIMEOUT) {
            Some(status) => HostSetError::Died {
                kind,
                host: process.host(),
                status,
                stderr_tail: process.stderr_tail(),
            },
            None => error.into(),
        })
}
