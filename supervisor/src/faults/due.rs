//! Which rules are due now, and which have fired.
//!
//! The loop of a run says where it is ([`Faults::pass`], [`Faults::tick_opened`]),
//! which hosts are born ([`Faults::born`]) and what they have come to
//! ([`Faults::fired`]). A run without a plan holds [`Faults::none`], which answers
//! at once.

use super::faulty_disk::DiskSwitch;
use super::happening::{Fired, Injection, Record, injection, slot};
use super::plan::Plan;
use super::rule::{Rule, RuleId, Target};
use shm_protocol::fault::{Answer, ArmedFaults, Kind, Phase, Pin, Slot};
use shm_protocol::id::{AgentId, HostId, Tick};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A host, as rules are matched with it.
#[derive(Clone, Copy, Debug)]
pub struct HostSight<'a> {
    /// Its number.
    pub host: HostId,
    /// Whether it runs models.
    pub is_inference: bool,
    /// The agents that it has, or will have.
    pub agents: &'a [AgentId],
}

/// The faults of a run. Clones are the same faults, so that every thread can pass points.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Option<Arc<Mutex<Due>>>,
    switch: DiskSwitch,
}

struct Due {
    plan: Plan,
    /// How often each rule has fired.
    fired: Vec<u32>,
    tick: Tick,
    record: Record,
    /// Births of each host.
    lives: BTreeMap<HostId, u32>,
    /// The rule that ends the present life of a host.
    ended_by: BTreeMap<HostId, RuleId>,
    /// What the loop has to do for points that other threads passed.
    waiting: Vec<Injection>,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Faults {
        Faults::default()
    }

    /// The faults of a plan. `fired` are the rules that fired before this process began, each as often as it did;
    /// `record` is told of every rule before it happens.
    #[must_use]
    pub fn new(plan: Plan, fired: impl IntoIterator<Item = RuleId>, record: Record) -> Faults {
        let mut counts = vec![0; plan.rules.len()];
        for rule in fired {
            if let Some(count) = (rule.0 as usize)
                .checked_sub(1)
                .and_then(|at| counts.get_mut(at))
            {
                *count += 1;
            }
        }
        let due = Due {
            plan,
            fired: counts,
            tick: Tick::ZERO,
            record,
            lives: BTreeMap::new(),
            ended_by: BTreeMap::new(),
            waiting: Vec::new(),
        };
        Faults {
            shared: Some(Arc::new(Mutex::new(due))),
            switch: DiskSwitch::new(),
        }
    }

    /// Whether anything may go wrong: links are made so that faults can be armed.
    #[must_use]
    pub fn may_fault(&self) -> bool {
        self.shared.is_some()
    }

    /// By which the disk of the run fails: see [`super::FaultyDisk`].
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

    /// A new incarnation of a host is about to be started. Its faults are to be armed next.
    pub fn born(&self, host: HostId) {
        if let Some(mut due) = self.due() {
            *due.lives.entry(host).or_default() += 1;
            due.ended_by.remove(&host);
        }
    }

    /// What is to wait in a host now.
    #[must_use]
    pub fn due_for_host(&self, sight: &HostSight<'_>) -> Vec<Slot> {
        self.due().map_or_else(Vec::new, |due| due.slots(sight))
    }

    /// Arms what is due in a host, and takes back what is over. To be called before it is started and whenever a tick
    /// opens. What finds no slot is armed at a later call.
    pub fn arm(&self, sight: &HostSight<'_>, armed: &mut ArmedFaults) {
        let Some(due) = self.due() else { return };
        for (rule, _) in due.plan.numbered().filter(|(rule, _)| due.is_over(*rule)) {
            armed.disarm(rule.0);
        }
        for slot in due.slots(sight) {
            if !armed.is_armed(slot.rule) {
                armed.arm(&slot);
            }
        }
    }

