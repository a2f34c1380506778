//! Which faults were injected where: kinds by points.

use serde_json::{Value, json};
use shm_protocol::fault::{FaultKind, FaultPoint};
use std::collections::BTreeMap;
use supervisor::faults::FaultPlan;
use supervisor::rundir::RunEvent;

/// How often each kind was to happen at each point, and how often it did.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    planned: BTreeMap<(FaultPoint, FaultKind), u64>,
    fired: BTreeMap<(FaultPoint, FaultKind), u64>,
}

impl Matrix {
    /// What a plan asks for.
    pub(super) fn plan(&mut self, plan: &FaultPlan) {
        for rule in &plan.rules {
            *self.planned.entry((rule.phase, rule.kind)).or_default() += u64::from(rule.times);
        }
    }

    /// Takes in what happened.
    pub(super) fn take(&mut self, event: &RunEvent) {
        if let RunEvent::FaultFired { kind, phase, .. } = event
            && let (Some(kind), Some(phase)) =
                (FaultKind::from_name(kind), FaultPoint::from_name(phase))
        {
            *self.fired.entry((phase, kind)).or_default() += 1;
        }
    }

    /// How many faults were injected.
    pub(super) fn injected(&self) -> u64 {
        self.fired.values().sum()
    }

    /// How many rules did not fire, because their point was not passed any more.
    pub(super) fn not_reached(&self) -> u64 {
        let planned: u64 = self.planned.values().sum();
        planned.saturating_sub(self.injected())
    }

    /// One line for each point that was to be passed, and what it came to over all.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = FaultPoint::ALL
            .iter()
            .filter(|phase| self.of_phase(&self.planned, **phase).next().is_some())
            .map(|phase| self.line(*phase))
            .collect();
        let classes: Vec<String> = self
            .by_class()
            .into_iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        lines.push(format!("in all      {}", classes.join(", ")));
        let (pairs, points) = (self.fired.len(), self.by_phase().len());
        lines.push(format!(
            "coverage    {} of {} kinds, {points} of {} points, {pairs} of {} pairs of the two",
            self.by_class().len(),
            FaultKind::ALL.len(),
            FaultPoint::ALL.len(),
            pairs_that_fit()
        ));
        lines
    }

    fn line(&self, phase: FaultPoint) -> String {
        let kinds: Vec<String> = self
            .of_phase(&self.fired, phase)
            .map(|(kind, count)| format!("{} {count}", kind.name()))
            .collect();
        let sum = |counts| self.of_phase(counts, phase).map(|(_, count)| count).sum();
        let (planned, fired): (u64, u64) = (sum(&self.planned), sum(&self.fired));
        let missed = match planned.saturating_sub(fired) {
            0 => None,
            missed => Some(format!("not reached {missed}")),
        };
        let words: Vec<String> = kinds.into_iter().chain(missed).collect();
        format!("{:<26} {}", phase.name(), words.join(", "))
    }

    fn of_phase<'m>(
        &'m self,
        counts: &'m BTreeMap<(FaultPoint, FaultKind), u64>,
        phase: FaultPoint,
    ) -> impl Iterator<Item = (FaultKind, u64)> + 'm {
        counts
            .iter()
            .filter(move |((at, _), _)| *at == phase)
            .map(|((_, kind), count)| (*kind, *count))
    }

    fn by_phase(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let mut by_phase: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((phase, kind), count) in &self.fired {
            let kinds = by_phase.entry(phase.name()).or_default();
            kinds.insert(kind.name(), *count);
        }
        by_phase
    }

    fn by_class(&self) -> BTreeMap<&'static str, u64> {
        let mut by_class = BTreeMap::new();
        for ((_, kind), count) in &self.fired {
            *by_class.entry(kind.name()).or_default() += count;
        }
        by_class
    }

    /// What was injected: over all, by class, by point, and what was not.
    pub(super) fn json(&self) -> Value {
        json!({
            "faults_injected": self.injected(),
            "faults_not_reached": self.not_reached(),
            "faults_by_class": self.by_class(),
            "faults_by_phase": self.by_phase(),
        })
    }
}

/// How many pairs of a point and a kind there are that go together.
fn pairs_that_fit() -> usize {
    let fitting = |phase: &FaultPoint| {
        FaultKind::ALL
            .iter()
            .filter(|kind| kind.fits(*phase))
            .count()
    };
    FaultPoint::ALL.iter().map(fitting).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::id::Tick;
    use supervisor::faults::{FaultRule, FaultTarget};

    fn fired(kind: FaultKind, phase: FaultPoint) -> RunEvent {
        RunEvent::FaultFired {
            rule: 1,
            kind: kind.name().to_owned(),
            phase: phase.name().to_owned(),
            tick: Tick(1),
            target: String::new(),
        }
    }

    #[test]
    fn what_was_not_reached_is_told_and_not_counted_as_injected() {
        let mut matrix = Matrix::default();
        matrix.plan(&FaultPlan {
            rules: vec![
                FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, FaultTarget::Any),
                FaultRule {
                    times: 2,
                    ..FaultRule::new(FaultPoint::InStep, FaultKind::Abort, FaultTarget::Any)
                },
            ],
        });
        matrix.take(&fired(FaultKind::Abort, FaultPoint::InStep));
        assert_eq!((matrix.injected(), matrix.not_reached()), (1, 2));
        let lines = matrix.lines();
        assert_eq!(lines[0], format!("{:<26} not reached 1", "before-step"));
        assert_eq!(
            lines[1],
            format!("{:<26} abort 1, not reached 1", "in-step")
        );
        assert_eq!(lines[2], "in all      abort 1");
        assert!(
            lines[3].starts_with("coverage    1 of 22 kinds, 1 of "),
            "{}",
            lines[3]
        );
        let json = matrix.json();
        assert_eq!(json["faults_by_phase"]["in-step"]["abort"], 1);
        assert_eq!(json["faults_by_class"]["abort"], 1);
    }
}
