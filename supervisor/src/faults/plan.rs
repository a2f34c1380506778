//! A fault plan: rules in order, and their text.

use super::rule::{DEFAULT_MS, FaultRule, FaultTarget, RuleId};
use shm_protocol::fault::FaultKind;
use std::fmt::Write as _;

/// The rules of a run. The position of a rule, counted from 1, is its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The rules.
    pub rules: Vec<FaultRule>,
}

impl FaultPlan {
    /// True if there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (RuleId, &FaultRule)> {
        (1..).map(RuleId).zip(&self.rules)
    }

    /// A rule by its number.
    #[must_use]
    pub fn rule(&self, rule: RuleId) -> Option<&FaultRule> {
        self.rules.get((rule.0 as usize).checked_sub(1)?)
    }

    /// These rules, and others behind them.
    #[must_use]
    pub fn joined(mut self, other: FaultPlan) -> FaultPlan {
        self.rules.extend(other.rules);
        self
    }

    /// The text of a plan file that reads as this plan.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for rule in &self.rules {
            if !text.is_empty() {
                text.push('\n');
            }
            rule.write_toml(&mut text);
        }
        text
    }
}

impl FaultRule {
    /// Writes the rule as a table. What is not written is the default.
    fn write_toml(&self, text: &mut String) {
        let mut line = |key: &str, value: String| {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        let quoted = |name: &str| format!("\"{name}\"");
        line("[[rules]]\npoint", quoted(self.point.name()));
        line("kind", quoted(self.kind.name()));
        if let Some(tick) = self.tick {
            line("tick", tick.to_string());
        }
        match &self.target {
            FaultTarget::Any => {}
            FaultTarget::Agent(_, name) => line("agent", quoted(name)),
            FaultTarget::Host(host) => line("host", host.to_string()),
            FaultTarget::Model(_, name) => line("model", quoted(name)),
            FaultTarget::Inference => line("inference_host", "true".to_owned()),
        }
        if self.kind == FaultKind::Slow && self.delay_ms != DEFAULT_MS {
            line("delay_ms", self.delay_ms.to_string());
        }
        if self.times != 1 {
            line("times", self.times.to_string());
        }
        if self.counts_as_restart {
            line("counts_as_restart", "true".to_owned());
        }
        if let Some(number) = self.nth_start {
            line("nth_start", number.to_string());
        }
    }
}
