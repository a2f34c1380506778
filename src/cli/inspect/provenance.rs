//! The provenance of results, a line for each.

use super::missing_tick::missing_tick;
use crate::cli::arguments::InspectArguments;
use crate::cli::error::{CliError, ExitStatus};
use crate::cli::output::line;
use serde_json::{Value, json};
use shm_protocol::id::{AgentId, Tick};
use supervisor::analysis::{Provenance, ProvenanceTracker};
use supervisor::journal::JournalReader;
use supervisor::record::RunHeader;
use supervisor::record::hex;

/// Digits of a digest in text.
const DIGEST_DIGITS: usize = 16;

/// Shows the provenance of the results of a run, or of those of one tick or one agent.
pub(super) fn show(
    command: &InspectArguments,
    header: &RunHeader,
    journal: &mut JournalReader,
    agent: Option<AgentId>,
) -> Result<ExitStatus, CliError> {
    let threads = header.engine.as_ref().map(|engine| engine.intra_op_threads);
    let mut tracker = ProvenanceTracker::new(header);
    let mut results = Vec::new();
    while let Some(entry) = journal.next_tick()? {
        let of_tick = tracker.next(&entry);
        if command.tick.is_some_and(|tick| Tick(tick) != entry.tick) {
            continue;
        }
        for one in of_tick {
            if agent.is_none_or(|only| only == one.agent) {
                line(text(header, &one))?;
                if command.json {
                    results.push(value(header, threads, &one));
                }
            }
        }
    }
    if let Some(tick) = command.tick
        && Tick(tick) > journal.ticks()
    {
        return Err(missing_tick(Tick(tick), journal.ticks()));
    }
    if command.json {
        line(json!({ "results": results }))?;
    }
    Ok(ExitStatus::Success)
}

fn text(header: &RunHeader, one: &Provenance) -> String {
    let name = &header.agents[one.agent.index()].name;
    let what = match one.request {
        Some(request) => format!("request {request} of tick {}", one.request_tick),
        None => "await".to_owned(),
    };
    let short = |digest: &[u8]| hex(digest)[..DIGEST_DIGITS].to_owned();
    let version = match &one.version {
        Some(version) => format!(
            "version {} on {}, file {}",
            version.name,
            version.provider,
            short(&version.file)
        ),
        None => "not loaded".to_owned(),
    };
    let output = match &one.output {
        Ok(digest) => short(digest),
        Err(reason) => format!("none: {reason}"),
    };
    format!(
        "tick {} {name}: {what}: model {}, {version}; input {}, output {output}",
        one.tick,
        one.model,
        short(&one.input)
    )
}

fn value(header: &RunHeader, threads: Option<u32>, one: &Provenance) -> Value {
    let version = one.version.as_ref();
    json!({
        "tick": one.tick.0,
        "request_tick": one.request_tick.0,
        "agent": header.agents[one.agent.index()].name,
        "request": one.request.map(|request| request.0),
        "model": one.model,
        "version": version.map(|version| &version.name),
        "file_digest": version.map(|version| hex(&version.file)),
        "provider": version.map(|version| &version.provider),
        "engine": header.engine.as_ref().map(|engine| &engine.name),
        "intra_op_threads": threads,
        "input_digest": hex(&one.input),
        "output_digest": one.output.as_ref().ok().map(|digest| hex(digest)),
        "error": one.output.as_ref().err(),
    })
}