    /// Passes a point of the supervisor. What is given is written down, and not done yet.
    #[must_use]
    pub fn at(&self, phase: Phase, tick: Tick) -> Vec<Injection> {
        let Some(mut due) = self.due() else {
            return Vec::new();
        };
        let rules: Vec<RuleId> = due
            .plan
            .numbered()
            .filter(|(id, rule)| rule.phase == phase && due.is_left(*id) && rule.holds_at(tick))
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

    /// Passes a point of the supervisor and does there what this thread can: sleep, die, tell the disk. What is to
    /// happen to hosts waits for [`Faults::take_waiting`].
    #[inline]
    pub fn pass(&self, phase: Phase, tick: Tick) {
        if self.shared.is_some() {
            self.pass_armed(phase, tick);
        }
    }

    /// As [`Faults::pass`], in the open tick.
    #[inline]
    pub fn pass_now(&self, phase: Phase) {
        if let Some(tick) = self.due().map(|due| due.tick) {
            self.pass_armed(phase, tick);
        }
    }

    #[cold]
    fn pass_armed(&self, phase: Phase, tick: Tick) {
        for injection in self.at(phase, tick) {
            match injection {
                Injection::Slow(time) => nap(time),
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

    /// What is to happen to hosts because of points that were passed.
    #[must_use]
    pub fn take_waiting(&self) -> Vec<Injection> {
        self.due()
            .map_or_else(Vec::new, |mut due| std::mem::take(&mut due.waiting))
    }

    /// A host says that it has come to a rule's fault. What is given is written down, and not done yet; nothing, if
    /// the host does it alone.
    #[must_use]
    pub fn fired(&self, rule: u32, host: HostId) -> Option<Injection> {
        let mut due = self.due()?;
        let (id, tick) = (RuleId(rule), due.tick);
        let rule = due.fire(id, tick, Some(host))?;
        // A host that is slow goes on.
        if rule.kind != Kind::Slow {
            due.ended_by.insert(host, id);
        }
        match rule.kind.answer() {
            Answer::Kill => Some(Injection::Kill(id, Target::Host(host))),
            Answer::Stop => Some(Injection::Stop(id, Target::Host(host))),
            Answer::KillSelf => Some(Injection::KillSelf),
            Answer::Nothing => None,
        }
    }

    /// The loop is about to do to this host what a rule says.
    pub fn ends(&self, rule: RuleId, host: HostId) {
        if let Some(mut due) = self.due() {
            due.ended_by.insert(host, rule);
        }
    }

    /// Whether a loss of this host now is ours and does not count against the restart limits.
    #[must_use]
    pub fn is_injected(&self, host: HostId) -> bool {
        let Some(due) = self.due() else { return false };
        let rule = due
            .ended_by
            .get(&host)
            .and_then(|rule| due.plan.rule(*rule));
        rule.is_some_and(|rule| !rule.counts)
    }

    /// The rules, and how often each has fired.
    #[must_use]
    pub fn tally(&self) -> Vec<(RuleId, Rule, u32)> {
        let Some(due) = self.due() else {
            return Vec::new();
        };
        let numbered = due.plan.numbered().zip(&due.fired);
        numbered
            .map(|((id, rule), fired)| (id, rule.clone(), *fired))
            .collect()
    }

    fn due(&self) -> Option<MutexGuard<'_, Due>> {
        let shared = self.shared.as_ref()?;
        Some(shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Due {
    fn is_left(&self, id: RuleId) -> bool {
        let fired = self.fired.get(id.0 as usize - 1);
        let rule = self.plan.rule(id);
        fired
            .zip(rule)
            .is_some_and(|(fired, rule)| *fired < rule.times)
    }

    /// Whether a rule of hosts can never fire again.
    fn is_over(&self, id: RuleId) -> bool {
        let is_past = self.plan.rule(id).is_some_and(|rule| {
            rule.phase.pin() == Pin::Exact && rule.tick.is_some_and(|tick| tick < self.tick)
        });
        is_past || !self.is_left(id)
    }

    fn slots(&self, sight: &HostSight<'_>) -> Vec<Slot> {
        let life = self.lives.get(&sight.host).copied().unwrap_or_default();
        let is_due = |rule: &Rule| {
            let in_time = match (rule.phase.pin(), rule.tick) {
                (_, None) => true,
                (Pin::Exact, Some(tick)) => tick == self.tick,
                (Pin::From | Pin::Start, Some(tick)) => tick <= self.tick,
            };
            in_time && rule.life.is_none_or(|wanted| wanted == life)
        };
        self.plan
            .numbered()
            .filter(|(id, rule)| {
                !rule.phase.is_of_supervisor()
                    && is_due(rule)
                    && self.is_left(*id)
                    && rule.is_for(sight.host, sight.is_inference, sight.agents)
            })
            .map(|(id, rule)| slot(id, rule))
            .collect()
    }

    /// Counts that a rule fires, and writes it down. What cannot be written down does not happen.
    fn fire(&mut self, id: RuleId, tick: Tick, host: Option<HostId>) -> Option<Rule> {
        let rule = self.plan.rule(id)?.clone();
        self.fired[id.0 as usize - 1] += 1;
        let fired = Fired {
            rule: id,
            tick,
            phase: rule.phase,
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

impl Rule {
    /// Whether the rule holds when a point of the supervisor is passed in this tick.
    fn holds_at(&self, tick: Tick) -> bool {
        // Where a journal was not looked at there is no tick yet.
        let is_timeless = self.phase == Phase::ResumeBegun;
        match (self.phase.pin(), self.tick) {
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
fn nap(time: Duration) {
    std::thread::sleep(time);
}

/// Ends this process as the kernel would.
pub(crate) fn kill_self() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    // A process may always signal itself.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Due")
            .field("tick", &self.tick)
            .field("fired", &self.fired)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::FileClass;
    use shm_protocol::fault::ANY;
    use shm_protocol::id::Incarnation;
    use shm_protocol::link::{LinkSizes, SupervisorLink};
    use std::io;

    type Written = Arc<Mutex<Vec<Fired>>>;

    fn faults(rules: Vec<Rule>, fired: &[u32]) -> (Faults, Written) {
        let written = Written::default();
        let record = Arc::clone(&written);
        let record: Record = Box::new(move |fired| {
            record.lock().unwrap().push(fired.clone());
            Ok(())
        });
        let fired = fired.iter().copied().map(RuleId);
        (Faults::new(Plan { rules }, fired, record), written)
    }

    fn rule(phase: Phase, kind: Kind, tick: u64) -> Rule {
        let mut rule = Rule::new(phase, kind, Target::Any);
        rule.tick = Some(Tick(tick));
        rule
    }

    const SIGHT: HostSight<'static> = HostSight {
        host: HostId(0),
        is_inference: false,
        agents: &[AgentId(0), AgentId(1)],
    };

    fn numbers(slots: &[Slot]) -> Vec<u32> {
        slots.iter().map(|slot| slot.rule).collect()
    }

    #[test]
    fn a_rule_is_due_in_its_tick_or_from_it_on() {
        let (faults, _) = faults(
            vec![
                rule(Phase::BeforeStep, Kind::Kill, 5),
                rule(Phase::RingReserved, Kind::Kill, 5),
                Rule::new(Phase::AfterStep, Kind::Kill, Target::Any),
            ],
            &[],
        );
        let mut due = Vec::new();
        for tick in 4..=6 {
            faults.tick_opened(Tick(tick));
            due.push(numbers(&faults.due_for_host(&SIGHT)));
        }
        assert_eq!(due, [vec![3], vec![1, 2, 3], vec![2, 3]]);
    }

    #[test]
    fn the_supervisors_own_points_hold_as_their_pin_says() {
        let (faults, written) = faults(
            vec![
                rule(Phase::BeforeWrite, Kind::SupervisorKill, 5),
                rule(Phase::CheckpointBegun, Kind::Slow, 5),
                rule(Phase::BeforeWrite, Kind::DiskFull, 6),
            ],
            &[],
        );
        assert_eq!(faults.at(Phase::BeforeWrite, Tick(4)), []);
        assert_eq!(
            faults.at(Phase::BeforeWrite, Tick(5)),
            [Injection::KillSelf]
        );
        assert_eq!(faults.at(Phase::BeforeWrite, Tick(5)), [], "it fires once");
        let disk = Injection::Disk(FileClass::Journal, Kind::DiskFull);
        assert_eq!(faults.at(Phase::BeforeWrite, Tick(6)), [disk]);
        assert!(!faults.switch().is_clear());
        let slow = Injection::Slow(Duration::from_millis(10));
        assert_eq!(faults.at(Phase::CheckpointBegun, Tick(9)), [slow]);
        let written: Vec<(u32, u64)> = written
            .lock()
            .unwrap()
            .iter()
            .map(|fired| (fired.rule.0, fired.tick.0))
            .collect();
        assert_eq!(written, [(1, 5), (3, 6), (2, 9)]);
    }

    #[test]
    fn a_rule_of_a_resumed_run_holds_before_anybody_knows_the_tick() {
        let rules = vec![
            rule(Phase::ResumeBegun, Kind::Slow, 5),
            rule(Phase::ResumeCut, Kind::Slow, 5),
        ];
        let (faults, _) = faults(rules, &[]);
        assert_eq!(faults.at(Phase::ResumeCut, Tick(4)).len(), 0);
        assert_eq!(faults.at(Phase::ResumeBegun, Tick::ZERO).len(), 1);
        assert_eq!(faults.at(Phase::ResumeCut, Tick(7)).len(), 1);
    }

    #[test]
    fn what_fired_before_does_not_fire_again() {
        let mut twice = rule(Phase::TickOpened, Kind::SupervisorKill, 5);
        twice.times = 2;
        let once = rule(Phase::TickOpened, Kind::Slow, 5);
        let fires = |fired: &[u32]| {
            let (faults, _) = faults(vec![twice.clone(), once.clone()], fired);
            faults.at(Phase::TickOpened, Tick(5)).len()
        };
        assert_eq!(fires(&[]), 2);
        assert_eq!(fires(&[1, 2]), 1);
        assert_eq!(fires(&[1, 1, 2]), 0);
        assert_eq!(fires(&[9, 0]), 2, "rules of another plan");
    }

    #[test]
    fn what_cannot_be_written_down_does_not_happen() {
        let plan = Plan {
            rules: vec![rule(Phase::TickOpened, Kind::SupervisorKill, 5)],
        };
        let faults = Faults::new(
            plan,
            [],
            Box::new(|_| Err(io::ErrorKind::StorageFull.into())),
        );
        assert_eq!(faults.at(Phase::TickOpened, Tick(5)), []);
    }

    #[test]
    fn a_host_that_comes_to_a_fault_is_answered_and_its_end_is_ours() {
        let mut counted = rule(Phase::AfterStep, Kind::Abort, 5);
        counted.counts = true;
        let (faults, written) = faults(
            vec![
                rule(Phase::BeforeStep, Kind::Kill, 5),
                rule(Phase::BeforeStep, Kind::Slow, 5),
                counted,
                rule(Phase::InStep, Kind::SupervisorKill, 5),
            ],
            &[],
        );
        faults.tick_opened(Tick(5));
        let host = HostId(0);
        faults.born(host);
        assert_eq!(faults.fired(2, host), None);
        assert!(!faults.is_injected(host), "a slow host goes on");
        let kill = Injection::Kill(RuleId(1), Target::Host(host));
        assert_eq!(faults.fired(1, host), Some(kill));
        assert!(faults.is_injected(host) && !faults.is_injected(HostId(1)));
        faults.born(host);
        assert!(!faults.is_injected(host), "that was its life before");
        assert_eq!(faults.fired(3, host), None);
        assert!(!faults.is_injected(host), "the plan says that it counts");
        assert_eq!(faults.fired(4, host), Some(Injection::KillSelf));
        assert_eq!(faults.fired(77, host), None);
        assert_eq!(written.lock().unwrap().len(), 4);
        assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [] as [u32; 0]);
    }

    #[test]
    fn a_rule_that_fires_several_times_is_due_again_in_the_next_life() {
        let mut poison = rule(Phase::InStep, Kind::Segfault, 5);
        poison.times = 3;
        let (faults, _) = faults(vec![poison], &[]);
        faults.tick_opened(Tick(5));
        for _ in 0..3 {
            faults.born(HostId(0));
            assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [1]);
            assert_eq!(faults.fired(1, HostId(0)), None);
            assert!(faults.is_injected(HostId(0)));
        }
        assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [] as [u32; 0]);
    }

    #[test]
    fn a_rule_of_a_start_is_due_in_the_life_that_it_names() {
        let mut second = Rule::new(Phase::HostBorn, Kind::StartFailure, Target::Host(HostId(0)));
        second.life = Some(2);
        let mut later = second.clone();
        (later.life, later.tick) = (None, Some(Tick(9)));
        let (faults, _) = faults(vec![second, later], &[]);
        faults.born(HostId(0));
        assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [] as [u32; 0]);
        faults.born(HostId(0));
        assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [1]);
        faults.tick_opened(Tick(12));
        assert_eq!(numbers(&faults.due_for_host(&SIGHT)), [1, 2]);
    }

    #[test]
    fn a_slot_is_for_the_agent_or_model_where_its_point_says_whom_it_is_for() {
        let agent = || Target::Agent(AgentId(1), "b".into());
        let rules = vec![
            Rule::new(Phase::BeforeStep, Kind::Kill, agent()),
            Rule::new(Phase::BeforeOutcomes, Kind::Kill, agent()),
        ];
        let (faults, _) = faults(rules, &[]);
        let subjects: Vec<u32> = faults
            .due_for_host(&SIGHT)
            .iter()
            .map(|slot| slot.subject)
            .collect();
        assert_eq!(subjects, [1, ANY]);
        let other = HostSight {
            agents: &[AgentId(7)],
            ..SIGHT
        };
        assert_eq!(numbers(&faults.due_for_host(&other)), [] as [u32; 0]);
    }

    #[test]
    fn what_is_due_waits_in_the_host_and_what_is_over_does_not() {
        let sizes = LinkSizes {
            down_bytes: 0,
            up_bytes: 0,
        };
        let (mut link, _descriptors) =
            SupervisorLink::create_with(sizes, Incarnation(1), true).unwrap();
        let (faults, _) = faults(
            vec![
                rule(Phase::BeforeStep, Kind::Kill, 5),
                rule(Phase::RingReserved, Kind::Kill, 5),
            ],
            &[],
        );
        let armed = link.faults().unwrap();
        faults.tick_opened(Tick(5));
        for _ in 0..20 {
            faults.arm(&SIGHT, armed);
        }
        assert!(armed.is_armed(1) && armed.is_armed(2));
        faults.tick_opened(Tick(6));
        faults.arm(&SIGHT, armed);
        assert!(!armed.is_armed(1) && armed.is_armed(2));
    }

    #[test]
    fn kills_of_points_that_other_threads_pass_wait_for_the_loop() {
        let target = Target::Agent(AgentId(0), "a".into());
        let kill = Rule::new(Phase::CheckpointPages, Kind::Kill, target.clone());
        let (faults, _) = faults(vec![kill], &[]);
        let thread = faults.clone();
        std::thread::spawn(move || thread.pass(Phase::CheckpointPages, Tick(3)))
            .join()
            .unwrap();
        assert_eq!(faults.take_waiting(), [Injection::Kill(RuleId(1), target)]);
        assert_eq!(faults.take_waiting(), []);
        faults.ends(RuleId(1), HostId(4));
        assert!(faults.is_injected(HostId(4)));
    }

    #[test]
    fn a_run_without_a_plan_has_no_faults() {
        let faults = Faults::none();
        assert!(!faults.may_fault());
        faults.tick_opened(Tick(1));
        faults.born(HostId(0));
        faults.pass(Phase::TickOpened, Tick(1));
        assert_eq!(faults.at(Phase::TickOpened, Tick(1)), []);
        assert_eq!(faults.due_for_host(&SIGHT).len(), 0);
        assert!(!faults.is_injected(HostId(0)));
    }
}
