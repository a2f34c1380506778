//! The injector: rules that are due now, and rules that have fired.
//!
//! The event loop passes fault points ([`Faults::pass`], [`Faults::tick_opened`]), announces starts of hosts
//! ([`Faults::host_started`]) and reports the rules that fired in them ([`Faults::fired`]). A run without a plan has
//! [`Faults::none`], which does nothing.

use super::fired::{FaultRecorder, FiredFault, Injection, injection, slot};
use crate::faults::faulty_disk::DiskSwitch;
use crate::faults::plan::FaultPlan;
use crate::faults::rule::{FaultRule, FaultTarget, RuleId};
use crate::sys::kill_self;
use shm_protocol::fault::{ArmedFaults, FaultKind, FaultPoint, FaultResponse, FaultSlot, Pin};
use shm_protocol::id::{AgentId, HostId, Tick};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A host, as rules are matched with it.
#[derive(Clone, Copy, Debug)]
pub struct HostView<'a> {
    /// Its number.
    pub host: HostId,
    /// True for the inference host.
    pub is_inference: bool,
    /// The agents that it has, or will have.
    pub agents: &'a [AgentId],
}

/// The faults of a run. Clones are the same faults, so that every thread can pass points.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Option<Arc<Mutex<DueRules>>>,
    switch: DiskSwitch,
}

struct DueRules {
    plan: FaultPlan,
    /// The number of times that each rule has fired.
    fired: Vec<u32>,
    tick: Tick,
    record: FaultRecorder,
    /// Starts of each host.
    starts: BTreeMap<HostId, u32>,
    /// The rule that ends the present incarnation of a host.
    ended_by: BTreeMap<HostId, RuleId>,
    /// Injections for the event loop, from fault points that other threads passed.
    waiting: Vec<Injection>,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn none() -> Faults {
        Faults::default()
    }

    /// The faults of a plan. `fired` are the rules that fired before this process began, once for each time; `record`
    /// is called with every rule before it happens.
    #[must_use]
    pub fn new(
        plan: FaultPlan,
        fired: impl IntoIterator<Item = RuleId>,
        record: FaultRecorder,
    ) -> Faults {
        let mut counts = vec![0; plan.rules.len()];
        for rule in fired {
            if let Some(count) = (rule.0 as usize)
                .checked_sub(1)
                .and_then(|at| counts.get_mut(at))
            {
                *count += 1;
            }
        }
        let due = DueRules {
            plan,
            fired: counts,
            tick: Tick::ZERO,
            record,
            starts: BTreeMap::new(),
            ended_by: BTreeMap::new(),
            waiting: Vec::new(),
        };
        Faults {
            shared: Some(Arc::new(Mutex::new(due))),
            switch: DiskSwitch::new(),
        }
    }

    /// True if there is a plan: links are made so that faults can be armed.
    #[must_use]
    pub fn may_fault(&self) -> bool {
        self.shared.is_some()
    }

    /// The switch of the run's disk: see [`crate::faults::FaultyDisk`].
    #[must_use]
    pub fn switch(&self) -> &DiskSwitch {
        &self.switch
    }

    /// A tick is open. Faults of hosts are pinned to it from now on.
    pub fn tick_opened(&self, tick: Tick) {
        if let Some(mut due) = self.due() {
            due.tick = tick;
        }
    }

    /// A new incarnation of a host is about to start. Its faults are armed next.
    pub fn host_started(&self, host: HostId) {
        if let Some(mut due) = self.due() {
            *due.starts.entry(host).or_default() += 1;
            due.ended_by.remove(&host);
        }
    }

    /// The fault slots that are due in a host.
    #[must_use]
    pub fn due_for_host(&self, host: &HostView<'_>) -> Vec<FaultSlot> {
        self.due().map_or_else(Vec::new, |due| due.slots(host))
    }

    /// Arms the due faults in a host, and disarms those that are over. To be called before the host starts and whenever
    /// a tick opens. A fault without a free slot is armed at a later call.
    pub fn arm(&self, host: &HostView<'_>, armed: &mut ArmedFaults) {
        let Some(due) = self.due() else { return };
        for (rule, _) in due.plan.numbered().filter(|(rule, _)| due.is_over(*rule)) {
            armed.disarm(rule.0);
        }
        for slot in due.slots(host) {
            if !armed.is_armed(slot.rule) {
                armed.arm(&slot);
            }
        }
    }

    /// Passes a fault point of the supervisor. The injections are recorded, and not done yet.
    #[must_use]
    pub fn at(&self, point: FaultPoint, tick: Tick) -> Vec<Injection> {
        let Some(mut due) = self.due() else {
            return Vec::new();
        };
        let rules: Vec<RuleId> = due
            .plan
            .numbered()
            .filter(|(id, rule)| rule.point == point && due.is_left(*id) && rule.holds_at(tick))
            .map(|(id, _)| id)
            .collect();
        let mut injections = Vec::new();
        for id in rules {
            injections.extend(
                due.fire(id, tick, None)
                    .and_then(|rule| injection(id, &rule)),
            );
        }
        drop(due);
        for injection in &injections {
            if let Injection::Disk(class, kind) = injection {
                self.switch.set(*class, *kind);
            }
        }
        injections
    }

    /// Passes a fault point of the supervisor and does what this thread can: sleep, die, set the disk switch.
    /// Injections in hosts wait for [`Faults::take_waiting`].
    #[inline]
    pub fn pass(&self, point: FaultPoint, tick: Tick) {
        if self.shared.is_some() {
            self.pass_armed(point, tick);
        }
    }

