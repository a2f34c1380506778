//! The keys of the tables `[[agents]]`.

use super::names::UniqueNames;
use super::parse::{NAME_CHARACTERS, POSITIVE, Sizes};
use super::spec::{AgentSpec, Source};
use super::table::TableReader;
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::OnFailure;

/// Sizes from one page of WebAssembly memory to all that 32 bits can address.
const MEMORY_BYTES: Sizes = Sizes {
    bytes: 64 << 10..=4 << 30,
    below: "below one page of 64 KiB",
    above: "above the 4 GiB that WebAssembly can address",
    help: "write a size from \"64 KiB\" to \"4 GiB\"",
};

/// The agents of all tables, in the order of the file.
pub(super) fn read(tables: Vec<TableReader<'_, '_>>) -> Vec<AgentSpec> {
    let mut agents = Vec::new();
    let mut names = UniqueNames::new("agents");
    for mut table in tables {
        agents.extend(read_table(&mut table, &mut names));
        let is_over = agents.len() > limit::AGENTS;
        if is_over {
            let message = format!("the fleet has more than {} agents", limit::AGENTS);
            table.problem_here(message, "lower `count` here or in the tables above");
        }
        table.close();
        if is_over {
            break;
        }
    }
    agents
}

/// The agents of one table.
pub(super) fn read_table(
    table: &mut TableReader<'_, '_>,
    names: &mut UniqueNames,
) -> Vec<AgentSpec> {
    let name = table.name("\"my-agent\"");
    let count: Option<u32> = table.optional_number("count", 1..=limit::AGENTS as i128);
    let agent = AgentSpec {
        name: String::new(),
        component: table
            .file("component", "\"my-agent.wasm\"")
            .unwrap_or_else(|| Source::Builtin(String::new())),
        settings: table.settings(),
        // Some ten milliseconds of a processor.
        fuel: table.number("fuel", POSITIVE, 10_000_000),
        memory_bytes: table.size("memory", 64 << 20, &MEMORY_BYTES),
        isolate: table.boolean("isolate", false),
        priority: table.number("priority", i32::MIN.into()..=i32::MAX.into(), 0),
        every: table.number("every", POSITIVE, 1),
        on_failure: table.choice(
            "on_failure",
            &[("halt", OnFailure::Halt), ("restart", OnFailure::Restart)],
        ),
        may_finish: table.boolean("may_finish", false),
    };
    let Some(name) = name else { return Vec::new() };
    let written: Vec<String> = match count {
        None => vec![name.get_ref().to_string()],
        Some(count) => (0..count)
            .map(|number| format!("{}-{number}", name.get_ref()))
            .collect(),
    };
    if written
        .last()
        .is_some_and(|longest| longest.len() > NAME_CHARACTERS)
    {
        let (called, count) = (format!("`name` in {}", table.title), written.len());
        let message = format!("{called} is too long for {count} agents");
        let help =
            format!("shorten it: with its number a name has at most {NAME_CHARACTERS} characters");
        table.problem(name.span(), message, "the number comes after it", help);
    }
    names.take(&written, &name.span(), table);
    written
        .into_iter()
        .map(|name| AgentSpec {
            name,
            ..agent.clone()
        })
        .collect()
}
