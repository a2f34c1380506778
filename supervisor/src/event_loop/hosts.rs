//! What the loop of a run needs of processes. [`Crew`] is the real thing; the
//! simulator has another, in one thread and with its own time.

use crate::host::{HostEvent, HostKind, HostSet, HostSetError};
use crate::sys::clock::now;
use shm_protocol::id::{HostId, Incarnation};
use shm_protocol::ring::{PushError, RecordHeader};
use shm_protocol::{supervisor_to_agent as agents, supervisor_to_inference as inference};
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// The hosts of a run, as its loop sees them. Agent hosts come first, the inference host last.
pub trait Hosts {
    /// How many agent hosts there are.
    fn agent_hosts(&self) -> usize;

    /// The inference host, if there is one.
    fn inference_host(&self) -> Option<HostId>;

    /// Time since some moment. It decides when hosts are started and given up, and nothing else.
    fn clock(&mut self) -> Duration;

    /// Waits for the next thing that happens, at most `patience`.
    ///
    /// # Errors
    /// When waiting itself fails.
    fn next(&mut self, patience: Duration) -> Result<HostEvent, HostSetError>;

    /// Whether somebody asked for the end, without waiting.
    ///
    /// # Errors
    /// When looking itself fails.
    fn stop_asked(&mut self) -> Result<bool, HostSetError>;

    /// The payload of the record that was told of last.
    fn payload(&self) -> &[u8];

    /// The payload of the last record, to keep it without a copy.
    fn take_payload(&mut self) -> Vec<u8>;

    /// The longest payload that the ring down to a host takes.
    fn most_payload_bytes(&self, host: HostId) -> usize;

    /// Publishes a record whose payload is these parts one after the other. False when there is no room now.
    ///
    /// # Errors
    /// When it can never fit, or the host has broken the ring.
    fn try_push(
        &mut self,
        host: HostId,
        header: &RecordHeader,
        payload_bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<bool, PushError>;

    /// Wakes a host for what was pushed.
    fn notify(&mut self, host: HostId);

    /// Starts a new incarnation of a host, whose place is empty. It says when it is ready.
    ///
    /// # Errors
    /// When the system refuses it.
    fn spawn(&mut self, host: HostId) -> Result<Incarnation, HostSetError>;

    /// Hears that a host is ready, which is the record that was told of last.
    ///
    /// # Errors
    /// When it says something else or cannot be reached.
    fn complete_handshake(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), HostSetError>;

    /// Sends a command to an agent host.
    ///
    /// # Errors
    /// When it is gone.
    fn command_agents(
        &mut self,
        host: HostId,
        command: agents::AgentCommand,
    ) -> Result<(), HostSetError>;

    /// Sends a command to the inference host.
    ///
    /// # Errors
    /// When it is gone.
    fn command_inference(
        &mut self,
        command: inference::InferenceCommand,
    ) -> Result<(), HostSetError>;

    /// Notes that a host was told to start.
    ///
    /// # Errors
    /// When it is gone.
    fn started(&mut self, host: HostId) -> Result<(), HostSetError>;

    /// Sets the memory in which the next incarnations of the inference host find their models.
    fn set_models(&mut self, memory: OwnedFd);

    /// Ends the incarnation of the inference host, if there is one, which is to be started anew.
    fn retire_engine(&mut self, host: HostId);

    /// Ends the incarnation of a host, whatever it does; nothing of it is told any more. Gives the end of its standard error.
    fn end(&mut self, host: HostId) -> String;

    /// How a host ended that is dying, if that can be known at once.
    fn ending_of(&mut self, _host: HostId) -> Option<ExitStatus> {
        None
    }

    /// How often a host has reported progress.
    fn progress(&self, _host: HostId) -> u64 {
        0
    }

    /// Whether a host that was just started has said before that it is ready.
    fn is_ready(&self, _host: HostId) -> bool {
        false
    }

    /// Whether a host was told before what all agents have in common.
    fn is_set_up(&self, _host: HostId) -> bool {
        false
    }

    /// Sees to it that an agent host stands ready to take another's place, if that is wanted. False while more is to
    /// be done for it: then it is to be called again.
    fn ensure_standby(&mut self) -> bool {
        true
    }

    /// Arms the faults that are due in a host.
    fn arm(&mut self, _host: HostId) {}

    /// Kills or stops a host on purpose; what comes of it is noticed as it always is.
    fn inject_signal(&mut self, _host: HostId, _strike: InjectedSignal) {}

    /// Which kind a host is.
    fn kind(&self, host: HostId) -> HostKind {
        if host.index() < self.agent_hosts() {
            HostKind::Agents
        } else {
            HostKind::Inference
        }
    }

    /// How many hosts there are.
    fn count(&self) -> usize {
        self.agent_hosts() + usize::from(self.inference_host().is_some())
    }
}

/// What is done to a host on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedSignal {
    /// It is killed.
    Kill,
    /// It is stopped, and hangs.
    Stop,
}

