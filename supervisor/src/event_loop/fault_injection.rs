//! The points of the supervisor at which faults can be injected, and what is
//! done to hosts on purpose.

use super::EventLoop;
use super::hosts::InjectedSignal;
use crate::error::RunError;
use crate::faults::{FaultTarget, Injection};
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, Tick};

impl EventLoop<'_> {
    /// Passes a point in the open tick.
    #[inline]
    pub(super) fn pass(&mut self, phase: FaultPoint) {
        if self.faults.may_fault() {
            self.faults.pass(phase, self.machine.tick());
            self.inject_waiting();
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
        self.pass(FaultPoint::TickOpened);
    }

    /// A host has come to a fault.
    pub(super) fn on_fault(&mut self, host: HostId, rule: u32) -> Result<(), RunError> {
        if let Some(injection) = self.faults.fired(rule, host) {
            self.inject(injection);
        }
        Ok(())
    }

    /// Does to hosts what points that were passed ask for.
    fn inject_waiting(&mut self) {
        for injection in self.faults.take_waiting() {
            self.inject(injection);
        }
    }

    fn inject(&mut self, injection: Injection) {
        let (rule, target, strike) = match injection {
            Injection::Kill(rule, target) => (rule, target, InjectedSignal::Kill),
            Injection::Stop(rule, target) => (rule, target, InjectedSignal::Stop),
            Injection::KillSelf => crate::faults::kill_self(),
            Injection::Slow(_) | Injection::Disk(..) => return,
        };
        if let Some(host) = self.host_of(&target) {
            self.faults.ends(rule, host);
            self.hosts.inject_signal(host, strike);
        }
    }

    fn host_of(&self, target: &FaultTarget) -> Option<HostId> {
        match target {
            FaultTarget::Agent(agent, _) => self.orders.layout.host_of.get(agent.index()).copied(),
            FaultTarget::Host(host) => {
                Some(*host).filter(|host| host.index() < self.stations.len())
            }
            FaultTarget::Any | FaultTarget::Inference | FaultTarget::Model(..) => {
                self.hosts.inference_host()
            }
        }
    }
}
