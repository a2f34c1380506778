//! `lockstep check`.

use super::arguments::CheckArguments;
use super::error::{CliError, ExitStatus};
use super::output::{counted, line};
use super::progress::RunProgress;
use super::stop_signals;
use super::{builtin, engine_config};
use serde_json::json;
use shm_protocol::tensor::Port;
use supervisor::analysis::inspect::change_text;
use supervisor::fleet::Fleet;
use supervisor::launch;
use supervisor::record::RunHeader;

/// Checks a fleet as a run does before its first tick: reads the file, compiles the agents, loads everything and calls
/// every `init`.
pub(super) fn check(command: &CheckArguments) -> Result<ExitStatus, CliError> {
    let header = match prepare(command) {
        Ok(header) => header,
        Err(error) => {
            if command.json && error.is_refusal() {
                line(json!({ "valid": false, "problems": error.problems() }))?;
            }
            return Err(error);
        }
    };
    report(command, &header)?;
    Ok(ExitStatus::Success)
}

fn prepare(command: &CheckArguments) -> Result<RunHeader, CliError> {
    let fleet = Fleet::read_knowing(&command.fleet, &builtin::names())?;
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let mut progress = RunProgress::new(None, None);
    let checked = launch::check(&fleet, &builtin::find, &engines, stop, &mut progress);
    progress.finish();
    Ok(checked?)
}

fn report(command: &CheckArguments, header: &RunHeader) -> Result<(), CliError> {
    line(format!(
        "{} is valid: {}, {}",
        command.fleet.display(),
        counted(header.agents.len() as u64, "agent"),
        counted(header.models.len() as u64, "model")
    ))?;
    for model in &header.models {
        let batching = model.batching.reason().map_or_else(
            || "requests are batched".to_owned(),
            |reason| format!("requests are not batched: {reason}"),
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
        line(change_text(header, change))?;
    }
    if command.json {
        line(json!({
            "valid": true,
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