/// The hosts of a real run, and when it began.
pub struct RealHosts<'crew> {
    crew: &'crew mut HostSet,
    began: Instant,
}

impl RealHosts<'_> {
    /// These hosts, from now on.
    pub fn new(crew: &mut HostSet) -> RealHosts<'_> {
        RealHosts { crew, began: now() }
    }
}

impl Hosts for RealHosts<'_> {
    fn agent_hosts(&self) -> usize {
        self.crew.agent_hosts()
    }

    fn inference_host(&self) -> Option<HostId> {
        self.crew.inference_host()
    }

    fn clock(&mut self) -> Duration {
        self.began.elapsed()
    }

    fn next(&mut self, patience: Duration) -> Result<HostEvent, HostSetError> {
        loop {
            let news = self.crew.pool.next(patience)?;
            if !self.crew.on_standby_event(&news) {
                return Ok(news);
            }
        }
    }

    fn stop_asked(&mut self) -> Result<bool, HostSetError> {
        Ok(self.crew.pool.poll_stop_signal()?)
    }

    fn payload(&self) -> &[u8] {
        self.crew.pool.payload()
    }

    fn take_payload(&mut self) -> Vec<u8> {
        self.crew.pool.take_payload()
    }

    fn most_payload_bytes(&self, host: HostId) -> usize {
        self.crew
            .pool
            .host(host)
            .map_or(0, |process| process.link.down.max_payload_bytes())
    }

    fn try_push(
        &mut self,
        host: HostId,
        header: &RecordHeader,
        payload_bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<bool, PushError> {
        let Some(process) = self.crew.pool.host_mut(host) else {
            return Ok(false);
        };
        let Some(mut reservation) = process.link.down.try_reserve(header, payload_bytes)? else {
            return Ok(false);
        };
        let mut offset = 0;
        for part in parts {
            reservation.write(offset, part);
            offset += part.len();
        }
        debug_assert_eq!(offset, payload_bytes, "the parts make up the payload");
        reservation.publish();
        Ok(true)
    }

    fn notify(&mut self, host: HostId) {
        if let Some(process) = self.crew.pool.host_mut(host) {
            process.link.down.notify();
        }
    }

    fn spawn(&mut self, host: HostId) -> Result<Incarnation, HostSetError> {
        self.crew.spawn(host)
    }

    fn complete_handshake(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), HostSetError> {
        self.crew.complete_handshake(host, header)
    }

    fn command_agents(
        &mut self,
        host: HostId,
        command: agents::AgentCommand,
    ) -> Result<(), HostSetError> {
        self.crew.command_agents(host, command)
    }

    fn command_inference(
        &mut self,
        command: inference::InferenceCommand,
    ) -> Result<(), HostSetError> {
        self.crew.command_inference(command)
    }

    fn started(&mut self, host: HostId) -> Result<(), HostSetError> {
        self.crew.started(host)
    }

    fn set_models(&mut self, memory: OwnedFd) {
        self.crew.set_models(memory);
    }

    fn retire_engine(&mut self, host: HostId) {
        // It was sound, and the end of its standard error means nothing.
        self.crew.end(host);
    }

    fn end(&mut self, host: HostId) -> String {
        self.crew.end(host)
    }

    fn ending_of(&mut self, host: HostId) -> Option<ExitStatus> {
        self.crew.ending_of(host)
    }

    fn progress(&self, host: HostId) -> u64 {
        let process = self.crew.pool.host(host);
        process.map_or(0, |process| process.link.progress())
    }

    fn is_ready(&self, host: HostId) -> bool {
        self.crew.is_ready(host)
    }

    fn is_set_up(&self, host: HostId) -> bool {
        self.crew.is_set_up(host)
    }

    fn ensure_standby(&mut self) -> bool {
        // Without one, the next recovery takes a little longer.
        self.crew.ensure_standby().unwrap_or(true)
    }

    fn arm(&mut self, host: HostId) {
        self.crew.arm(host);
    }

    fn inject_signal(&mut self, host: HostId, strike: InjectedSignal) {
        match (strike, self.crew.pool.host(host)) {
            (InjectedSignal::Kill, Some(process)) => process.kill(),
            (InjectedSignal::Stop, Some(process)) => process.stop(),
            (_, None) => {}
        }
    }
}
