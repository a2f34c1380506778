use super::*;
use std::collections::BTreeSet;
use std::path::Path;
use supervisor::fleet::Fleet;

/// A fleet of three agents, of which the second awaits if there is a model.
struct TestFleet {
    fleet: Fleet,
    agents: Vec<String>,
    models: Vec<String>,
}

impl TestFleet {
    fn new(models: &str) -> TestFleet {
        let agents = "[[agents]]\nname = \"a\"\ncount = 3\ncomponent = \"builtin:a\"\n";
        let text = format!("[fleet]\nname = \"f\"\n{agents}{models}");
        let fleet = Fleet::parse(&text, Path::new("f.toml")).expect("a fleet");
        TestFleet {
            agents: fleet
                .agents
                .iter()
                .map(|agent| agent.name.clone())
                .collect(),
            models: fleet
                .models
                .iter()
                .map(|model| model.name.clone())
                .collect(),
            fleet,
        }
    }

    fn with_model() -> TestFleet {
        TestFleet::new("[[models]]\nname = \"m\"\nfile = \"builtin:m\"\n")
    }

    fn plan(&self, seed: u64, count: usize, ticks: u64, weights: &KindWeights) -> FaultPlan {
        let awaiting: &[AgentId] = match self.models.is_empty() {
            true => &[],
            false => &[AgentId(1)],
        };
        let run = RunShape {
            agents: &self.agents,
            models: &self.models,
            ticks,
            awaiting,
        };
        random_plan(seed, count, &run, weights)
    }

    /// The plan as the reader of fault plans sees it, which checks every rule.
    fn read(&self, plan: &FaultPlan) -> FaultPlan {
        FaultPlan::parse(&plan.to_toml(), Path::new("plan.toml"), &self.fleet).expect("a plan")
    }
}

#[test]
fn a_seed_gives_one_plan_and_another_seed_another() {
    let fleet = TestFleet::with_model();
    let plan = |seed| fleet.plan(seed, 100, 500, &KindWeights::default());
    assert_eq!(plan(1), plan(1));
    assert_ne!(plan(1), plan(2));
}

#[test]
fn every_rule_is_valid_and_within_the_ticks() {
    for fleet in [TestFleet::with_model(), TestFleet::new("")] {
        for seed in 0..20 {
            let plan = fleet.plan(seed, 200, 50, &KindWeights::default());
            assert_eq!(plan.rules.len(), 200);
            assert_eq!(fleet.read(&plan), plan);
            for rule in &plan.rules {
                assert!(rule.tick.is_none_or(|tick| (1..=50).contains(&tick.0)));
                let of_models = rule.point.processes() == [FaultProcess::InferenceHost];
                assert!(!of_models || !fleet.models.is_empty(), "{rule:?}");
                let awaits = rule.target == FaultTarget::Agent(AgentId(1), "a-1".to_owned());
                assert!(!rule.point.needs_waits() || awaits, "{rule:?}");
            }
        }
    }
}

#[test]
fn a_long_plan_covers_every_kind_at_every_point() {
    let everything = KindWeights(FaultKind::ALL.map(|_| 1));
    let plan = TestFleet::with_model().plan(3, 4_000, 500, &everything);
    let covered: BTreeSet<(FaultKind, FaultPoint)> = plan
        .rules
        .iter()
        .map(|rule| (rule.kind, rule.point))
        .collect();
    for kind in FaultKind::ALL {
        let drawn = |point: &&FaultPoint| kind.fits(**point);
        for point in FaultPoint::ALL.iter().filter(drawn) {
            assert!(covered.contains(&(kind, *point)), "{kind:?} at {point:?}");
        }
    }
}

#[test]
fn weights_choose_the_kinds() {
    let fleet = TestFleet::with_model();
    let plan = fleet.plan(4, 300, 500, &KindWeights::only(&[FaultKind::Abort]));
    let others = plan
        .rules
        .iter()
        .filter(|rule| !matches!(rule.kind, FaultKind::Abort | FaultKind::Kill));
    assert_eq!(others.count(), 0);
    assert!(fleet.plan(4, 300, 500, &KindWeights::only(&[])).is_empty());
}

#[test]
fn a_fault_of_a_start_comes_behind_one_that_ends_its_host() {
    let weights = KindWeights::only(&[FaultKind::StartFailure]);
    let plan = TestFleet::with_model().plan(5, 400, 500, &weights);
    let starts: Vec<usize> = (0..plan.rules.len())
        .filter(|at| plan.rules[*at].kind == FaultKind::StartFailure)
        .collect();
    assert!(starts.len() > 100);
    for at in starts {
        let rule = &plan.rules[at];
        let before = &plan.rules[..at];
        let ends = |earlier: &FaultRule| {
            earlier.kind == FaultKind::Kill
                && earlier.tick == rule.tick
                && earlier.target == rule.target
        };
        assert!(before.iter().any(ends), "{rule:?}");
    }
}
