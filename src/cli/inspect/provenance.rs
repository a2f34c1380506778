//! Where results come from, a line for each.

use super::{Done, Inspect, Trouble, line};
use serde_json::{Value, json};
use shm_protocol::id::{AgentId, Tick};
use supervisor::analysis::{Provenance, Provenances};
use supervisor::journal::{JournalReader, hex};
use supervisor::record::RunHeader;

/// Digits of a digest that people see.
const SHOWN_DIGITS: usize = 16;

/// Shows where the results of a run come from, or those of one tick or one agent.
pub(super) fn show(
    command: &Inspect,
    header: &RunHeader,
    journal: &mut JournalReader,
    agent: Option<AgentId>,
) -> Result<Done, Trouble> {
    let threads = header.engine.as_ref().map(|engine| engine.intra_threads);
    let mut provenances = Provenances::of(header);
    let mut found = Vec::new();
    while let Some(entry) = journal.next_tick()? {
        let of_tick = provenances.next(&entry);
        if command.tick.is_some_and(|tick| Tick(tick) != entry.tick) {
            continue;
        }
        for one in of_tick {
            if agent.is_none_or(|only| only == one.agent) {
                line(text(header, &one))?;
                if command.json {
                    found.push(value(header, threads, &one));
                }
            }
        }
    }
    if let Some(tick) = command.tick
        && Tick(tick) > journal.ticks()
    {
        return Err(super::no_tick(Tick(tick), journal.ticks()));
    }
    if command.json {
        line(json!({ "results": found }))?;
    }
    Ok(Done::Fine)
}

fn text(header: &RunHeader, one: &Provenance) -> String {
    let name = &header.agents[one.agent.index()].name;
    let what = match one.request {
        Some(request) => format!("request {request} of tick {}", one.asked),
        None => "a wait".to_owned(),
    };
    let short = |digest: &[u8]| hex(digest)[..SHOWN_DIGITS].to_owned();
    let made_by = match &one.made_by {
        Some(made_by) => format!(
            "version {} on {}, file {}",
            made_by.version,
            made_by.provider,
            short(&made_by.file)
        ),
        None => "not loaded".to_owned(),
    };
    let output = match &one.output {
        Ok(digest) => short(digest),
        Err(reason) => format!("none: {reason}"),
    };
    format!(
        "tick {} {name}: {what}: model {}, {made_by}; input {}, output {output}",
        one.tick,
        one.model,
        short(&one.input)
    )
}

fn value(header: &RunHeader, threads: Option<u32>, one: &Provenance) -> Value {
    let made_by = one.made_by.as_ref();
    json!({
        "tick": one.tick.0,
        "asked": one.asked.0,
        "agent": header.agents[one.agent.index()].name,
        "request": one.request.map(|request| request.0),
        "model": one.model,
        "version": made_by.map(|made_by| &made_by.version),
        "file": made_by.map(|made_by| hex(&made_by.file)),
        "provider": made_by.map(|made_by| &made_by.provider),
        "engine": header.engine.as_ref().map(|engine| &engine.name),
        "intra_threads": threads,
        "input": hex(&one.input),
        "output": one.output.as_ref().ok().map(|digest| hex(digest)),
        "error": one.output.as_ref().err(),
    })
}
