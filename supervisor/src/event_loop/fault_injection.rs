//! The points of the supervisor at which faults can be injected, and what is
//! done to hosts on purpose.

use super::Drive;
use super::hosts::Strike;
use crate::error::RunError;
use crate::faults::{Injection, Target};
use shm_protocol::fault::Phase;
use shm_protocol::id::{HostId, Tick};

impl Drive<'_> {
    /// Passes a point in the open tick.
    #[inline]
    pub(super) fn pass(&mut self, phase: Phase) {
        if self.faults.may_fault() {
            self.faults.pass(phase, self.machine.tick());
            self.strike();
        }
    }

    /// The steps of a tick are about to be sent: what is pinned to it is armed first.
    pub(super) fn pass_opened(&mut self, tick: Tick) {
        if !self.faults.may_fault() || self.opened == tick {
            return;
        }
        self.opened = tick;
        self.faults.tick_opened(tick);
        for host in (0..self.stations.len()).map(HostId::from_index) {
            self.hosts.arm(host);
        }
        self.pass(Phase::TickOpened);
    }

    /// A host has come to a fault.
    pub(super) fn hear_fault(&mut self, host: HostId, rule: u32) -> Result<(), RunError> {
        if let Some(injection) = self.faults.fired(rule, host) {
            self.inject(injection);
        }
        Ok(())
    }

    /// Does to hosts what points that were passed ask for.
    fn strike(&mut self) {
        for injection in self.faults.take_waiting() {
            self.inject(injection);
        }
    }

    fn inject(&mut self, injection: Injection) {
        let (rule, target, strike) = match injection {
            Injection::Kill(rule, target) => (rule, target, Strike::Kill),
            Injection::Stop(rule, target) => (rule, target, Strike::Stop),
            Injection::KillSelf => crate::faults::kill_self(),
            Injection::Slow(_) | Injection::Disk(..) => return,
        };
        if let Some(host) = self.host_of(&target) {
            self.faults.ends(rule, host);
            self.hosts.strike(host, strike);
        }
    }

    fn host_of(&self, target: &Target) -> Option<HostId> {
        match target {
            Target::Agent(agent, _) => self.orders.layout.host_of.get(agent.index()).copied(),
            Target::Host(host) => Some(*host).filter(|host| host.index() < self.stations.len()),
            Target::Any | Target::Inference | Target::Model(..) => self.hosts.inference_host(),
        }
    }
}
