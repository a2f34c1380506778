//! The keys of fault rules, in a fleet file and in a plan of their own.

use super::context::Context;
use super::error::FleetError;
use super::parse::POSITIVE;
use super::spec::{AgentSpec, Fleet, Source};
use super::table::TableReader;
use super::text::{read_text, understand};
use crate::faults::{DEFAULT_MS, FaultPlan, FaultRule, FaultTarget};
use crate::record::ModelDefinition;
use shm_protocol::fault::{FaultKind, FaultPoint};
use shm_protocol::id::{AgentId, HostId, ModelId, Tick};
use shm_protocol::limit;
use std::ops::RangeInclusive;
use std::path::Path;

/// More rules than a run of an hour lives through.
const RULES: usize = 100_000;

/// Times that a fault happens, and starts of a host.
const TIMES: RangeInclusive<i128> = 1..=1_000_000;

/// The names of agents and models that rules can be for.
pub(super) struct TargetNames<'f> {
    agents: Vec<&'f str>,
    models: Vec<&'f str>,
}

impl<'f> TargetNames<'f> {
    pub(super) fn of(agents: &'f [AgentSpec], models: &'f [ModelDefinition<Source>]) -> Self {
        TargetNames {
            agents: agents.iter().map(|agent| agent.name.as_str()).collect(),
            models: models.iter().map(|model| model.name.as_str()).collect(),
        }
    }
}

impl FaultPlan {
    /// Reads a fault plan for a fleet.
    ///
    /// # Errors
    /// When the file cannot be read, or with all that is wrong in it.
    pub fn read(path: &Path, fleet: &Fleet) -> Result<FaultPlan, FleetError> {
        FaultPlan::parse(&read_text("fault plan", path)?, path, fleet)
    }

    /// Understands the text of a fault plan. `origin` is what messages call it.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with all that is wrong in it.
    pub fn parse(text: &str, origin: &Path, fleet: &Fleet) -> Result<FaultPlan, FleetError> {
        parse(text, origin, &TargetNames::of(&fleet.agents, &fleet.models))
    }

    /// As [`FaultPlan::parse`], for agents and models with these names.
    ///
    /// # Errors
    /// As [`FaultPlan::parse`].
    pub fn parse_for(
        text: &str,
        origin: &Path,
        agents: Vec<&str>,
        models: Vec<&str>,
    ) -> Result<FaultPlan, FleetError> {
        parse(text, origin, &TargetNames { agents, models })
    }
}

fn parse(text: &str, origin: &Path, names: &TargetNames<'_>) -> Result<FaultPlan, FleetError> {
    let context = Context::of(text, Path::new(""));
    understand(text, origin, "the fault plan", context, |file| {
        let rules = read_rules(file.tables("rules", "[[rules]]", RULES), names);
        Some(FaultPlan { rules })
    })
}

/// The plan of a fleet file.
pub(super) fn read(file: &mut TableReader<'_, '_>, names: &TargetNames<'_>) -> FaultPlan {
    let help = "write [[faults.rules]] before each rule";
    let Some(mut faults) = file.table("faults", "[faults]", help) else {
        return FaultPlan::default();
    };
    let rules = read_rules(faults.tables("rules", "[[faults.rules]]", RULES), names);
    faults.close();
    FaultPlan { rules }
}

fn read_rules(tables: Vec<TableReader<'_, '_>>, names: &TargetNames<'_>) -> Vec<FaultRule> {
    let rules = tables.into_iter().filter_map(|mut table| {
        let rule = read_rule(&mut table, names);
        table.close();
        rule
    });
    rules.collect()
}

/// The rule of one table, if nothing is wrong with it.
pub(super) fn read_rule(
    table: &mut TableReader<'_, '_>,
    names: &TargetNames<'_>,
) -> Option<FaultRule> {
    let points: Vec<&str> = FaultPoint::ALL.iter().map(|point| point.name()).collect();
    let point = table.require("point", "\"before-step\"");
    let point = point.and_then(|point| point.one_of(&points));
    let kind = table.require("kind", "\"kill\"");
    let kind = kind.and_then(|kind| kind.one_of(&FaultKind::ALL.map(FaultKind::name)));
    let tick = table.optional_number("tick", POSITIVE).map(Tick);
    let target = read_target(table, names);
    // Up to an hour.
    let delay_ms: Option<u32> = table.optional_number("delay_ms", 1..=3_600_000);
    let times = table.number("times", TIMES, 1);
    let counts_as_restart = table.boolean("counts_as_restart", false);
    let nth_start = table.optional_number("nth_start", TIMES);
    let rule = FaultRule {
        tick,
        point: FaultPoint::ALL[point?],
        kind: FaultKind::ALL[kind?],
        target: target?,
        delay_ms: delay_ms.unwrap_or(DEFAULT_MS),
        times,
        counts_as_restart,
        nth_start,
    };
    let kind = rule.kind;
    let checked = rule.check().and_then(|()| match delay_ms {
        Some(_) if kind != FaultKind::Slow => Err((
            format!(
                "`{}` takes no time, so `delay_ms` means nothing",
                kind.name()
            ),
            "leave `delay_ms` out".to_owned(),
        )),
        _ => Ok(()),
    });
    checked
        .map_err(|(message, help)| table.problem_here(message, help))
        .ok()?;
    Some(rule)
}

/// The target of a rule. `None` only with a noted problem.
fn read_target(table: &mut TableReader<'_, '_>, names: &TargetNames<'_>) -> Option<FaultTarget> {
    let [agent, host, model] = ["agent", "host", "model"].map(|key| table.get(key));
    let of = [&agent, &host, &model].map(Option::is_some);
    let agent = agent.and_then(|agent| agent.one_of(&names.agents));
    let host = host.and_then(|host| host.number(0..=limit::HOSTS as i128 - 1));
    let model = model.and_then(|model| model.one_of(&names.models));
    let inference_host = table.boolean("inference_host", false);
    let given = [of[0], of[1], of[2], inference_host];
    if given.iter().filter(|is_given| **is_given).count() > 1 {
        let message = format!("a rule in {} is for several at once", table.title);
        let help = "keep one of `agent`, `host`, `model` and `inference_host`, and write a rule for each of the others";
        table.problem_here(message, help);
        return None;
    }
    match given {
        [true, ..] => {
            let agent = agent?;
            Some(FaultTarget::Agent(
                AgentId::from_index(agent),
                names.agents[agent].to_owned(),
            ))
        }
        [_, true, ..] => Some(FaultTarget::Host(HostId(host?))),
        [_, _, true, _] => {
            let model = model?;
            Some(FaultTarget::Model(
                ModelId::from_index(model),
                names.models[model].to_owned(),
            ))
        }
        [.., true] => Some(FaultTarget::Inference),
        _ => Some(FaultTarget::Any),
    }
}

#[cfg(test)]
mod tests;
