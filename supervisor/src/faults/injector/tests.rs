use crate::faults::FileClass;
use crate::faults::injector::*;
use shm_protocol::fault::ANY;
use shm_protocol::id::Incarnation;
use shm_protocol::link::{LinkSizes, SupervisorLink};
use std::io;

type Written = Arc<Mutex<Vec<FiredFault>>>;

fn faults(rules: Vec<FaultRule>, fired: &[u32]) -> (Faults, Written) {
    let written = Written::default();
    let record = Arc::clone(&written);
    let record: FaultRecorder = Box::new(move |fired| {
        record.lock().unwrap().push(fired.clone());
        Ok(())
    });
    let fired = fired.iter().copied().map(RuleId);
    (Faults::new(FaultPlan { rules }, fired, record), written)
}

fn rule(point: FaultPoint, kind: FaultKind, tick: u64) -> FaultRule {
    let mut rule = FaultRule::new(point, kind, FaultTarget::Any);
    rule.tick = Some(Tick(tick));
    rule
}

const VIEW: HostView<'static> = HostView {
    host: HostId(0),
    is_inference: false,
    agents: &[AgentId(0), AgentId(1)],
};

fn numbers(slots: &[FaultSlot]) -> Vec<u32> {
    slots.iter().map(|slot| slot.rule).collect()
}

#[test]
fn a_rule_is_due_in_its_tick_or_from_it_on() {
    let (faults, _) = faults(
        vec![
            rule(FaultPoint::BeforeStep, FaultKind::Kill, 5),
            rule(FaultPoint::RingReserved, FaultKind::Kill, 5),
            FaultRule::new(FaultPoint::AfterStep, FaultKind::Kill, FaultTarget::Any),
        ],
        &[],
    );
    let mut due = Vec::new();
    for tick in 4..=6 {
        faults.tick_opened(Tick(tick));
        due.push(numbers(&faults.due_for_host(&VIEW)));
    }
    assert_eq!(due, [vec![3], vec![1, 2, 3], vec![2, 3]]);
}

#[test]
fn the_supervisors_own_points_hold_as_their_pin_says() {
    let (faults, written) = faults(
        vec![
            rule(FaultPoint::BeforeWrite, FaultKind::SupervisorKill, 5),
            rule(FaultPoint::CheckpointStarted, FaultKind::Slow, 5),
            rule(FaultPoint::BeforeWrite, FaultKind::DiskFull, 6),
        ],
        &[],
    );
    assert_eq!(faults.at(FaultPoint::BeforeWrite, Tick(4)), []);
    assert_eq!(
        faults.at(FaultPoint::BeforeWrite, Tick(5)),
        [Injection::KillSelf]
    );
    assert_eq!(
        faults.at(FaultPoint::BeforeWrite, Tick(5)),
        [],
        "it fires once"
    );
    let disk = Injection::Disk(FileClass::Journal, FaultKind::DiskFull);
    assert_eq!(faults.at(FaultPoint::BeforeWrite, Tick(6)), [disk]);
    assert!(!faults.switch().is_clear());
    let slow = Injection::Slow(Duration::from_millis(10));
    assert_eq!(faults.at(FaultPoint::CheckpointStarted, Tick(9)), [slow]);
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
        rule(FaultPoint::ResumeStarted, FaultKind::Slow, 5),
        rule(FaultPoint::ResumeTruncated, FaultKind::Slow, 5),
    ];
    let (faults, _) = faults(rules, &[]);
    assert_eq!(faults.at(FaultPoint::ResumeTruncated, Tick(4)).len(), 0);
    assert_eq!(faults.at(FaultPoint::ResumeStarted, Tick::ZERO).len(), 1);
    assert_eq!(faults.at(FaultPoint::ResumeTruncated, Tick(7)).len(), 1);
}

#[test]
fn what_fired_before_does_not_fire_again() {
    let mut twice = rule(FaultPoint::TickOpened, FaultKind::SupervisorKill, 5);
    twice.times = 2;
    let once = rule(FaultPoint::TickOpened, FaultKind::Slow, 5);
    let fires = |fired: &[u32]| {
        let (faults, _) = faults(vec![twice.clone(), once.clone()], fired);
        faults.at(FaultPoint::TickOpened, Tick(5)).len()
    };
    assert_eq!(fires(&[]), 2);
    assert_eq!(fires(&[1, 2]), 1);
    assert_eq!(fires(&[1, 1, 2]), 0);
    assert_eq!(fires(&[9, 0]), 2, "rules of another plan");
}

#[test]
fn what_cannot_be_written_down_does_not_happen() {
    let plan = FaultPlan {
        rules: vec![rule(FaultPoint::TickOpened, FaultKind::SupervisorKill, 5)],
    };
    let faults = Faults::new(
        plan,
        [],
        Box::new(|_| Err(io::ErrorKind::StorageFull.into())),
    );
    assert_eq!(faults.at(FaultPoint::TickOpened, Tick(5)), []);
}

