//! What the table `[faults]` and fault plans mean.

use super::bounds;
use super::error::{FleetError, Refusal};
use super::keys::{FAULT_RULES, FAULTS, PLAN, PLAN_RULES, Table};
use super::nearest::nearest;
use super::problem::Problems;
use super::read::{Reading, TableAt, read_text, tables};
use super::section::{Located, Section};
use super::spec::Fleet;
use crate::faults::{DEFAULT_MS, FaultPlan, FaultRule, FaultTarget};
use shm_protocol::fault::{FaultKind, FaultPoint};
use shm_protocol::id::{AgentId, HostId, ModelId, Tick};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Names that a message lists before it only counts the rest.
const LISTED: usize = 64;

impl FaultPlan {
    /// Reads a fault plan for a fleet.
    ///
    /// # Errors
    /// When the file cannot be read, or with all that is wrong in it.
    pub fn read(path: &Path, fleet: &Fleet) -> Result<FaultPlan, FleetError> {
        let text = read_text(path).map_err(|error| {
            let reason = match error {
                FleetError::Unreadable { source, .. } => source.to_string(),
                FleetError::NotAFile { .. } => "it is not a file".to_owned(),
                FleetError::TooLarge { .. } => "it is too large".to_owned(),
                FleetError::NotText { offset, .. } => format!("byte {offset} is no UTF-8"),
                other => other.to_string(),
            };
            let path = path.to_owned();
            FleetError::Plan { path, reason }
        })?;
        FaultPlan::parse(&text, path, fleet)
    }

    /// Understands the text of a fault plan. `origin` is what messages call it.
    ///
    /// # Errors
    /// [`FleetError::Refused`] with all that is wrong in it.
    pub fn parse(text: &str, origin: &Path, fleet: &Fleet) -> Result<FaultPlan, FleetError> {
        let agents = fleet.agents.iter().map(|agent| agent.name.as_str());
        let models = fleet.models.iter().map(|model| model.name.as_str());
        FaultPlan::parse_for(
            text,
            origin,
            &agents.collect::<Vec<_>>(),
            &models.collect::<Vec<_>>(),
        )
    }

    /// As [`Plan::parse`], for agents and models with these names.
    ///
    /// # Errors
    /// As [`Plan::parse`].
    pub fn parse_for(
        text: &str,
        origin: &Path,
        agents: &[&str],
        models: &[&str],
    ) -> Result<FaultPlan, FleetError> {
        let reading = Reading {
            problems: Problems::new(text),
            folder: Path::new(""),
            looks_at_files: false,
            parts: None,
        };
        let plan = match DeTable::parse(text) {
            Ok(file) => {
                let mut section = Section::open(&PLAN, 0..0, file.get_ref(), &reading);
                let rules = tables(&mut section, "rules", "rules");
                section.close();
                let cast = Cast { agents, models };
                read_rules(&PLAN_RULES, &rules, &reading, cast)
            }
            Err(error) => {
                reading.not_toml(&error);
                FaultPlan::default()
            }
        };
        let problems = reading.problems.finish();
        if problems.is_empty() {
            return Ok(plan);
        }
        Err(FleetError::Refused(Refusal::new(
            origin.to_owned(),
            text,
            problems,
        )))
    }
}

/// Whom rules can be for.
#[derive(Clone, Copy)]
pub(super) struct Cast<'f> {
    pub(super) agents: &'f [&'f str],
    pub(super) models: &'f [&'f str],
}

/// The plan of a fleet file.
pub(super) fn read(file: &mut Section<'_, '_>, cast: Cast<'_>) -> FaultPlan {
    let Some(found) = file.value("faults") else {
        return FaultPlan::default();
    };
    let DeValue::Table(values) = found.get_ref() else {
        file.wrong_type(
            "faults",
            "one table",
            found,
            "write [[faults.rules]] before each rule",
        );
        return FaultPlan::default();
    };
    let mut section = Section::open(&FAULTS, found.span(), values, file.reading);
    let rules = tables(&mut section, "rules", "faults.rules");
    section.close();
    read_rules(&FAULT_RULES, &rules, file.reading, cast)
}

fn read_rules(
    kind: &'static Table,
    tables: &[TableAt<'_, '_>],
    reading: &Reading<'_>,
    cast: Cast<'_>,
) -> FaultPlan {
    let mut rules = Vec::new();
    for table in tables.iter().take(bounds::FAULT_RULES) {
        let mut section = Section::open(kind, table.header.clone(), table.values, reading);
        rules.extend(read_rule(&mut section, cast));
        section.close();
    }
    reading.most(
        tables,
        bounds::FAULT_RULES,
        "the plan has more than",
        "rules",
    );
    FaultPlan { rules }
}

