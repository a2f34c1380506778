//! `lockstep inspect`.

mod provenance;

use super::arguments::Inspect;
use super::edge::{Done, Trouble};
use super::output::{counted, line};
use serde_json::json;
use shm_protocol::id::{AgentId, Tick};
use supervisor::analysis::inspect::{HeaderText, Summary, TickText, agent_named};
use supervisor::journal::{JournalReader, hex};
use supervisor::record::RunHeader;
use supervisor::rundir::{EventLog, RunDir, RunEvent};

/// How much of what happened around a run is shown with its summary.
const EVENTS_SHOWN: usize = 40;

/// Shows what happened in a run.
pub(super) fn inspect(command: &Inspect) -> Result<Done, Trouble> {
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
    let mut shown = Shown {
        text: command.json.then(String::new),
        is_begun: false,
    };
    let events = EventLog::read(&run)?;
    match (command.tick, agent) {
        (Some(tick), agent) => {
            one_tick(&header, &mut journal, Tick(tick), agent, &mut shown)?;
            shown.around(&events, Tick(tick))?;
        }
        (None, Some(agent)) => every_tick(&header, &mut journal, agent, &mut shown)?,
        (None, None) => return whole_run(command, &header, &mut journal, &events),
    }
    if let Some(text) = shown.text {
        line(json!({ "tick": command.tick, "agent": command.agent, "text": text }))?;
    }
    Ok(Done::Fine)
}

/// Says lines, and keeps them if they are asked for in JSON too.
struct Shown {
    text: Option<String>,
    /// Whether a tick was said; an empty line stands between two.
    is_begun: bool,
}

impl Shown {
    fn say(&mut self, tick: &TickText<'_>) -> Result<(), Trouble> {
        let said = tick.to_string();
        if std::mem::replace(&mut self.is_begun, true) {
            line("")?;
        }
        line(said.trim_end())?;
        if let Some(text) = &mut self.text {
            text.push_str(&said);
        }
        Ok(())
    }
}

impl Shown {
    /// What happened to hosts in a tick, in its place.
    fn around(&mut self, events: &[RunEvent], tick: Tick) -> Result<(), Trouble> {
        for event in events.iter().filter(|event| event.tick() == Some(tick)) {
            let said = format!("  around it: {event}");
            line(&said)?;
            if let Some(text) = &mut self.text {
                text.push_str(&said);
                text.push('\n');
            }
        }
        Ok(())
    }
}

fn named(header: &RunHeader, name: &str) -> Result<AgentId, Trouble> {
    agent_named(header, name).ok_or_else(|| {
        let some: Vec<&str> = header
            .agents
            .iter()
            .take(8)
            .map(|agent| agent.name.as_str())
            .collect();
        Trouble::input(format!(
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

fn one_tick(
    header: &RunHeader,
    journal: &mut JournalReader,
    tick: Tick,
    agent: Option<AgentId>,
    shown: &mut Shown,
) -> Result<(), Trouble> {
    while let Some(entry) = journal.next_tick()? {
        if entry.tick == tick {
            return shown.say(&TickText {
                header,
                tick,
                record: &entry.record,
                agent,
            });
        }
    }
    Err(no_tick(tick, journal.ticks()))
}

fn no_tick(tick: Tick, last: Tick) -> Trouble {
    Trouble::input(format!(
        "the run has no tick {tick}; its last one is {last}"
    ))
}

fn every_tick(
    header: &RunHeader,
    journal: &mut JournalReader,
    agent: AgentId,
    shown: &mut Shown,
) -> Result<(), Trouble> {
    while let Some(entry) = journal.next_tick()? {
        shown.say(&TickText {
            header,
            tick: entry.tick,
            record: &entry.record,
            agent: Some(agent),
        })?;
    }
    Ok(())
}

fn whole_run(
    command: &Inspect,
    header: &RunHeader,
    journal: &mut JournalReader,
    events: &[RunEvent],
) -> Result<Done, Trouble> {
    let summary = Summary::read(header, journal)?;
    line(HeaderText(header))?;
    line(summary)?;
    let (ticks, chain) = (journal.ticks(), hex(&journal.chain()).to_string());
    line(format!("ticks     {ticks}, chain {chain}"))?;
    let sealed = journal
        .seal()
        .map(|seal| format!("{:?}", seal.reason).to_lowercase());
    match &sealed {
        Some(reason) => line(format!("sealed    {reason}")),
        None => line("sealed    no: the run goes on, or did not end in good order"),
    }?;
    if let Some(torn) = journal.torn() {
        line(format!("torn      {torn}"))?;
    }
    for event in events.iter().take(EVENTS_SHOWN) {
        line(format!("around    {event}"))?;
    }
    if let Some(more) = events
        .len()
        .checked_sub(EVENTS_SHOWN)
        .filter(|more| *more > 0)
    {
        line(format!("around    and {more} more in events.jsonl"))?;
    }
    if command.json {
        line(json!({
            "events": events.len(),
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
    Ok(Done::Fine)
}