#[test]
fn a_host_that_comes_to_a_fault_is_answered_and_its_end_is_ours() {
    let mut counted = rule(FaultPoint::AfterStep, FaultKind::Abort, 5);
    counted.counts_as_restart = true;
    let (faults, written) = faults(
        vec![
            rule(FaultPoint::BeforeStep, FaultKind::Kill, 5),
            rule(FaultPoint::BeforeStep, FaultKind::Slow, 5),
            counted,
            rule(FaultPoint::InStep, FaultKind::SupervisorKill, 5),
        ],
        &[],
    );
    faults.tick_opened(Tick(5));
    let host = HostId(0);
    faults.host_started(host);
    assert_eq!(faults.fired(2, host), None);
    assert!(!faults.is_injected(host), "a slow host goes on");
    let kill = Injection::Kill(RuleId(1), FaultTarget::Host(host));
    assert_eq!(faults.fired(1, host), Some(kill));
    assert!(faults.is_injected(host) && !faults.is_injected(HostId(1)));
    faults.host_started(host);
    assert!(!faults.is_injected(host), "that was its life before");
    assert_eq!(faults.fired(3, host), None);
    assert!(!faults.is_injected(host), "the plan says that it counts");
    assert_eq!(faults.fired(4, host), Some(Injection::KillSelf));
    assert_eq!(faults.fired(77, host), None);
    assert_eq!(written.lock().unwrap().len(), 4);
    assert_eq!(numbers(&faults.due_for_host(&VIEW)), [] as [u32; 0]);
}

#[test]
fn a_repeating_rule_is_due_again_in_the_next_incarnation() {
    let mut poison = rule(FaultPoint::InStep, FaultKind::Segfault, 5);
    poison.times = 3;
    let (faults, _) = faults(vec![poison], &[]);
    faults.tick_opened(Tick(5));
    for _ in 0..3 {
        faults.host_started(HostId(0));
        assert_eq!(numbers(&faults.due_for_host(&VIEW)), [1]);
        assert_eq!(faults.fired(1, HostId(0)), None);
        assert!(faults.is_injected(HostId(0)));
    }
    assert_eq!(numbers(&faults.due_for_host(&VIEW)), [] as [u32; 0]);
}

#[test]
fn a_rule_of_a_start_is_due_in_the_life_that_it_names() {
    let mut second = FaultRule::new(
        FaultPoint::ProcessStarted,
        FaultKind::StartFailure,
        FaultTarget::Host(HostId(0)),
    );
    second.nth_start = Some(2);
    let mut later = second.clone();
    (later.nth_start, later.tick) = (None, Some(Tick(9)));
    let (faults, _) = faults(vec![second, later], &[]);
    faults.host_started(HostId(0));
    assert_eq!(numbers(&faults.due_for_host(&VIEW)), [] as [u32; 0]);
    faults.host_started(HostId(0));
    assert_eq!(numbers(&faults.due_for_host(&VIEW)), [1]);
    faults.tick_opened(Tick(12));
    assert_eq!(numbers(&faults.due_for_host(&VIEW)), [1, 2]);
}

#[test]
fn a_fault_slot_applies_to_the_agent_or_model_of_its_point() {
    let agent = || FaultTarget::Agent(AgentId(1), "b".into());
    let rules = vec![
        FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, agent()),
        FaultRule::new(FaultPoint::BeforeOutcomes, FaultKind::Kill, agent()),
    ];
    let (faults, _) = faults(rules, &[]);
    let subjects: Vec<u32> = faults
        .due_for_host(&VIEW)
        .iter()
        .map(|slot| slot.subject)
        .collect();
    assert_eq!(subjects, [1, ANY]);
    let other = HostView {
        agents: &[AgentId(7)],
        ..VIEW
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
            rule(FaultPoint::BeforeStep, FaultKind::Kill, 5),
            rule(FaultPoint::RingReserved, FaultKind::Kill, 5),
        ],
        &[],
    );
    let armed = link.faults().unwrap();
    faults.tick_opened(Tick(5));
    for _ in 0..20 {
        faults.arm(&VIEW, armed);
    }
    assert!(armed.is_armed(1) && armed.is_armed(2));
    faults.tick_opened(Tick(6));
    faults.arm(&VIEW, armed);
    assert!(!armed.is_armed(1) && armed.is_armed(2));
}

#[test]
fn kills_of_points_that_other_threads_pass_wait_for_the_loop() {
    let target = FaultTarget::Agent(AgentId(0), "a".into());
    let kill = FaultRule::new(FaultPoint::CheckpointPages, FaultKind::Kill, target.clone());
    let (faults, _) = faults(vec![kill], &[]);
    let thread = faults.clone();
    std::thread::spawn(move || thread.pass(FaultPoint::CheckpointPages, Tick(3)))
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
    faults.host_started(HostId(0));
    faults.pass(FaultPoint::TickOpened, Tick(1));
    assert_eq!(faults.at(FaultPoint::TickOpened, Tick(1)), []);
    assert_eq!(faults.due_for_host(&VIEW).len(), 0);
    assert!(!faults.is_injected(HostId(0)));
}
