//! Random fault plans: the same seed gives the same plan.

use shm_protocol::fault::{FaultKind, FaultPoint, FaultProcess, Pin};
use shm_protocol::id::{AgentId, ModelId, Tick};
use supervisor::faults::{FaultPlan, FaultRule, FaultTarget};

/// Longest sleep of a slow fault, in milliseconds.
const MAX_SLEEP_MS: u64 = 20;

/// Relative frequency of each kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KindWeights([u32; FaultKind::ALL.len()]);

impl Default for KindWeights {
    /// Faults that end the supervisor are rarer than the others, and faults that cost a deadline are the rarest.
    fn default() -> KindWeights {
        KindWeights(FaultKind::ALL.map(|kind| match kind {
            _ if kind.costs_deadline() => 1,
            _ if kind.is_of_disk() || kind == FaultKind::SupervisorKill => 4,
            _ => 20,
        }))
    }
}

impl KindWeights {
    /// Equal weights for these kinds; no other kind is drawn.
    pub(super) fn only(kinds: &[FaultKind]) -> KindWeights {
        KindWeights(FaultKind::ALL.map(|kind| u32::from(kinds.contains(&kind))))
    }
}

/// The runs that a plan is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunShape<'f> {
    /// Names of the agents, by their numbers.
    pub(super) agents: &'f [String],
    /// Names of the models, by their numbers.
    pub(super) models: &'f [String],
    /// Ticks of each run.
    pub(super) ticks: u64,
    /// Agents that await results within their steps.
    pub(super) awaiting: &'f [AgentId],
}

/// Draws a plan of `count` rules, each of which can fire: a fault at the start of a host follows a rule that ends the
/// host in the same tick, and a fault of a resumed run follows one that ends the supervisor.
///
/// The points of a kind come in turn, so that a plan of some hundred rules covers all of them.
pub(super) fn random_plan(
    seed: u64,
    count: usize,
    run: &RunShape<'_>,
    weights: &KindWeights,
) -> FaultPlan {
    let mut rules_of = RuleGenerator {
        rng: PlanRng(seed),
        run: *run,
        decks: vec![Vec::new(); FaultKind::ALL.len()],
    };
    let weights: Vec<(FaultKind, u64)> = FaultKind::ALL
        .iter()
        .map(|kind| (*kind, u64::from(weights.0[*kind as usize])))
        .filter(|(kind, weight)| {
            let has_point = || {
                FaultPoint::ALL
                    .iter()
                    .any(|point| rules_of.can_fire(*kind, *point))
            };
            *weight > 0 && has_point()
        })
        .collect();
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut rules = Vec::new();
    while rules.len() < count && total > 0 {
        let mut at = rules_of.rng.below(total);
        let drawn = weights.iter().find(|(_, weight)| {
            let hit = at < *weight;
            at = at.saturating_sub(*weight);
            hit
        });
        let Some((kind, _)) = drawn else { break };
        let made = rules_of.rules(*kind);
        // A fault that needs another one before it does not fit where there is room for one.
        if rules.len() + made.len() <= count {
            rules.extend(made);
        } else {
            rules.push(rules_of.sole_rule());
        }
    }
    rules.sort_by_key(|rule| rule.tick);
    FaultPlan { rules }
}

/// Draws the rules of one plan.
struct RuleGenerator<'f> {
    rng: PlanRng,
    run: RunShape<'f>,
    /// For each kind, the shuffled points that are still to come.
    decks: Vec<Vec<FaultPoint>>,
}

