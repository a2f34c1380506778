//! Records as text for people and as JSON for programs. The fields that a record holds itself stand on one line, which is
//! broken if it is long; elements of its lists and tensors follow on lines of their own, under the paths that `diff` names.

use super::projection::{FieldValue, Project, relative};
use crate::record::{AgentPin, RunHeader, ScheduledChange, TickRecord, VersionPin};
use serde::ser::{Serialize, SerializeMap, Serializer};
use shm_protocol::id::{AgentId, Tick};
use std::borrow::Cow;
use std::fmt;

/// Length at which a line is broken, unless a single field is longer.
const MAX_LINE_BYTES: usize = 120;

/// One tick of a run, or one agent's part of it.
pub struct TickView<'run> {
    /// The header of the run.
    pub header: &'run RunHeader,
    /// The number of the tick.
    pub tick: Tick,
    /// The record of the tick.
    pub record: &'run TickRecord,
    /// Restricts results, outcomes and dropped messages to one agent.
    pub agent: Option<AgentId>,
}

/// The header of a run.
pub struct HeaderView<'run>(pub &'run RunHeader);

/// The ID of the agent with this name.
#[must_use]
pub fn agent_named(header: &RunHeader, name: &str) -> Option<AgentId> {
    header
        .agents
        .iter()
        .position(|agent| agent.name == name)
        .map(AgentId::from_index)
}

/// A change of a model on one line.
#[must_use]
pub fn change_text(header: &RunHeader, change: &ScheduledChange<VersionPin>) -> String {
    let mut text = String::new();
    lines(&mut text, "", "change", &change.project(header)).expect("a string takes every text");
    text.trim_end().to_owned()
}

impl TickView<'_> {
    /// The lists of the record, and of their elements those to show, each with its position.
    fn lists(&self) -> impl Iterator<Item = (Cow<'_, str>, Vec<(usize, FieldValue<'_>)>)> {
        let lists = fields(self.record, self.header).into_iter();
        lists.map(|(name, list)| {
            let FieldValue::List(elements) = list else {
                unreachable!("a tick record holds nothing but lists");
            };
            let is_shown = |element: &FieldValue<'_>| {
                name == "verdicts" || self.agent.is_none_or(|only| element.agent() == Some(only))
            };
            let elements = elements.into_iter().enumerate();
            let elements = elements.filter(|(_, element)| is_shown(element)).collect();
            (name, elements)
        })
    }
}

impl fmt::Display for TickView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tick {}", self.tick)?;
        for (name, elements) in self.lists().filter(|(name, _)| name != "verdicts") {
            for (position, element) in elements {
                lines(f, "  ", &format!("{name}[{position}]"), &element)?;
            }
        }
        for (position, verdict) in self.record.verdicts.iter().enumerate() {
            writeln!(f, "  verdicts[{position}]: {}", verdict.text(self.header))?;
        }
        Ok(())
    }
}

impl Serialize for TickView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tick", &self.tick)?;
        for (name, elements) in self.lists() {
            let elements: Vec<_> = elements.iter().map(|(_, element)| element).collect();
            map.serialize_entry(&name, &elements)?;
        }
        map.end()
    }
}

impl fmt::Display for HeaderView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HeaderView(header) = self;
        let mut run = fields(*header, header);
        run.retain(|(name, _)| name != "agents");
        lines(f, "", "run", &FieldValue::Record(run))?;
        let mut groups: Vec<(usize, usize)> = Vec::new();
        for (position, pin) in header.agents.iter().enumerate() {
            match groups.last_mut() {
                Some((first, last)) if is_alike(&header.agents[*first], pin) => *last = position,
                _ => groups.push((position, position)),
            }
        }
        for (first, last) in groups {
            let path = match first == last {
                true => format!("agents[{first}]"),
                false => format!("agents[{first}] to agents[{last}], of which the first"),
            };
            lines(f, "  ", &path, &header.agents[first].project(header))?;
        }
        Ok(())
    }
}

impl Serialize for HeaderView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.project(self.0).serialize(serializer)
    }
}

/// True if two agents differ in nothing but name and settings, so that one line can stand for both.
fn is_alike(left: &AgentPin, right: &AgentPin) -> bool {
    let shared = |pin: &AgentPin| AgentPin {
        name: String::new(),
        settings: Vec::new(),
        ..pin.clone()
    };
    shared(left) == shared(right)
}

fn fields<'run>(
    record: &'run impl Project,
    header: &'run RunHeader,
) -> Vec<(Cow<'run, str>, FieldValue<'run>)> {
    match record.project(header) {
        FieldValue::Record(fields) => fields,
        _ => unreachable!("a header or tick is projected to a record"),
    }
}

/// Writes a value: its own fields on one line, what its lists hold and tensors on further lines.
fn lines(f: &mut impl fmt::Write, indent: &str, path: &str, value: &FieldValue<'_>) -> fmt::Result {
    if let FieldValue::Record(fields) = value
        && let [(variant, value @ FieldValue::Record(_))] = &fields[..]
    {
        return lines(f, indent, &format!("{path}.{variant}"), value);
    }
    let (mut own, mut further) = (Vec::new(), Vec::new());
    split("", value, &mut own, &mut further);
    let mut line = format!("{indent}{path}:");
    for (position, field) in own.iter().enumerate() {
        let comma = if position + 1 < own.len() { "," } else { "" };
        if line.len() + field.len() + comma.len() >= MAX_LINE_BYTES {
            writeln!(f, "{line}")?;
            line = format!("{indent}     ");
        }
        line += &format!(" {field}{comma}");
    }
    writeln!(f, "{line}")?;
    let indent = format!("{indent}  ");
    further
        .iter()
        .try_for_each(|(path, value)| match value.parts() {
            Some(_) => lines(f, &indent, path, value),
            None => writeln!(f, "{indent}{path}: {value}"),
        })
}

/// Sorts the fields of a value into those for its own line, as text, and those for further lines.
fn split<'value, 'run>(
    path: &str,
    value: &'value FieldValue<'run>,
    own: &mut Vec<String>,
    further: &mut Vec<(String, &'value FieldValue<'run>)>,
) {
    let name = relative(path).to_owned();
    match value {
        FieldValue::Null => {}
        // An empty text is one that the language model was not asked for.
        FieldValue::TextTensor(tensor) if tensor.data.is_empty() => {}
        FieldValue::Tensor(_) | FieldValue::TextTensor(_) => further.push((name, value)),
        FieldValue::List(_) | FieldValue::Record(_) => {
            let is_list = matches!(value, FieldValue::List(_));
            for (step, part) in value.parts().into_iter().flatten() {
                let path = format!("{path}{step}");
                match is_list && part.parts().is_some() {
                    true => further.push((relative(&path).to_owned(), part)),
                    false => split(&path, part, own, further),
                }
            }
        }
        _ => own.push(format!("{name} {value}")),
    }
}

#[cfg(test)]
mod tests;
