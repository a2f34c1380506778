//! The promise: a machine that is restored, follows a journal, or is told of a
//! verdict commits what the one that went on commits.

use super::*;
use crate::record::{QuarantineReason, Verdict};
use crate::tick::PlanMismatch;

/// A world and its machine between two ticks.
struct Between {
    machine: Vec<u8>,
    requests: Vec<u64>,
    tick: u64,
}

/// The actions of a machine, and the answers of the simulated world.
struct Life {
    world: World,
    machine: TickMachine,
    arrivals: Vec<TickInput>,
    commits: Vec<TickRecord>,
    between: Option<Between>,
    end: Option<RunEnd>,
}

impl Life {
    fn begin(plan: RunPlan, ticks: u64) -> Life {
        Life::of(
            TickMachine::new(plan.clone(), Some(Tick(ticks))),
            plan.agents(),
        )
    }

    fn of(machine: TickMachine, agents: usize) -> Life {
        Life {
            world: World {
                requests: vec![0; agents],
                agents: u32::try_from(agents).expect("few"),
            },
            machine,
            arrivals: vec![TickInput::Begin],
            commits: Vec::new(),
            between: None,
            end: None,
        }
    }

    fn resume(plan: RunPlan, ticks: u64, between: &Between) -> Life {
        let agents = plan.agents();
        let machine =
            TickMachine::restore(plan, Some(Tick(ticks)), &between.machine).expect("its own plan");
        let mut life = Life::of(machine, agents);
        life.world.requests.clone_from(&between.requests);
        let again: Vec<TickInput> = life.machine.running().map(answered).collect();
        life.arrivals.extend(again);
        life
    }

    /// Applies one event after the other, as `choose` decides, until the end.
    fn go(mut self, checkpoint_at: u64, mut choose: impl FnMut(usize) -> usize) -> Life {
        while self.end.is_none() {
            // The first input begins; everything else may come in any order.
            let first = usize::from(!matches!(self.arrivals[0], TickInput::Begin));
            let next = if first == 0 {
                self.arrivals.remove(0)
            } else {
                let chosen = choose(self.arrivals.len());
                self.arrivals.swap_remove(chosen)
            };
            self.apply(next);
            if self.machine.tick() == Tick(checkpoint_at) && self.between.is_none() {
                self.apply(TickInput::Checkpoint);
            }
        }
        self
    }

    fn apply(&mut self, input: TickInput) {
        let mut actions = Vec::new();
        self.machine
            .apply(input, &mut actions)
            .expect("a sound world");
        for action in actions {
            match action {
                TickAction::Step { host, tick, steps } => {
                    for step in &steps {
                        let outcomes = vec![self.world.step(tick, step)];
                        self.arrivals.push(TickInput::Outcomes {
                            host,
                            tick,
                            outcomes,
                        });
                    }
                }
                TickAction::Answer { .. } => unreachable!("nobody waits"),
                TickAction::Infer(batch) => self.arrivals.push(answered(&batch)),
                TickAction::Checkpoint { tick, machine } => {
                    self.between = Some(Between {
                        machine,
                        requests: self.world.requests.clone(),
                        tick: tick.0,
                    });
                }
                TickAction::Commit { record, .. } => {
                    self.commits.push(Arc::unwrap_or_clone(record))
                }
                TickAction::Proceed => self.arrivals.push(TickInput::Proceed),
                TickAction::Finish(end) => self.end = Some(end),
            }
        }
    }
}

fn answered(batch: &InferenceBatch) -> TickInput {
    TickInput::Answer {
        batch: batch.id,
        outputs: Ok(World::infer(batch)),
    }
}

/// Agents of which some are due rarely, so that messages and results wait for them over many ticks.
fn rare(every: &[u64]) -> Vec<PlannedAgent> {
    every
        .iter()
        .zip(0_u32..)
        .map(|(every, number)| PlannedAgent {
            every: *every,
            ..agent(number % 3)
        })
        .collect()
}

proptest! {
    #[test]
    fn a_restored_machine_commits_what_the_other_one_did(
        seed in any::<u64>(),
        every in proptest::collection::vec(1_u64..5, 1..7),
        joined in any::<bool>(),
        latency in 1_u64..4,
        at in 1_u64..14,
    ) {
        let mut state = seed;
        let mut shuffled = |among: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % among
        };
        let plan = RunPlan::new(rare(&every), vec![model(joined, 5, latency)], STEP_BYTES);
        let whole = Life::begin(plan.clone(), 15).go(at, &mut shuffled);
        let between = whole.between.expect("it was asked for");
        prop_assert_eq!(between.tick, at);
        let rest = Life::resume(plan, 15, &between).go(u64::MAX, shuffled);
        let position = usize::try_from(at).expect("few");
        prop_assert_eq!(&whole.commits[position..], &rest.commits[..]);
    }
}

