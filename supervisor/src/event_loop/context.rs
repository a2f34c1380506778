//! The context that all parts of the event loop share: the tick machine with the actions that it asks for, the hosts, the
//! ledger, the run header, and the points at which faults are injected. No part's state is in here.

use super::error::LoopError;
use super::hosts::{Hosts, InjectedSignal};
use super::ledger::Ledger;
use super::timeouts::Timeouts;
use crate::error::RunError;
use crate::faults::{FaultTarget, Faults, Injection};
use crate::host::{HostKind, decoded};
use crate::launch::HostConfig;
use crate::record::RunHeader;
use crate::rundir::events::{AGENTS, INFERENCE};
use crate::tick::{TickAction, TickInput, TickMachine, Violation};
use bincode::Decode;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;
use std::collections::VecDeque;

/// The context that all parts of the event loop share.
pub(super) struct RunContext<'a> {
    pub(super) machine: TickMachine,
    pub(super) hosts: &'a mut dyn Hosts,
    pub(super) ledger: &'a mut dyn Ledger,
    pub(super) header: &'a RunHeader,
    pub(super) config: &'a HostConfig,
    pub(super) timeouts: Timeouts,
    pub(super) faults: Faults,
    /// Actions that the machine has asked for and that are not performed yet, in order.
    pub(super) queue: VecDeque<TickAction>,
    actions: Vec<TickAction>,
    /// The tick for which faults were armed last.
    armed: Tick,
}

impl<'a> RunContext<'a> {
    pub(super) fn new(
        hosts: &'a mut dyn Hosts,
        machine: TickMachine,
        header: &'a RunHeader,
        config: &'a HostConfig,
        ledger: &'a mut dyn Ledger,
        timeouts: Timeouts,
    ) -> RunContext<'a> {
        RunContext {
            machine,
            hosts,
            ledger,
            header,
            config,
            timeouts,
            faults: Faults::none(),
            queue: VecDeque::new(),
            actions: Vec::new(),
            armed: Tick::ZERO,
        }
    }

    /// Applies what a host has said.
    ///
    /// # Errors
    /// When the host broke the protocol.
    pub(super) fn apply(&mut self, input: TickInput) -> Result<(), Violation> {
        let applied = self.machine.apply(input, &mut self.actions);
        self.queue.extend(self.actions.drain(..));
        applied
    }

    /// Applies what no host is to blame for.
    ///
    /// # Errors
    /// When the journal does not fit the fleet.
    pub(super) fn apply_own(&mut self, input: TickInput) -> Result<(), RunError> {
        self.apply(input).map_err(RunError::Journaled)
    }

    /// All hosts, agent hosts first.
    pub(super) fn host_ids(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.count()).map(HostId::from_index)
    }

    /// Agents of a host that take further steps.
    pub(super) fn living(&self, host: HostId) -> impl Iterator<Item = AgentId> + '_ {
        self.config
            .placement
            .agents_of(host)
            .filter(|agent| !self.machine.is_halted(*agent))
    }

    /// The name of a host's kind in events.
    pub(super) fn role(&self, host: HostId) -> String {
        match self.hosts.kind(host) {
            HostKind::Agents => AGENTS.to_owned(),
            HostKind::Inference => INFERENCE.to_owned(),
        }
    }

    pub(super) fn agent_name(&self, agent: AgentId) -> String {
        let pin = self.header.agents.get(agent.index());
        pin.map_or_else(|| agent.to_string(), |pin| pin.name.clone())
    }

    /// Decodes the record that came last, which must be of this kind.
    pub(super) fn decode<T: Decode<()>>(
        &self,
        host: HostId,
        header: &RecordHeader,
        wanted: u16,
    ) -> Result<T, LoopError> {
        let kind = self.hosts.kind(host);
        Ok(decoded(kind, host, header, wanted, self.hosts.payload())?)
    }

    /// Passes a point in the open tick at which faults may be injected.
    #[inline]
    pub(super) fn pass(&mut self, point: FaultPoint) {
        if self.faults.may_fault() {
            self.faults.pass(point, self.machine.tick());
            for injection in self.faults.take_waiting() {
                self.inject(injection);
            }
        }
    }

    /// The steps of a tick are about to be sent: faults that are pinned to it are armed first.
    pub(super) fn pass_opened(&mut self, tick: Tick) {
        if !self.faults.may_fault() || self.armed == tick {
            return;
        }
        self.armed = tick;
        self.faults.tick_opened(tick);
        for host in self.host_ids() {
            self.hosts.arm(host);
        }
        self.pass(FaultPoint::TickOpened);
    }

    /// A host has come to a fault.
    pub(super) fn on_fault(&mut self, host: HostId, rule: u32) {
        if let Some(injection) = self.faults.fired(rule, host) {
            self.inject(injection);
        }
    }

    fn inject(&mut self, injection: Injection) {
        let (rule, target, signal) = match injection {
            Injection::Kill(rule, target) => (rule, target, InjectedSignal::Kill),
            Injection::Stop(rule, target) => (rule, target, InjectedSignal::Stop),
            Injection::KillSelf => crate::faults::kill_self(),
            Injection::Slow(_) | Injection::Disk(..) => return,
        };
        if let Some(host) = self.host_of(&target) {
            self.faults.ends(rule, host);
            self.hosts.inject_signal(host, signal);
        }
    }

    fn host_of(&self, target: &FaultTarget) -> Option<HostId> {
        match target {
            FaultTarget::Agent(agent, _) => {
                self.config.placement.host_of.get(agent.index()).copied()
            }
            FaultTarget::Host(host) => Some(*host).filter(|host| host.index() < self.hosts.count()),
            FaultTarget::Any | FaultTarget::Inference | FaultTarget::Model(..) => {
                self.hosts.inference_host()
            }
        }
    }
}