impl RuleGenerator<'_> {
    /// True if a process of the fleet passes the point, and the kind fits it.
    fn can_fire(&self, kind: FaultKind, point: FaultPoint) -> bool {
        let needs_models = point.processes() == [FaultProcess::InferenceHost]
            || point == FaultPoint::AnswerReceived;
        kind.fits(point)
            && (!point.needs_waits() || !self.run.awaiting.is_empty())
            && (!needs_models || !self.run.models.is_empty())
    }

    /// The next point of a kind.
    fn next_point(&mut self, kind: FaultKind) -> FaultPoint {
        if self.decks[kind as usize].is_empty() {
            let mut deck: Vec<FaultPoint> = FaultPoint::ALL
                .iter()
                .copied()
                .filter(|point| self.can_fire(kind, *point))
                .collect();
            for last in (1..deck.len()).rev() {
                let other = self.rng.index(last + 1);
                deck.swap(last, other);
            }
            self.decks[kind as usize] = deck;
        }
        let deck = &mut self.decks[kind as usize];
        deck.pop().expect("kinds without points are not drawn")
    }

    fn tick(&mut self) -> Tick {
        Tick(1 + self.rng.below(self.run.ticks.max(1)))
    }

    /// A rule of this kind, after the one that must fire before it.
    fn rules(&mut self, kind: FaultKind) -> Vec<FaultRule> {
        let point = self.next_point(kind);
        let mut rule = FaultRule::new(point, kind, self.target(kind, point));
        if kind == FaultKind::Slow {
            rule.delay_ms = u32::try_from(1 + self.rng.below(MAX_SLEEP_MS)).unwrap_or(1);
        }
        let ends_run = matches!(point, FaultPoint::BeforeSeal | FaultPoint::AfterSeal);
        if !ends_run {
            rule.tick = Some(self.tick());
        }
        let prerequisite = self.prerequisite(&rule);
        prerequisite.into_iter().chain([rule]).collect()
    }

    /// The rule that must fire before a process passes the point of `rule`.
    fn prerequisite(&mut self, rule: &FaultRule) -> Option<FaultRule> {
        use FaultPoint::{HostsReady, ResumeCaughtUp, ResumeStarted, ResumeTruncated, TickOpened};
        let of_resume =
            [HostsReady, ResumeStarted, ResumeTruncated, ResumeCaughtUp].contains(&rule.point);
        let of_recovery = [
            FaultPoint::BeforeSpawn,
            FaultPoint::RecoveryStarted,
            FaultPoint::RecoveryRestored,
            FaultPoint::RecoveryCaughtUp,
        ]
        .contains(&rule.point);
        let of_start = !rule.point.is_of_supervisor() && rule.point.pin() == Pin::Start;
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

    /// A rule without a prerequisite.
    fn sole_rule(&mut self) -> FaultRule {
        let target = self.agent();
        let mut rule = FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, target);
        rule.tick = Some(self.tick());
        rule
    }

    fn target(&mut self, kind: FaultKind, point: FaultPoint) -> FaultTarget {
        let has_models = !self.run.models.is_empty();
        if point.is_of_supervisor() {
            let for_host = matches!(kind, FaultKind::Kill | FaultKind::Stop);
            return match for_host {
                false => FaultTarget::Any,
                true if has_models && self.rng.below(3) == 0 => FaultTarget::Inference,
                true => self.agent(),
            };
        }
        if point.needs_waits() {
            let position = self.rng.index(self.run.awaiting.len());
            return self.agent_of(self.run.awaiting[position]);
        }
        if point.names_model() {
            let position = self.rng.index(self.run.models.len());
            let name = self.run.models[position].clone();
            return FaultTarget::Model(ModelId::from_index(position), name);
        }
        let (agents, models) = (FaultProcess::AgentHost, FaultProcess::InferenceHost);
        let passes = |process| point.processes().contains(&process);
        match (passes(agents), passes(models) && has_models) {
            (true, true) if self.rng.below(3) == 0 => FaultTarget::Inference,
            (true, _) => self.agent(),
            (false, _) => FaultTarget::Inference,
        }
    }

    fn agent(&mut self) -> FaultTarget {
        let position = self.rng.index(self.run.agents.len());
        self.agent_of(AgentId::from_index(position))
    }

    fn agent_of(&self, agent: AgentId) -> FaultTarget {
        FaultTarget::Agent(agent, self.run.agents[agent.index()].clone())
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to choose faults.
struct PlanRng(u64);

impl PlanRng {
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
mod tests;
