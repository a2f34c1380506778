//! Fault plans.

use shm_protocol::fault::{FaultKind, FaultPoint};
use shm_protocol::id::{AgentId, HostId, ModelId, Tick};
use std::path::Path;
use supervisor::faults::{FaultPlan, FaultRule, FaultTarget};

/// The names that rules may have.
const AGENTS: [&str; 2] = ["ping", "pong"];
const MODELS: [&str; 1] = ["mlp"];

/// Reads the text of a fault plan. A plan is written as a text that reads as the same plan.
pub fn fault_plan(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let read = |text: &str| {
        FaultPlan::parse_for(
            text,
            Path::new("faults.toml"),
            AGENTS.to_vec(),
            MODELS.to_vec(),
        )
    };
    match read(text) {
        Ok(plan) => {
            let written = plan.to_toml();
            let again = read(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again, plan, "{written}");
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// The corpus: a plan with a rule for each kind of target.
pub fn fault_plan_samples() -> Vec<(String, Vec<u8>)> {
    let ping = FaultTarget::Agent(AgentId(0), AGENTS[0].into());
    let mlp = FaultTarget::Model(ModelId(0), MODELS[0].into());
    let targets = [
        (FaultPoint::BeforeStep, FaultKind::Kill, ping),
        (FaultPoint::BeforeModel, FaultKind::ModelGone, mlp),
        (
            FaultPoint::BeforeBatch,
            FaultKind::Slow,
            FaultTarget::Inference,
        ),
        (
            FaultPoint::BeforeReady,
            FaultKind::Slow,
            FaultTarget::Host(HostId(1)),
        ),
        (
            FaultPoint::TickOpened,
            FaultKind::SupervisorKill,
            FaultTarget::Any,
        ),
    ];
    let rules = targets
        .into_iter()
        .zip(1..)
        .map(|((point, kind, target), tick)| FaultRule {
            tick: Some(Tick(tick)),
            ..FaultRule::new(point, kind, target)
        });
    let plan = FaultPlan {
        rules: rules.collect(),
    };
    vec![("targets.toml".to_owned(), plan.to_toml().into_bytes())]
}
