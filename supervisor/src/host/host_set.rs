//! The hosts of one run as a whole: started, spoken to by kind, replaced one by
//! one when they are lost, drained together.

use super::socket_dir::SocketDir;
use super::spawn_config::SpawnConfig;
use super::stop_signals::StopSignals;
use crate::faults::Injection;
use crate::host::error::{HostKind, HostSetError};
use crate::host::lifecycle::{Lifecycle, LifecycleEvent};
use crate::host::pool::{HostEvent, HostPool};
use crate::host::process::{CommandSender, HostProcess, IncarnationMemory, SpawnParams};
use crate::host::spare::PendingMemory;
use crate::sys::clock::now;
use shm_protocol::agent_to_supervisor::{READY, Ready};
use shm_protocol::boot::Role;
use shm_protocol::id::{HostId, Incarnation};
use shm_protocol::ring::RecordHeader;
use shm_protocol::{codec, supervisor_to_agent, supervisor_to_inference};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::time::Duration;

/// How long a host may be silent while it starts or loads. Compiling is done
/// before, so only a hung host or a huge model is silent for longer.
pub const LOAD_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait for the way in which a dying host ends, before that does not matter. A small process is gone in less.
const DYING: Duration = Duration::from_micros(200);

/// How long a host may take to end after it was told to.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// The way down to a host for commands.
enum CommandChannel {
    Agents(CommandSender<supervisor_to_agent::AgentCommand>),
    Inference(CommandSender<supervisor_to_inference::InferenceCommand>),
}

/// What the crew knows of a host beside its process.
#[derive(Default)]
pub(super) struct HostEntry {
    channel: Option<CommandChannel>,
    /// What it said when it was ready.
    ready: Option<Ready>,
    /// Whether it was told what all agents have in common.
    pub(super) is_set_up: bool,
}

/// The hosts of one run. Agent hosts come first, the inference host last.
pub struct HostSet {
    /// The processes.
    pub pool: HostPool,
    pub(super) muster: SpawnConfig,
    pub(super) seats: Vec<HostEntry>,
    next_incarnation: u32,
    /// Memory for the next spare, on its way.
    pub(super) memory_of_spare: Option<PendingMemory>,
}

impl HostSet {
    /// Starts all hosts at once and waits until each is ready.
    ///
    /// # Errors
    /// [`CrewError`]; hosts that were started are ended.
    pub fn start(
        muster: SpawnConfig,
        patience: Duration,
        stop: StopSignals,
    ) -> Result<HostSet, HostSetError> {
        let mut crew = HostSet {
            // The last place is for the spare.
            pool: HostPool::new(muster.hosts() + 1, stop)?,
            seats: (0..=muster.hosts()).map(|_| HostEntry::default()).collect(),
            muster,
            next_incarnation: 1,
            memory_of_spare: None,
        };
        for host in (0..crew.hosts()).map(HostId::from_index) {
            crew.spawn(host)?;
        }
        for _ in 0..crew.hosts() {
            let (host, header) = crew.record(patience)?;
            crew.welcome(host, &header)?;
        }
        Ok(crew)
    }

