//! `lockstep inspect`.

mod missing_tick;
mod provenance;

use super::arguments::InspectArguments;
use super::error::{CliError, ExitStatus};
use super::output::{counted, line};
use missing_tick::missing_tick;
use serde_json::{Value, json};
use shm_protocol::id::{AgentId, Tick};
use supervisor::analysis::RunSummary;
use supervisor::analysis::inspect::{HeaderView, TickView, agent_named};
use supervisor::journal::JournalReader;
use supervisor::record::RunHeader;
use supervisor::record::hex;
use supervisor::rundir::{EventLog, RunDir, RunEvent};

/// Maximum number of events that are shown with the summary of a run.
const MAX_EVENTS: usize = 40;

/// Shows the records of a run.
pub(super) fn inspect(command: &InspectArguments) -> Result<ExitStatus, CliError> {
    let run = RunDir::read(&command.dir)?;
    let (header, mut journal) = JournalReader::open(&run)?;
    let agent = command
        .agent
        .as_deref()
        .map(|name| named(&header, name))
        .transpose()?;
    if command.provenance {
        return provenance::show(command, &header, &mut journal, agent);
    }
    let events = EventLog::read(&run)?;
    if command.tick.is_none() && agent.is_none() {
        return whole_run(command, &header, &mut journal, &events);
    }
    let mut output = TickOutput {
        is_json: command.json,
        ..TickOutput::default()
    };
    while let Some(entry) = journal.next_tick()? {
        if command.tick.is_none_or(|tick| Tick(tick) == entry.tick) {
            output.tick(&TickView {
                header: &header,
                tick: entry.tick,
                record: &entry.record,
                agent,
            })?;
            if command.tick.is_some() {
                break;
            }
        }
    }
    if let Some(tick) = command.tick.map(Tick) {
        if !output.has_tick {
            return Err(missing_tick(tick, journal.ticks()));
        }
        for event in events.iter().filter(|event| event.tick() == Some(tick)) {
            output.line(&format!("  event: {event}"))?;
        }
    }
    if command.json {
        line(json!({
            "tick": command.tick,
            "agent": command.agent,
            "records": output.records,
            "text": output.text,
        }))?;
    }
    Ok(ExitStatus::Success)
}

/// Writes ticks, and keeps them for the line of JSON behind them if there will be one.
#[derive(Default)]
struct TickOutput {
    is_json: bool,
    has_tick: bool,
    text: String,
    records: Vec<Value>,
}

impl TickOutput {
    fn line(&mut self, text: &str) -> Result<(), CliError> {
        if self.is_json {
            self.text += text;
            self.text.push('\n');
        }
        line(text)
    }

    fn tick(&mut self, tick: &TickView<'_>) -> Result<(), CliError> {
        if std::mem::replace(&mut self.has_tick, true) {
            self.line("")?;
        }
        if self.is_json {
            self.records.push(json!(tick));
        }
        self.line(tick.to_string().trim_end())
    }
}

fn named(header: &RunHeader, name: &str) -> Result<AgentId, CliError> {
    agent_named(header, name).ok_or_else(|| {
        let some: Vec<&str> = header
            .agents
            .iter()
            .take(8)
            .map(|agent| agent.name.as_str())
            .collect();
        CliError::input(format!(
            "the run has no agent {name:?}; it has {}: {}{}",
            counted(header.agents.len() as u64, "agent"),
            some.join(", "),
            if some.len() < header.agents.len() {
                " ..."
            } else {
                ""
            }
        ))
    })
}

fn whole_run(
    command: &InspectArguments,
    header: &RunHeader,
    journal: &mut JournalReader,
    events: &[RunEvent],
) -> Result<ExitStatus, CliError> {
    let summary = RunSummary::read(header, journal)?;
    line(HeaderView(header))?;
    line(summary)?;
    let (ticks, chain) = (journal.ticks(), hex(&journal.chain()).to_string());
    line(format!("ticks     {ticks}, chain {chain}"))?;
    let sealed = journal
        .seal()
        .map(|seal| format!("{:?}", seal.reason).to_lowercase());
    match &sealed {
        Some(reason) => line(format!("sealed    {reason}")),
        None => line("sealed    no: the run is active, or its supervisor was killed"),
    }?;
    if let Some(torn) = journal.torn() {
        line(format!("torn      {torn}"))?;
    }
    for event in events.iter().take(MAX_EVENTS) {
        line(format!("event     {event}"))?;
    }
    if let Some(more) = events
        .len()
        .checked_sub(MAX_EVENTS)
        .filter(|more| *more > 0)
    {
        line(format!("event     and {more} more in events.jsonl"))?;
    }
    if command.json {
        line(json!({
            "events": events.len(),
            "header": HeaderView(header),
            "fleet": header.fleet,
            "seed": header.seed,
            "ticks": ticks.0,
            "chain": chain,
            "sealed": sealed,
            "torn": journal.torn().map(ToString::to_string),
            "agents": header.agents.iter().map(|agent| &agent.name).collect::<Vec<_>>(),
            "models": header.models.iter().map(|model| json!({ "name": model.name, "provider": model.provider })).collect::<Vec<_>>(),
            "engine": header.engine.as_ref().map(|engine| &engine.name),
            "run_dir": command.dir.to_string_lossy(),
        }))?;
    }
    Ok(ExitStatus::Success)
}
