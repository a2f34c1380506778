//! The coverage of a campaign: faults by kind and point.

use serde_json::{Value, json};
use shm_protocol::fault::{FaultKind, FaultPoint};
use std::collections::BTreeMap;
use supervisor::faults::FaultPlan;
use supervisor::rundir::RunEvent;

/// Planned and fired faults of each kind at each point.
#[derive(Debug, Default)]
pub(super) struct FaultMatrix {
    planned: BTreeMap<(FaultPoint, FaultKind), u64>,
    fired: BTreeMap<(FaultPoint, FaultKind), u64>,
}

impl FaultMatrix {
    /// Adds the rules of a plan.
    pub(super) fn add_plan(&mut self, plan: &FaultPlan) {
        for rule in &plan.rules {
            *self.planned.entry((rule.point, rule.kind)).or_default() += u64::from(rule.times);
        }
    }

    /// Adds an event, if it is a fault that fired.
    pub(super) fn add_event(&mut self, event: &RunEvent) {
        if let RunEvent::FaultFired { kind, point, .. } = event
            && let (Some(kind), Some(point)) =
                (FaultKind::from_name(kind), FaultPoint::from_name(point))
        {
            *self.fired.entry((point, kind)).or_default() += 1;
        }
    }

    /// The number of faults that fired.
    pub(super) fn injected(&self) -> u64 {
        self.fired.values().sum()
    }

    /// The number of planned faults whose point no process passed in time.
    pub(super) fn not_reached(&self) -> u64 {
        let planned: u64 = self.planned.values().sum();
        planned.saturating_sub(self.injected())
    }

    /// A line for each point of the plans, then totals and coverage.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = FaultPoint::ALL
            .iter()
            .filter(|point| self.at_point(&self.planned, **point).next().is_some())
            .map(|point| self.line(*point))
            .collect();
        let classes: Vec<String> = self
            .by_kind()
            .into_iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        lines.push(format!("total       {}", classes.join(", ")));
        let (pairs, points) = (self.fired.len(), self.by_point().len());
        lines.push(format!(
            "coverage    {} of {} kinds, {points} of {} points, {pairs} of {} pairs of kind and point",
            self.by_kind().len(),
            FaultKind::ALL.len(),
            FaultPoint::ALL.len(),
            valid_pairs()
        ));
        lines
    }

    fn line(&self, point: FaultPoint) -> String {
        let kinds: Vec<String> = self
            .at_point(&self.fired, point)
            .map(|(kind, count)| format!("{} {count}", kind.name()))
            .collect();
        let sum = |counts| self.at_point(counts, point).map(|(_, count)| count).sum();
        let (planned, fired): (u64, u64) = (sum(&self.planned), sum(&self.fired));
        let missed = match planned.saturating_sub(fired) {
            0 => None,
            missed => Some(format!("not reached {missed}")),
        };
        let words: Vec<String> = kinds.into_iter().chain(missed).collect();
        format!("{:<26} {}", point.name(), words.join(", "))
    }

    fn at_point<'m>(
        &'m self,
        counts: &'m BTreeMap<(FaultPoint, FaultKind), u64>,
        point: FaultPoint,
    ) -> impl Iterator<Item = (FaultKind, u64)> + 'm {
        counts
            .iter()
            .filter(move |((at, _), _)| *at == point)
            .map(|((_, kind), count)| (*kind, *count))
    }

    fn by_point(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let mut by_point: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((point, kind), count) in &self.fired {
            let kinds = by_point.entry(point.name()).or_default();
            kinds.insert(kind.name(), *count);
        }
        by_point
    }

    fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let mut by_kind = BTreeMap::new();
        for ((_, kind), count) in &self.fired {
            *by_kind.entry(kind.name()).or_default() += count;
        }
        by_kind
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "faults_injected": self.injected(),
            "faults_not_reached": self.not_reached(),
            "faults_by_kind": self.by_kind(),
            "faults_by_point": self.by_point(),
        })
    }
}

/// The number of valid pairs of a point and a kind.
fn valid_pairs() -> usize {
    let fitting = |point: &FaultPoint| {
        FaultKind::ALL
            .iter()
            .filter(|kind| kind.fits(*point))
            .count()
    };
    FaultPoint::ALL.iter().map(fitting).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::id::Tick;
    use supervisor::faults::{FaultRule, FaultTarget};

    fn fired(kind: FaultKind, point: FaultPoint) -> RunEvent {
        RunEvent::FaultFired {
            rule: 1,
            kind: kind.name().to_owned(),
            point: point.name().to_owned(),
            tick: Tick(1),
            target: String::new(),
        }
    }

    #[test]
    fn a_point_that_was_not_reached_is_reported_as_such() {
        let mut matrix = FaultMatrix::default();
        matrix.add_plan(&FaultPlan {
            rules: vec![
                FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, FaultTarget::Any),
                FaultRule {
                    times: 2,
                    ..FaultRule::new(FaultPoint::InStep, FaultKind::Abort, FaultTarget::Any)
                },
            ],
        });
        matrix.add_event(&fired(FaultKind::Abort, FaultPoint::InStep));
        assert_eq!((matrix.injected(), matrix.not_reached()), (1, 2));
        let lines = matrix.lines();
        assert_eq!(lines[0], format!("{:<26} not reached 1", "before-step"));
        assert_eq!(
            lines[1],
            format!("{:<26} abort 1, not reached 1", "in-step")
        );
        assert_eq!(lines[2], "total       abort 1");
        assert!(
            lines[3].starts_with("coverage    1 of 22 kinds, 1 of "),
            "{}",
            lines[3]
        );
        let json = matrix.json();
        assert_eq!(json["faults_by_point"]["in-step"]["abort"], 1);
        assert_eq!(json["faults_by_kind"]["abort"], 1);
    }
}
