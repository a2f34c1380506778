//! `lockstep check`.

use super::arguments::Check;
use super::edge::{Done, Trouble};
use super::output::{counted, line};
use super::progress::Progress;
use super::{builtin, engines};
use serde_json::json;
use shm_protocol::tensor::Port;
use supervisor::analysis::inspect::ChangeText;
use supervisor::fleet::Fleet;
use supervisor::host::StopSignals;
use supervisor::launch;
use supervisor::record::RunHeader;

/// Says what is wrong with a fleet: reads it, compiles its agents, loads
/// everything and calls every `init`, as a run does before its first tick.
pub(super) fn check(command: &Check) -> Result<Done, Trouble> {
    let header = match find_out(command) {
        Ok(header) => header,
        Err(trouble) => {
            if command.json && trouble.is_refusal() {
                line(json!({ "sound": false, "problems": trouble.problems() }))?;
            }
            return Err(trouble);
        }
    };
    tell(command, &header)?;
    Ok(Done::Fine)
}

fn find_out(command: &Check) -> Result<RunHeader, Trouble> {
    let fleet = Fleet::read_knowing(&command.fleet, &builtin::names())?;
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let mut progress = Progress::new(None, None);
    let checked = launch::check(&fleet, &builtin::find, &engines, stop, &mut progress);
    progress.finish();
    Ok(checked?)
}

fn tell(command: &Check, header: &RunHeader) -> Result<(), Trouble> {
    line(format!(
        "{} is sound: {}, {}",
        command.fleet.display(),
        counted(header.agents.len() as u64, "agent"),
        counted(header.models.len() as u64, "model")
    ))?;
    for model in &header.models {
        let batching = model.batching.reason().map_or_else(
            || "requests are joined to batches".to_owned(),
            |reason| format!("every request runs alone: {reason}"),
        );
        line(format!(
            "model {} on {}: {} -> {}; {batching}",
            model.name,
            model.provider,
            ports(&model.signature.inputs),
            ports(&model.signature.outputs)
        ))?;
    }
    for change in &header.changes {
        line(ChangeText { header, change })?;
    }
    if command.json {
        line(json!({
            "sound": true,
            "changes": header.changes.len(),
            "agents": header.agents.iter().map(|agent| &agent.name).collect::<Vec<_>>(),
            "models": header.models.iter().map(|model| json!({ "name": model.name, "provider": model.provider })).collect::<Vec<_>>(),
            "engine": header.engine.as_ref().map(|engine| &engine.name),
        }))?;
    }
    Ok(())
}

fn ports(ports: &[Port]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}
