//! One rule of a fault plan.

use serde::Serialize;
use shm_protocol::fault::{FaultKind, FaultPoint, FaultProcess, Pin};
use shm_protocol::id::{AgentId, HostId, ModelId, Tick};
use std::fmt;

/// Milliseconds of a slow fault, unless its rule says otherwise.
pub const DEFAULT_MS: u32 = 10;

/// Number of a rule in its plan, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What goes wrong, where, when and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// In this tick, or from it on, as [`FaultPoint::pin`] says. Without it, the first time that the point is passed.
    pub tick: Option<Tick>,
    /// Where.
    pub phase: FaultPoint,
    /// What.
    pub kind: FaultKind,
    /// Whom it is for.
    pub target: FaultTarget,
    /// Milliseconds of [`Kind::Slow`].
    pub ms: u32,
    /// How often it fires.
    pub times: u32,
    /// Whether a host that is lost to it counts against the restart limits.
    pub counts: bool,
    /// At which start of the host, counted from 1; only for phases of a start.
    pub life: Option<u32>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// The supervisor itself, host 0 or the inference host, as the phase says.
    Any,
    /// An agent, or the host that has it.
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
    pub fn new(phase: FaultPoint, kind: FaultKind, target: FaultTarget) -> FaultRule {
        FaultRule {
            tick: None,
            phase,
            kind,
            target,
            ms: DEFAULT_MS,
            times: 1,
            counts: false,
            life: None,
        }
    }

    /// Why the rule cannot be, in a few words, and what to do instead.
    ///
    /// # Errors
    /// The two texts.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let (kind, phase) = (self.kind.name(), self.phase.name());
        if !self.kind.fits(self.phase) {
            let kinds: Vec<&str> = FaultKind::ALL
                .iter()
                .filter(|kind| kind.fits(self.phase))
                .map(|kind| kind.name())
                .collect();
            return Err((
                format!("`{kind}` cannot happen at `{phase}`"),
                format!("what can happen there: {}", kinds.join(", ")),
            ));
        }
        let is_of_supervisor = self.phase.is_of_supervisor();
        let needs_target =
            is_of_supervisor && matches!(self.kind, FaultKind::Kill | FaultKind::Stop);
        match &self.target {
            FaultTarget::Any if needs_target => Err((
                format!("`{kind}` at `{phase}` does not say whom it is for"),
                "add one of `agent`, `host`, `model` and `inference = true`".to_owned(),
            )),
            FaultTarget::Any => Ok(()),
            target if is_of_supervisor && !needs_target => Err((
                format!("`{kind}` at `{phase}` is the supervisor's own, not for {target}"),
                "leave `agent`, `host`, `model` and `inference` out".to_owned(),
            )),
            target if !target.may_pass(self.phase) => Err((
                format!("`{phase}` is never passed by {target}"),
                format!("it is passed by the {}", passed_by(self.phase)),
            )),
            _ => Ok(()),
        }?;
        if self.life.is_some() && (is_of_supervisor || self.phase.pin() != Pin::Start) {
            return Err((
                format!("`{phase}` belongs to no start of a host, so `life` means nothing"),
                "leave `life` out, or choose a phase of a start, as `host-born`".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether a process is the one that the rule is about, given the agents that it has.
    #[must_use]
    pub fn is_for(&self, host: HostId, is_inference: bool, agents: &[AgentId]) -> bool {
        match &self.target {
            FaultTarget::Any => {
                let for_agents = self.phase.processes().contains(&FaultProcess::AgentHost);
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
    /// Whether a process of this target can pass a point of hosts, or be what happens at a point of the supervisor.
    fn may_pass(&self, phase: FaultPoint) -> bool {
        let passes = |process| phase.is_of_supervisor() || phase.processes().contains(&process);
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

fn passed_by(phase: FaultPoint) -> String {
    let names: Vec<&str> = phase
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
        let refused = |phase, kind, target| {
            FaultRule::new(phase, kind, target)
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
        rule.life = Some(2);
        assert!(rule.check().expect_err("refused").0.contains("life"));
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