    /// As [`Faults::pass`], in the open tick.
    #[inline]
    pub fn pass_now(&self, point: FaultPoint) {
        if let Some(tick) = self.due().map(|due| due.tick) {
            self.pass_armed(point, tick);
        }
    }

    #[cold]
    fn pass_armed(&self, point: FaultPoint, tick: Tick) {
        for injection in self.at(point, tick) {
            match injection {
                Injection::Slow(time) => sleep(time),
                Injection::KillSelf => kill_self(),
                Injection::Disk(..) => {}
                Injection::Kill(..) | Injection::Stop(..) => {
                    if let Some(mut due) = self.due() {
                        due.waiting.push(injection);
                    }
                }
            }
        }
    }

    /// Takes the injections in hosts from passed fault points.
    #[must_use]
    pub fn take_waiting(&self) -> Vec<Injection> {
        self.due()
            .map_or_else(Vec::new, |mut due| std::mem::take(&mut due.waiting))
    }

    /// A host reports that a rule fired in it. The injection is recorded, and not done yet; none, if the host does it
    /// alone.
    #[must_use]
    pub fn fired(&self, rule: u32, host: HostId) -> Option<Injection> {
        let mut due = self.due()?;
        let (id, tick) = (RuleId(rule), due.tick);
        let rule = due.fire(id, tick, Some(host))?;
        // A slow host continues.
        if rule.kind != FaultKind::Slow {
            due.ended_by.insert(host, id);
        }
        match rule.kind.answer() {
            FaultResponse::Kill => Some(Injection::Kill(id, FaultTarget::Host(host))),
            FaultResponse::Stop => Some(Injection::Stop(id, FaultTarget::Host(host))),
            FaultResponse::KillSelf => Some(Injection::KillSelf),
            FaultResponse::Nothing => None,
        }
    }

    /// The event loop is about to end this host by a rule.
    pub fn ends(&self, rule: RuleId, host: HostId) {
        if let Some(mut due) = self.due() {
            due.ended_by.insert(host, rule);
        }
    }

    /// True if a loss of this host now is injected and does not count against the restart limits.
    #[must_use]
    pub fn is_injected(&self, host: HostId) -> bool {
        let Some(due) = self.due() else { return false };
        let rule = due
            .ended_by
            .get(&host)
            .and_then(|rule| due.plan.rule(*rule));
        rule.is_some_and(|rule| !rule.counts_as_restart)
    }

    /// The rules, each with the number of times that it has fired.
    #[must_use]
    pub fn fired_counts(&self) -> Vec<(RuleId, FaultRule, u32)> {
        let Some(due) = self.due() else {
            return Vec::new();
        };
        let numbered = due.plan.numbered().zip(&due.fired);
        numbered
            .map(|((id, rule), fired)| (id, rule.clone(), *fired))
            .collect()
    }

    fn due(&self) -> Option<MutexGuard<'_, DueRules>> {
        let shared = self.shared.as_ref()?;
        Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl DueRules {
    fn is_left(&self, id: RuleId) -> bool {
        let fired = self.fired.get(id.0 as usize - 1);
        let rule = self.plan.rule(id);
        fired
            .zip(rule)
            .is_some_and(|(fired, rule)| *fired < rule.times)
    }

    /// True if a rule of hosts can never fire again.
    fn is_over(&self, id: RuleId) -> bool {
        let is_past = self.plan.rule(id).is_some_and(|rule| {
            rule.point.pin() == Pin::Exact && rule.tick.is_some_and(|tick| tick < self.tick)
        });
        is_past || !self.is_left(id)
    }

    fn slots(&self, host: &HostView<'_>) -> Vec<FaultSlot> {
        let start = self.starts.get(&host.host).copied().unwrap_or_default();
        let is_due = |rule: &FaultRule| {
            let in_time = match (rule.point.pin(), rule.tick) {
                (_, None) => true,
                (Pin::Exact, Some(tick)) => tick == self.tick,
                (Pin::From | Pin::Start, Some(tick)) => tick <= self.tick,
            };
            in_time && rule.nth_start.is_none_or(|wanted| wanted == start)
        };
        self.plan
            .numbered()
            .filter(|(id, rule)| {
                !rule.point.is_of_supervisor()
                    && is_due(rule)
                    && self.is_left(*id)
                    && rule.is_for(host.host, host.is_inference, host.agents)
            })
            .map(|(id, rule)| slot(id, rule))
            .collect()
    }

    /// Counts and records that a rule fires. A fault that cannot be recorded does not happen.
    fn fire(&mut self, id: RuleId, tick: Tick, host: Option<HostId>) -> Option<FaultRule> {
        let rule = self.plan.rule(id)?.clone();
        self.fired[id.0 as usize - 1] += 1;
        let fired = FiredFault {
            rule: id,
            tick,
            point: rule.point,
            kind: rule.kind,
            host,
        };
        match (self.record)(&fired) {
            Ok(()) => Some(rule),
            Err(error) => {
                tracing::warn!("a fault that cannot be recorded is left out: {error}");
                None
            }
        }
    }
}

impl FaultRule {
    /// True if the rule holds when a fault point of the supervisor is passed in this tick.
    fn holds_at(&self, tick: Tick) -> bool {
        // Before the journal is read there is no tick.
        let is_timeless = self.point == FaultPoint::ResumeStarted;
        match (self.point.pin(), self.tick) {
            (_, None) => true,
            _ if is_timeless => true,
            (Pin::Exact, Some(own)) => own == tick,
            (Pin::From | Pin::Start, Some(own)) => own <= tick,
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fault that was asked for: time is what it is about"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

impl fmt::Debug for DueRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Due")
            .field("tick", &self.tick)
            .field("fired", &self.fired)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
