//! Plans for `lockstep chaos`: random, and the same for the same seed.

use super::plan::FaultPlan;
use super::rule::{FaultRule, FaultTarget};
use crate::fleet::Fleet;
use shm_protocol::fault::{FaultKind, FaultPoint, FaultProcess, Pin};
use shm_protocol::id::{AgentId, ModelId, Tick};

/// Longest sleep of a slow fault, in milliseconds.
const MOST_MS: u64 = 20;

/// How often each kind is drawn, in relation to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights([u32; FaultKind::ALL.len()]);

impl Default for Weights {
    /// What ends the run is rarer than what does not, and what costs a deadline rarer still.
    fn default() -> Weights {
        Weights(FaultKind::ALL.map(|kind| match kind {
            _ if kind.costs_deadline() => 1,
            _ if kind.is_of_disk() || kind == FaultKind::SupervisorKill => 4,
            _ => 20,
        }))
    }
}

impl Weights {
    /// These kinds alone, as often as each other.
    #[must_use]
    pub fn only(kinds: &[FaultKind]) -> Weights {
        Weights(FaultKind::ALL.map(|kind| u32::from(kinds.contains(&kind))))
    }

    /// Another weight for a kind; zero leaves it out.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, weight: u32) -> Weights {
        self.0[kind as usize] = weight;
        self
    }
}

/// What is known of the runs that a plan is for.
#[derive(Clone, Copy, Debug)]
pub struct RunShape<'f> {
    /// The fleet.
    pub fleet: &'f Fleet,
    /// How many ticks they have.
    pub ticks: u64,
    /// Agents that wait within their steps, which no fleet says.
    pub waiting: &'f [AgentId],
}

impl FaultPlan {
    /// A plan of `count` rules within the first `ticks` ticks of a fleet, with which all that is drawn can happen: a
    /// fault of a host's start has a rule before it that ends the host, and one of a resumed run one that ends the
    /// supervisor.
    ///
    /// The phases of a kind come in turn, so that a plan of some hundred rules has been everywhere.
    #[must_use]
    pub fn random(seed: u64, count: usize, run: &RunShape<'_>, weights: &Weights) -> FaultPlan {
        let mut draw = Draw {
            random: Random(seed),
            fleet: run.fleet,
            waiting: run.waiting,
            ticks: run.ticks.max(1),
            decks: vec![Vec::new(); FaultKind::ALL.len()],
        };
        let weights: Vec<(FaultKind, u64)> = FaultKind::ALL
            .iter()
            .map(|kind| (*kind, u64::from(weights.0[*kind as usize])))
            .filter(|(kind, weight)| {
                *weight > 0 && FaultPoint::ALL.iter().any(|phase| draw.can(*kind, *phase))
            })
            .collect();
        let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut rules = Vec::new();
        while rules.len() < count && total > 0 {
            let mut at = draw.random.below(total);
            let drawn = weights.iter().find(|(_, weight)| {
                let hit = at < *weight;
                at = at.saturating_sub(*weight);
                hit
            });
            let Some((kind, _)) = drawn else { break };
            let made = draw.rules(*kind);
            // A fault that needs another one before it does not fit where there is room for one.
            if rules.len() + made.len() <= count {
                rules.extend(made);
            } else {
                rules.push(draw.plain());
            }
        }
        rules.sort_by_key(|rule| rule.tick);
        FaultPlan { rules }
    }
}

struct Draw<'f> {
    random: Random,
    fleet: &'f Fleet,
    waiting: &'f [AgentId],
    ticks: u64,
    /// Phases that are still to come, of each kind.
    decks: Vec<Vec<FaultPoint>>,
}

