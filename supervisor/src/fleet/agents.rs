//! What the tables `[[agents]]` mean.

use super::bounds;
use super::keys::AGENTS;
use super::read::{Names, Reading, TableAt};
use super::section::Section;
use super::spec::{AgentSpec, Source};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnFailure;

/// Fuel of one step, unless the fleet says otherwise: some ten milliseconds of a processor.
const FUEL: u64 = 10_000_000;

/// Memory of one agent, unless the fleet says otherwise.
const MEMORY_BYTES: u64 = 64 << 20;

/// The agents of all tables, in the order of the file.
pub(super) fn read(tables: &[TableAt<'_, '_>], reading: &Reading<'_>) -> Vec<AgentSpec> {
    let mut agents = Vec::new();
    let mut names = Names::new("agents");
    for table in tables {
        let mut section = Section::open(&AGENTS, table.header.clone(), table.values, reading);
        read_table(&mut section, &mut names, &mut agents);
        section.close();
        if agents.len() > limit::AGENTS {
            let message = format!("the fleet has more than {} agents", limit::AGENTS);
            let help = "lower `count` here or in the tables above";
            reading.problems.add(
                table.header.clone(),
                message,
                "one too many in this table",
                help,
            );
            break;
        }
    }
    agents
}

/// Adds the agents of one table.
fn read_table(section: &mut Section<'_, '_>, names: &mut Names, agents: &mut Vec<AgentSpec>) {
    let name = section.name("\"my-agent\"");
    let count: Option<u32> = section.optional_number("count", &bounds::COUNT);
    let one = AgentSpec {
        name: String::new(),
        component: section
            .source("component", "\"my-agent.wasm\"")
            .unwrap_or_else(|| Source::Builtin(String::new())),
        settings: section.settings(),
        fuel: section.number("fuel", &bounds::POSITIVE, FUEL),
        memory_bytes: section.memory("memory", MEMORY_BYTES, &bounds::MEMORY_BYTES),
        isolate: section.boolean("isolate", false),
        priority: section.number("priority", &bounds::PRIORITY, 0),
        every: section.number("every", &bounds::POSITIVE, 1),
        on_failure: section.choice(
            "on_failure",
            &[("halt", OnFailure::Halt), ("restart", OnFailure::Restart)],
        ),
    };
    let Some(name) = name else { return };
    let written: Vec<String> = match count {
        None => vec![name.value.to_owned()],
        Some(count) => (0..count)
            .map(|number| format!("{}-{number}", name.value))
            .collect(),
    };
    if written
        .last()
        .is_some_and(|longest| longest.len() > bounds::NAME_CHARACTERS)
    {
        let message = format!(
            "{} is too long for {} agents",
            section.called("name"),
            written.len()
        );
        let help = format!(
            "shorten it: with its number a name has at most {} characters",
            bounds::NAME_CHARACTERS
        );
        section.reading.problems.add(
            name.span.clone(),
            message,
            "the number comes after it",
            help,
        );
    }
    names.take(&written, &name.span, section.reading);
    agents.extend(written.into_iter().map(|name| AgentSpec {
        name,
        ..one.clone()
    }));
}