/// The rule of one table, if nothing is wrong with it.
fn read_rule(section: &mut Section<'_, '_>, cast: Cast<'_>) -> Option<FaultRule> {
    let phase_names: Vec<&str> = FaultPoint::ALL.iter().map(|phase| phase.name()).collect();
    let phase = section.required_text("phase", "\"before-step\"");
    let phase = phase.and_then(|word| known(section, "phase", word, &phase_names));
    let kind_names = FaultKind::ALL.map(FaultKind::name);
    let kind = section.required_text("kind", "\"kill\"");
    let kind = kind.and_then(|word| known(section, "kind", word, &kind_names));
    let tick = section.optional_number("tick", &bounds::POSITIVE).map(Tick);
    let target = read_target(section, cast);
    let ms: Option<u32> = section.optional_number("ms", &bounds::FAULT_MS);
    let times = section.number("times", &bounds::FAULT_TIMES, 1);
    let counts = section.boolean("counts", false);
    let life = section.optional_number("life", &bounds::FAULT_TIMES);
    let rule = FaultRule {
        tick,
        phase: FaultPoint::from_name(phase?)?,
        kind: FaultKind::from_name(kind?)?,
        target: target?,
        ms: ms.unwrap_or(DEFAULT_MS),
        times,
        counts,
        life,
    };
    let is_idle = ms.is_some() && rule.kind != FaultKind::Slow;
    let idle = || {
        let what = format!(
            "`{}` takes no time, so `ms` means nothing",
            rule.kind.name()
        );
        (what, "leave `ms` out".to_owned())
    };
    let checked = rule.check();
    if let Err((message, help)) = checked.and_then(|()| if is_idle { Err(idle()) } else { Ok(()) })
    {
        section
            .reading
            .problems
            .add(section.header.clone(), message, "this rule", help);
        return None;
    }
    Some(rule)
}

/// Whom a rule is for. `None` only with a noted problem.
fn read_target(section: &mut Section<'_, '_>, cast: Cast<'_>) -> Option<FaultTarget> {
    let agents = section.text("agent");
    let host: Option<u32> = section.optional_number("host", &bounds::FAULT_HOST);
    let models = section.text("model");
    let inference = section.boolean("inference", false);
    let given = [
        agents.is_some(),
        host.is_some(),
        models.is_some(),
        inference,
    ];
    if given.iter().filter(|is_given| **is_given).count() > 1 {
        section.reading.problems.add(
            section.header.clone(),
            format!("a rule in {} is for several at once", section.title()),
            "this rule",
            "keep one of `agent`, `host`, `model` and `inference`, and write a rule for each of the others",
        );
        return None;
    }
    if let Some(word) = agents {
        let name = known(section, "agent", word, cast.agents)?;
        let position = cast.agents.iter().position(|known| *known == name)?;
        return Some(FaultTarget::Agent(
            AgentId::from_index(position),
            name.to_owned(),
        ));
    }
    if let Some(word) = models {
        let name = known(section, "model", word, cast.models)?;
        let position = cast.models.iter().position(|known| *known == name)?;
        return Some(FaultTarget::Model(
            ModelId::from_index(position),
            name.to_owned(),
        ));
    }
    Some(match (host, inference) {
        (Some(host), _) => FaultTarget::Host(HostId(host)),
        (None, true) => FaultTarget::Inference,
        (None, false) => FaultTarget::Any,
    })
}

/// The word, if it is one of these.
fn known<'w>(
    section: &Section<'_, '_>,
    key: &str,
    word: Located<&'w str>,
    names: &[&str],
) -> Option<&'w str> {
    if names.contains(&word.value) {
        return Some(word.value);
    }
    let message = format!("{} cannot be \"{}\"", section.called(key), word.value);
    let label = format!("there is no such {key}");
    let mut help = nearest(word.value, names.iter().copied())
        .map_or_else(String::new, |name| format!("did you mean \"{name}\"? "));
    help += &match names {
        [] => format!("the fleet has no {key}s"),
        [listed @ .., _] if listed.len() >= LISTED => format!(
            "there are {} and {} more",
            names[..LISTED].join(", "),
            names.len() - LISTED
        ),
        _ => format!("there are: {}", names.join(", ")),
    };
    section
        .reading
        .problems
        .add(word.span, message, label, help);
    None
}

#[cfg(test)]
mod tests;