impl Draw<'_> {
    /// Whether the fleet has who passes the phase, and the kind fits it.
    fn can(&self, kind: FaultKind, phase: FaultPoint) -> bool {
        let needs_models =
            phase.processes() == [FaultProcess::InferenceHost] || phase == FaultPoint::AnswerHeard;
        kind.fits(phase)
            && (!phase.needs_waits() || !self.waiting.is_empty())
            && (!needs_models || !self.fleet.models.is_empty())
    }

    /// The next phase of a kind.
    fn phase(&mut self, kind: FaultKind) -> FaultPoint {
        if self.decks[kind as usize].is_empty() {
            let mut deck: Vec<FaultPoint> = FaultPoint::ALL
                .iter()
                .copied()
                .filter(|phase| self.can(kind, *phase))
                .collect();
            for last in (1..deck.len()).rev() {
                let other = self.random.index(last + 1);
                deck.swap(last, other);
            }
            self.decks[kind as usize] = deck;
        }
        let deck = &mut self.decks[kind as usize];
        deck.pop().expect("kinds without phases are not drawn")
    }

    fn tick(&mut self) -> Tick {
        Tick(1 + self.random.below(self.ticks))
    }

    /// A rule of this kind, behind the one that it needs.
    fn rules(&mut self, kind: FaultKind) -> Vec<FaultRule> {
        let phase = self.phase(kind);
        let mut rule = FaultRule::new(phase, kind, self.target(kind, phase));
        if kind == FaultKind::Slow {
            rule.ms = u32::try_from(1 + self.random.below(MOST_MS)).unwrap_or(1);
        }
        let ends_run = matches!(phase, FaultPoint::BeforeSeal | FaultPoint::AfterSeal);
        if !ends_run {
            rule.tick = Some(self.tick());
        }
        let first = self.first(&rule);
        first.into_iter().chain([rule]).collect()
    }

    /// What must go wrong before a rule's point is passed again.
    fn first(&mut self, rule: &FaultRule) -> Option<FaultRule> {
        use FaultPoint::{HostsReady, ResumeBegun, ResumeCut, ResumeRedone, TickOpened};
        let of_resume = [HostsReady, ResumeBegun, ResumeCut, ResumeRedone].contains(&rule.phase);
        let of_recovery = [
            FaultPoint::BeforeSpawn,
            FaultPoint::RecoveryBegun,
            FaultPoint::RecoveryRestored,
            FaultPoint::RecoveryRedone,
        ]
        .contains(&rule.phase);
        let of_start = !rule.phase.is_of_supervisor() && rule.phase.pin() == Pin::Start;
        let mut first = if of_resume {
            FaultRule::new(TickOpened, FaultKind::SupervisorKill, FaultTarget::Any)
        } else if of_recovery || of_start {
            let target = match &rule.target {
                FaultTarget::Any => self.agent(),
                target => target.clone(),
            };
            FaultRule::new(TickOpened, FaultKind::Kill, target)
        } else {
            return None;
        };
        first.tick = rule.tick;
        Some(first)
    }

    /// A rule that needs no other.
    fn plain(&mut self) -> FaultRule {
        let target = self.agent();
        let mut rule = FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, target);
        rule.tick = Some(self.tick());
        rule
    }

    fn target(&mut self, kind: FaultKind, phase: FaultPoint) -> FaultTarget {
        let has_models = !self.fleet.models.is_empty();
        if phase.is_of_supervisor() {
            let for_host = matches!(kind, FaultKind::Kill | FaultKind::Stop);
            return match for_host {
                false => FaultTarget::Any,
                true if has_models && self.random.below(3) == 0 => FaultTarget::Inference,
                true => self.agent(),
            };
        }
        if phase.needs_waits() {
            let position = self.random.index(self.waiting.len());
            return self.agent_of(self.waiting[position]);
        }
        if phase.names_model() {
            let position = self.random.index(self.fleet.models.len());
            let name = self.fleet.models[position].name.clone();
            return FaultTarget::Model(ModelId::from_index(position), name);
        }
        let (agents, models) = (FaultProcess::AgentHost, FaultProcess::InferenceHost);
        let passes = |process| phase.processes().contains(&process);
        match (passes(agents), passes(models) && has_models) {
            (true, true) if self.random.below(3) == 0 => FaultTarget::Inference,
            (true, _) => self.agent(),
            (false, _) => FaultTarget::Inference,
        }
    }

    fn agent(&mut self) -> FaultTarget {
        let position = self.random.index(self.fleet.agents.len());
        self.agent_of(AgentId::from_index(position))
    }

    fn agent_of(&self, agent: AgentId) -> FaultTarget {
        FaultTarget::Agent(agent, self.fleet.agents[agent.index()].name.clone())
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to choose faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    const AGENTS: &str =
        "[fleet]\nname = \"f\"\n[[agents]]\nname = \"a\"\ncount = 3\ncomponent = \"builtin:a\"\n";

    fn fleet(models: &str) -> Fleet {
        Fleet::parse(&format!("{AGENTS}{models}"), Path::new("f.toml")).expect("a fleet")
    }

    fn with_model() -> Fleet {
        fleet("[[models]]\nname = \"m\"\nfile = \"builtin:m\"\n")
    }

    /// Runs of a fleet of which one agent waits.
    fn known(fleet: &Fleet, ticks: u64) -> RunShape<'_> {
        RunShape {
            fleet,
            ticks,
            waiting: match fleet.models.is_empty() {
                true => &[],
                false => &[AgentId(1)],
            },
        }
    }

    #[test]
    fn a_seed_gives_one_plan_and_another_seed_another() {
        let plan =
            |seed| FaultPlan::random(seed, 100, &known(&with_model(), 500), &Weights::default());
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn every_rule_can_be_and_is_within_the_ticks() {
        for fleet in [with_model(), fleet("")] {
            for seed in 0..20 {
                let plan = FaultPlan::random(seed, 200, &known(&fleet, 50), &Weights::default());
                assert_eq!(plan.rules.len(), 200);
                for rule in &plan.rules {
                    assert_eq!(rule.check(), Ok(()), "{rule:?}");
                    assert!(rule.tick.is_none_or(|tick| (1..=50).contains(&tick.0)));
                    let of_models = rule.phase.processes() == [FaultProcess::InferenceHost];
                    assert!(!of_models || !fleet.models.is_empty(), "{rule:?}");
                    let of_who_waits =
                        rule.target == FaultTarget::Agent(AgentId(1), "a-1".to_owned());
                    assert!(!rule.phase.needs_waits() || of_who_waits, "{rule:?}");
                }
            }
        }
    }

    #[test]
    fn a_long_plan_has_been_everywhere() {
        let everything = Weights(FaultKind::ALL.map(|_| 1));
        let plan = FaultPlan::random(3, 4_000, &known(&with_model(), 500), &everything);
        let been: BTreeSet<(FaultKind, FaultPoint)> = plan
            .rules
            .iter()
            .map(|rule| (rule.kind, rule.phase))
            .collect();
        for kind in FaultKind::ALL {
            let drawn = |phase: &&FaultPoint| kind.fits(**phase);
            for phase in FaultPoint::ALL.iter().filter(drawn) {
                assert!(been.contains(&(kind, *phase)), "{kind:?} at {phase:?}");
            }
        }
    }

    #[test]
    fn weights_choose_the_kinds() {
        let plan = FaultPlan::random(
            4,
            300,
            &known(&with_model(), 500),
            &Weights::only(&[FaultKind::Abort]),
        );
        let others = plan
            .rules
            .iter()
            .filter(|rule| !matches!(rule.kind, FaultKind::Abort | FaultKind::Kill));
        assert_eq!(others.count(), 0);
        let slow = Weights::default().with(FaultKind::Stop, 0);
        let plan = FaultPlan::random(4, 300, &known(&with_model(), 500), &slow);
        assert!(plan.rules.iter().all(|rule| rule.kind != FaultKind::Stop));
        assert!(
            FaultPlan::random(4, 300, &known(&with_model(), 500), &Weights::only(&[])).is_empty()
        );
    }

    #[test]
    fn a_fault_of_a_start_comes_behind_one_that_ends_its_host() {
        let plan = FaultPlan::random(
            5,
            400,
            &known(&with_model(), 500),
            &Weights::only(&[FaultKind::StartFailure]),
        );
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

    #[test]
    fn a_plan_reads_as_it_is_written() {
        let fleet = with_model();
        for seed in 0..20 {
            let plan = FaultPlan::random(seed, 300, &known(&fleet, 500), &Weights::default());
            let read = FaultPlan::parse(&plan.to_toml(), Path::new("plan.toml"), &fleet);
            assert_eq!(read.expect("a plan"), plan);
        }
    }
}
