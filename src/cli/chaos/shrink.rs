//! Reduces a plan to the rules that still show the difference that the whole
//! plan showed (delta debugging: Zeller and Hildebrandt, 2002).

use crate::cli::error::CliError;
use supervisor::faults::FaultPlan;

/// Maximum number of smaller plans that are tried.
const MAX_TRIES: usize = 100;

/// Leaves out rules as long as `shows` holds for the others, and stops when it gives no answer.
pub(super) fn shrink(
    plan: &FaultPlan,
    mut shows: impl FnMut(&FaultPlan) -> Result<Option<bool>, CliError>,
) -> Result<FaultPlan, CliError> {
    let mut smallest = plan.clone();
    let (mut parts, mut tries) = (2, 0);
    while smallest.rules.len() > 1 && tries < MAX_TRIES {
        let part = smallest.rules.len().div_ceil(parts);
        let mut found = None;
        for start in (0..smallest.rules.len()).step_by(part) {
            let end = (start + part).min(smallest.rules.len());
            let mut rules = smallest.rules.clone();
            rules.drain(start..end);
            let without = FaultPlan { rules };
            tries += 1;
            match shows(&without)? {
                None => return Ok(smallest),
                Some(false) => {}
                Some(true) => {
                    found = Some(without);
                    break;
                }
            }
        }
        match found {
            Some(without) => {
                smallest = without;
                parts = parts.saturating_sub(1).max(2);
            }
            None if part == 1 => break,
            None => parts = (parts * 2).min(smallest.rules.len()),
        }
    }
    Ok(smallest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::fault::{FaultKind, FaultPoint};
    use shm_protocol::id::Tick;
    use supervisor::faults::{FaultRule, FaultTarget};

    fn plan(ticks: impl Iterator<Item = u64>) -> FaultPlan {
        let rule = |tick| FaultRule {
            tick: Some(Tick(tick)),
            ..FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, FaultTarget::Any)
        };
        FaultPlan {
            rules: ticks.map(rule).collect(),
        }
    }

    #[test]
    fn rules_that_are_not_needed_are_left_out() {
        let needed = [Some(Tick(7)), Some(Tick(33))];
        let shows = |plan: &FaultPlan| {
            Ok(Some(needed.iter().all(|tick| {
                plan.rules.iter().any(|rule| rule.tick == *tick)
            })))
        };
        let Ok(smallest) = shrink(&plan(1..=50), shows) else {
            panic!("nothing fails here");
        };
        assert_eq!(smallest, plan([7, 33].into_iter()));
    }

    #[test]
    fn a_plan_that_never_shows_it_again_stays_whole() {
        let Ok(smallest) = shrink(&plan(1..=5), |_| Ok(Some(false))) else {
            panic!("nothing fails here");
        };
        assert_eq!(smallest.rules.len(), 5);
    }

    #[test]
    fn shrinking_can_be_stopped() {
        let mut answers = [Some(true), None].into_iter();
        let Ok(smallest) = shrink(&plan(1..=8), |_| {
            Ok(answers.next().expect("asked too often"))
        }) else {
            panic!("nothing fails here");
        };
        assert_eq!(smallest, plan(5..=8));
    }
}