#[test]
fn following_a_journal_infers_only_what_is_undelivered() {
    let plan = || RunPlan::new(rare(&[1, 3, 1]), vec![model(true, 5, 1)], STEP_BYTES);
    let whole = Life::begin(plan(), 12).go(u64::MAX, |_| 0);
    let mut machine = TickMachine::new(plan(), None);
    let mut actions = Vec::new();
    let mut apply = |machine: &mut TickMachine, input| {
        actions.clear();
        machine.apply(input, &mut actions).expect("its own journal");
    };
    apply(&mut machine, TickInput::Begin);
    for (record, tick) in whole.commits[..7].iter().zip(1..) {
        apply(&mut machine, TickInput::Journaled(record.results.clone()));
        for outcome in record.outcomes.clone() {
            let host = machine.host_of(outcome.agent);
            let (tick, outcomes) = (Tick(tick), vec![outcome]);
            apply(
                &mut machine,
                TickInput::Outcomes {
                    host,
                    tick,
                    outcomes,
                },
            );
        }
    }
    // Agent 1 steps in ticks 3 and 6 and gets its result in tick 9; the others get theirs of tick 7 in tick 8.
    let asked: Vec<u64> = machine.running().map(|batch| batch.tick.0).collect();
    assert_eq!(asked, [6, 7]);
    // What was delivered already is not answered again, though its batch is.
    let batches: Vec<TickInput> = machine.running().map(answered).collect();
    for answer in batches {
        apply(&mut machine, answer);
    }
    assert_eq!(machine.running().count(), 0);
}

#[test]
fn a_machine_is_not_restored_for_another_plan() {
    let plan = |agents: u32| {
        RunPlan::new(
            (0..agents).map(agent).collect(),
            vec![model(true, 5, 1)],
            STEP_BYTES,
        )
    };
    let life = Life::begin(plan(3), 5).go(2, |_| 0);
    let machine = life.between.expect("it was asked for").machine;
    assert!(TickMachine::restore(plan(3), None, &machine).is_ok());
    assert_eq!(
        TickMachine::restore(plan(4), None, &machine).err(),
        Some(PlanMismatch)
    );
    assert_eq!(
        TickMachine::restore(plan(3), None, &machine[1..]).err(),
        Some(PlanMismatch)
    );
}

#[test]
fn a_quarantined_agent_leaves_no_trace_of_the_tick() {
    let plan = || RunPlan::new(rare(&[1, 1, 2]), vec![model(true, 5, 1)], STEP_BYTES);
    let verdict = Verdict::Quarantined {
        agent: AgentId(1),
        reason: QuarantineReason::StepCrashesHost,
    };
    // It has answered already when the verdict comes, and then not.
    for answers_first in [true, false] {
        let mut life = Life::begin(plan(), 9);
        while life.machine.tick() < Tick(4) {
            let next = life.arrivals.remove(0);
            life.apply(next);
        }
        if answers_first {
            let is_its = |input: &TickInput| matches!(input, TickInput::Outcomes { outcomes, .. } if outcomes[0].agent == AgentId(1));
            while let Some(position) = life
                .arrivals
                .iter()
                .position(|input| matches!(input, TickInput::Answer { .. }))
            {
                let next = life.arrivals.remove(position);
                life.apply(next);
            }
            let position = life.arrivals.iter().position(is_its).expect("it was asked");
            let next = life.arrivals.remove(position);
            life.apply(next);
        }
        life.apply(TickInput::Verdict(verdict.clone()));
        life.arrivals.retain(|input| !matches!(input, TickInput::Outcomes { outcomes, .. } if outcomes[0].agent == AgentId(1)));
        let live = life.go(u64::MAX, |_| 0);
        assert_eq!(live.commits[3].verdicts, std::slice::from_ref(&verdict));
        let mut replay = Life::begin(plan(), 9);
        replay
            .machine
            .preload_verdicts(Tick(4), vec![verdict.clone()]);
        let replay = replay.go(u64::MAX, |_| 0);
        assert_eq!(live.commits, replay.commits);
        let steps = |record: &TickRecord| {
            record
                .outcomes
                .iter()
                .any(|outcome| outcome.agent == AgentId(1))
        };
        assert!(steps(&live.commits[2]) && !live.commits[3..].iter().any(steps));
    }
}

#[test]
fn a_host_that_breaks_its_word_changes_nothing() {
    let (mut machine, _) = begun(vec![agent(0), agent(0)]);
    let good = |number| outcome(AgentId(number), Vec::new());
    let twice = vec![good(0), good(1), good(0)];
    assert!(matches!(
        answer(&mut machine, twice),
        Err(Violation::NotStepping { .. })
    ));
    assert!(machine.outcome(AgentId(0)).is_none());
    let actions = answer(&mut machine, vec![good(1), good(0)]).expect("as if nothing was");
    assert_eq!(committed(&actions).outcomes.len(), 2);
}
