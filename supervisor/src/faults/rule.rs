//! One rule of a fault plan.

use serde::Serialize;
use shm_protocol::fault::{FaultKind, FaultPoint, FaultProcess, Pin};
use shm_protocol::id::{AgentId, HostId, ModelId, Tick};
use std::fmt;

/// Milliseconds of a slow fault, unless its rule sets them.
pub const DEFAULT_MS: u32 = 10;

/// Number of a rule in its plan, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rule: a kind of fault, with its point, tick and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// Its tick, or the first one, depending on [`FaultPoint::pin`]. Without it, the first time that the point is
    /// passed.
    pub tick: Option<Tick>,
    /// Its fault point.
    pub point: FaultPoint,
    /// Its kind.
    pub kind: FaultKind,
    /// Its target.
    pub target: FaultTarget,
    /// Milliseconds of [`FaultKind::Slow`].
    pub delay_ms: u32,
    /// The number of times that it fires.
    pub times: u32,
    /// True if the loss of a host to it counts against the restart limits.
    pub counts_as_restart: bool,
    /// The start of the host, counted from 1; only for points of a start.
    pub nth_start: Option<u32>,
}

/// The target of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// The supervisor itself, host 0 or the inference host, depending on the point point.
    Any,
    /// An agent, or its host.
    Agent(AgentId, String),
    /// A host.
    Host(HostId),
    /// A model, or the inference host.
    Model(ModelId, String),
    /// The inference host.
    Inference,
}

impl FaultRule {
    /// A rule that fires once, the first time that the point is passed.
    #[must_use]
    pub fn new(point: FaultPoint, kind: FaultKind, target: FaultTarget) -> FaultRule {
        FaultRule {
            tick: None,
            point,
            kind,
            target,
            delay_ms: DEFAULT_MS,
            times: 1,
            counts_as_restart: false,
            nth_start: None,
        }
    }

    /// Refuses an impossible rule.
    ///
    /// # Errors
    /// The reason, and the help.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let (kind, point) = (self.kind.name(), self.point.name());
        if !self.kind.fits(self.point) {
            let kinds: Vec<&str> = FaultKind::ALL
                .iter()
                .filter(|kind| kind.fits(self.point))
                .map(|kind| kind.name())
                .collect();
            return Err((
                format!("`{kind}` cannot happen at `{point}`"),
                format!("what can happen there: {}", kinds.join(", ")),
            ));
        }
        let is_of_supervisor = self.point.is_of_supervisor();
        let needs_target =
            is_of_supervisor && matches!(self.kind, FaultKind::Kill | FaultKind::Stop);
        match &self.target {
            FaultTarget::Any if needs_target => Err((
                format!("`{kind}` at `{point}` does not say whom it is for"),
                "add one of `agent`, `host`, `model` and `inference_host = true`".to_owned(),
            )),
            FaultTarget::Any => Ok(()),
            target if is_of_supervisor && !needs_target => Err((
                format!("`{kind}` at `{point}` is the supervisor's own, not for {target}"),
                "leave `agent`, `host`, `model` and `inference_host` out".to_owned(),
            )),
            target if !target.may_pass(self.point) => Err((
                format!("`{point}` is never passed by {target}"),
                format!("it is passed by the {}", passed_by(self.point)),
            )),
            _ => Ok(()),
        }?;
        if self.nth_start.is_some() && (is_of_supervisor || self.point.pin() != Pin::Start) {
            return Err((
                format!("`{point}` belongs to no start of a host, so `nth_start` means nothing"),
                "leave `nth_start` out, or choose a point of a start, as `process-started`"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// True if a process is the target of the rule, given its agents.
    #[must_use]
    pub fn is_for(&self, host: HostId, is_inference: bool, agents: &[AgentId]) -> bool {
        match &self.target {
            FaultTarget::Any => {
                let for_agents = self.point.processes().contains(&FaultProcess::AgentHost);
                if for_agents {
                    host == HostId(0)
                } else {
                    is_inference
                }
            }
            FaultTarget::Agent(agent, _) => agents.contains(agent),
            FaultTarget::Host(number) => *number == host,
            FaultTarget::Model(..) | FaultTarget::Inference => is_inference,
        }
    }
}

impl FaultTarget {
    /// True if a process of this target can pass a fault point of hosts, or be hit at one of the supervisor.
    fn may_pass(&self, point: FaultPoint) -> bool {
        let passes = |process| point.is_of_supervisor() || point.processes().contains(&process);
        match self {
            FaultTarget::Any | FaultTarget::Host(_) => true,
            FaultTarget::Agent(..) => passes(FaultProcess::AgentHost),
            FaultTarget::Model(..) | FaultTarget::Inference => passes(FaultProcess::InferenceHost),
        }
    }
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultTarget::Any => f.write_str("whoever is there"),
            FaultTarget::Agent(_, name) => write!(f, "agent `{name}`"),
            FaultTarget::Host(host) => write!(f, "host {host}"),
            FaultTarget::Model(_, name) => write!(f, "model `{name}`"),
            FaultTarget::Inference => f.write_str("the inference host"),
        }
    }
}

fn passed_by(point: FaultPoint) -> String {
    let names: Vec<&str> = point
        .processes()
        .iter()
        .map(|process| process.name())
        .collect();
    names.join(" and the ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> FaultTarget {
        FaultTarget::Agent(AgentId(1), "b".into())
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let refused = |point, kind, target| {
            FaultRule::new(point, kind, target)
                .check()
                .expect_err("refused")
        };
        let (what, instead) = refused(
            FaultPoint::BeforeWrite,
            FaultKind::Segfault,
            FaultTarget::Any,
        );
        assert!(
            what.contains("segfault") && what.contains("before-write"),
            "{what}"
        );
        assert!(instead.contains("disk-full"), "{instead}");
        let (what, _) = refused(FaultPoint::TickOpened, FaultKind::Kill, FaultTarget::Any);
        assert!(what.contains("whom"), "{what}");
        let (what, _) = refused(FaultPoint::TickOpened, FaultKind::Slow, agent());
        assert!(what.contains("supervisor's own"), "{what}");
        let (what, instead) = refused(FaultPoint::BeforeBatch, FaultKind::Kill, agent());
        assert!(what.contains("agent `b`"), "{what}");
        assert!(instead.contains("inference host"), "{instead}");
        let mut rule = FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, agent());
        rule.nth_start = Some(2);
        assert!(rule.check().expect_err("refused").0.contains("nth_start"));
    }

    #[test]
    fn a_rule_is_for_the_host_of_its_agent() {
        let rule = FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, agent());
        assert_eq!(rule.check(), Ok(()));
        assert!(rule.is_for(HostId(3), false, &[AgentId(0), AgentId(1)]));
        assert!(!rule.is_for(HostId(0), false, &[AgentId(0)]));
    }

    #[test]
    fn a_rule_for_nobody_is_for_one_host_alone() {
        let step = FaultRule::new(FaultPoint::BeforeStep, FaultKind::Kill, FaultTarget::Any);
        assert!(step.is_for(HostId(0), false, &[]) && !step.is_for(HostId(1), false, &[]));
        let batch = FaultRule::new(FaultPoint::BeforeBatch, FaultKind::Kill, FaultTarget::Any);
        assert!(batch.is_for(HostId(5), true, &[]) && !batch.is_for(HostId(0), false, &[]));
    }
}