    /// Starts an incarnation of a host, which says when it is ready; or lets the spare be one, which has said so.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn spawn(&mut self, host: HostId) -> Result<Incarnation, HostSetError> {
        if self.may_take_spare(host)
            && let Some(mut process) = self.pool.take(self.spare())?
        {
            self.muster.faults.born(host);
            process.serve_as(host);
            let incarnation = process.incarnation();
            self.pool.seat(process)?;
            let spare = self.spare().index();
            self.seats[host.index()] = std::mem::take(&mut self.seats[spare]);
            self.arm(host);
            return Ok(incarnation);
        }
        self.begin(host)
    }

    /// Starts a process for a place.
    fn begin(&mut self, host: HostId) -> Result<Incarnation, HostSetError> {
        let incarnation = self.next_incarnation();
        self.begin_with(host, incarnation, None)?;
        Ok(incarnation)
    }

    pub(super) fn next_incarnation(&mut self) -> Incarnation {
        let incarnation = Incarnation(self.next_incarnation);
        self.next_incarnation += 1;
        incarnation
    }

    /// Starts a process for a place, with memory that is there already if some is.
    pub(super) fn begin_with(
        &mut self,
        host: HostId,
        incarnation: Incarnation,
        memory: Option<IncarnationMemory>,
    ) -> Result<(), HostSetError> {
        let (role, sizes, artifacts) = match &self.muster.inference {
            Some((models, sizes)) if Some(host) == self.inference_host() => {
                (Role::InferenceHost, *sizes, models.as_fd())
            }
            _ => (
                Role::AgentHost,
                self.muster.agent_sizes,
                self.muster.components.as_fd(),
            ),
        };
        let birth = SpawnParams {
            host,
            incarnation,
            role,
            sizes,
            artifacts,
            folder: SocketDir::new().map_err(HostSetError::Folder)?,
            faults: &self.muster.faults,
            agents: self.muster.sight(host).agents,
            memory,
        };
        self.pool
            .seat(HostProcess::start(&self.muster.program, birth)?)?;
        self.seats[host.index()] = HostEntry::default();
        Ok(())
    }

    /// Whether a host has said that it is ready.
    #[must_use]
    pub fn is_ready(&self, host: HostId) -> bool {
        self.seats[host.index()].ready.is_some()
    }

    /// Whether a host was told what all agents have in common.
    #[must_use]
    pub fn is_set_up(&self, host: HostId) -> bool {
        self.seats[host.index()].is_set_up
    }

    /// Hears that a host is ready, which is the record that came last, and connects to it. A host says so after it has
    /// offered its control channel, so this does not wait.
    ///
    /// # Errors
    /// [`CrewError`] when it says something else or cannot be reached.
    pub fn welcome(&mut self, host: HostId, header: &RecordHeader) -> Result<(), HostSetError> {
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
        process.note(LifecycleEvent::SaidReady)?;
        let channel = match kind {
            HostKind::Agents => HostSet::reached(process, kind).map(CommandChannel::Agents)?,
            HostKind::Inference => {
                HostSet::reached(process, kind).map(CommandChannel::Inference)?
            }
        };
        self.seats[host.index()] = HostEntry {
            channel: Some(channel),
            ready: Some(ready),
            is_set_up: false,
        };
        Ok(())
    }

    /// Connects to a host. One that ended before it could be reached has said why.
    fn reached<C: serde::Serialize + Send + 'static>(
        process: &mut HostProcess,
        kind: HostKind,
    ) -> Result<CommandSender<C>, HostSetError> {
        process.connect().map_err(|error| match process.farewell() {
            Some((status, stderr_tail)) => HostSetError::Died {
                kind,
                host: process.host(),
                status,
                stderr_tail: stderr_tail,
            },
            None => error.into(),
        })
    }

    /// Arms the faults that are due in a host.
    pub fn arm(&mut self, host: HostId) {
        let sight = self.muster.sight(host);
        if let Some(armed) = self
            .pool
            .host_mut(host)
            .and_then(|process| process.link.faults())
        {
            self.muster.faults.arm(&sight, armed);
        }
    }

    /// How a host ended that is dying, if that can be known at once.
    pub fn ending_of(&mut self, host: HostId) -> Option<ExitStatus> {
        self.pool.host_mut(host)?.ending_within(DYING)
    }

    /// The next incarnation of the inference host finds its models in this memory.
    pub fn renew_models(&mut self, memory: OwnedFd) {
        if let Some((models, _)) = &mut self.muster.inference {
            *models = memory;
        }
    }

    /// Ends the incarnation of a host, whatever it does. Gives the end of its standard error.
    pub fn end(&mut self, host: HostId) -> String {
        self.seats[host.index()] = HostEntry::default();
        self.pool.kill_and_reap_later(host)
    }

    /// A host has come to a fault: does to it what the rule says.
    pub(super) fn strike(&mut self, host: HostId, rule: u32) {
        let injection = self.muster.faults.fired(rule, host);
        let process = self.pool.host(host);
        match (injection, process) {
            (Some(Injection::Kill(..)), Some(process)) => process.kill(),
            (Some(Injection::Stop(..)), Some(process)) => process.stop(),
            _ => {}
        }
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.muster.hosts()
    }

    /// How many agent hosts there are.
    #[must_use]
    pub fn agent_hosts(&self) -> usize {
        self.muster.agent_hosts
    }

    /// The inference host, if there is one.
    #[must_use]
    pub fn inference_host(&self) -> Option<HostId> {
        let host = HostId::from_index(self.muster.agent_hosts);
        self.muster.inference.as_ref().map(|_| host)
    }

    /// Which kind a host is.
    #[must_use]
    pub fn kind(&self, host: HostId) -> HostKind {
        if host.index() < self.muster.agent_hosts || host == self.spare() {
            HostKind::Agents
        } else {
            HostKind::Inference
        }
    }

    /// What each host said when it was ready, of those that did.
    #[must_use]
    pub fn ready(&self) -> Vec<Ready> {
        self.seats
            .iter()
            .take(self.muster.hosts())
            .filter_map(|seat| seat.ready.clone())
            .collect()
    }

    /// Sends a command to an agent host.
    ///
    /// # Errors
    /// [`CrewError`] when it is gone.
    pub fn command_agents(
        &self,
        host: HostId,
        command: supervisor_to_agent::AgentCommand,
    ) -> Result<(), HostSetError> {
        match &self.seats[host.index()].channel {
            Some(CommandChannel::Agents(commands)) => Ok(commands.send(command)?),
            _ => Err(HostSetError::Gone { host }),
        }
    }

    /// Sends a command to the inference host.
    ///
    /// # Errors
    /// [`CrewError`] when it is gone.
    pub fn command_inference(
        &self,
        command: supervisor_to_inference::InferenceCommand,
    ) -> Result<(), HostSetError> {
        let host = HostId::from_index(self.muster.agent_hosts);
        match self.seats.get(host.index()).map(|seat| &seat.channel) {
            Some(Some(CommandChannel::Inference(commands))) => Ok(commands.send(command)?),
            _ => Err(HostSetError::Gone { host }),
        }
    }

    /// Notes that a host was told to start.
    ///
    /// # Errors
    /// [`CrewError::Lifecycle`].
    pub fn started(&mut self, host: HostId) -> Result<(), HostSetError> {
        match self.pool.host_mut(host) {
            Some(process) => Ok(process.note(LifecycleEvent::ToldStart)?),
            None => Err(HostSetError::Gone { host }),
        }
    }

    /// Tells all hosts to finish and waits until they are gone; kills those that do not go.
    ///
    /// # Errors
    /// [`CrewError`] when waiting itself fails.
    pub fn drain(mut self) -> Result<(), HostSetError> {
        for channel in self.seats.iter().filter_map(|seat| seat.channel.as_ref()) {
            // A host that cannot be told is gone or about to be killed.
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
                Lifecycle::Ready | Lifecycle::Serving => process.note(LifecycleEvent::ToldDrain)?,
                // It cannot be told yet, and has nothing to lose.
                Lifecycle::Starting => process.kill(),
                // One that has said why it cannot go on may be gone already.
                Lifecycle::Draining | Lifecycle::Ended => {}
            }
        }
        let until = now() + DRAIN_PATIENCE;
        let lives = |process: &mut HostProcess| process.lifecycle() != Lifecycle::Ended;
        while self.pool.hosts_mut().any(lives) {
            match self.pool.next(until.saturating_duration_since(now()))? {
                HostEvent::Silence => break,
                HostEvent::Garbage { host, .. } => drop(self.pool.kill_and_reap_later(host)),
                HostEvent::Fault { host, rule } => self.strike(host, rule),
                HostEvent::Exited { .. }
                | HostEvent::Dying { .. }
                | HostEvent::Record { .. }
                | HostEvent::StopAsked => {}
            }
        }
        // Dropping a process kills it if it is still there, and reaps it.
        Ok(())
    }
}
