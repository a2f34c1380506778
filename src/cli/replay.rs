//! `lockstep replay`.

use super::arguments::ReplayArguments;
use super::engine_config;
use super::error::{CliError, ExitStatus};
use super::output::{RunFigures, line, report_stop};
use super::progress::RunProgress;
use super::stop_signals;
use serde_json::{Value, json};
use shm_protocol::provider::Provider;
use supervisor::analysis::{NOT_COMPARABLE, UlpDistance};
use supervisor::record::RunHeader;
use supervisor::session;
use supervisor::session::ReplayRequest;

/// Re-executes a run and compares it tick by tick.
pub(super) fn replay(command: &ReplayArguments) -> Result<ExitStatus, CliError> {
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let mut progress = RunProgress::new(None, None);
    let request = ReplayRequest {
        dir: &command.dir,
        engines: &engines,
        reinfer: command.reinfer,
        providers: checked_providers(&command.providers)?,
        stop,
    };
    let result = session::replay(request, &mut progress);
    progress.finish();
    let replay = match result.map_err(CliError::from) {
        Err(error) => return Err(report_stop(error, command.json)?),
        Ok(replay) => replay,
    };
    let figures = RunFigures {
        header: &replay.header,
        providers: &replay.providers,
        ticks: replay.ticks,
        ticks_here: replay.ticks,
        steps: replay.steps,
        inferences: replay.inferences,
        models_ran: command.reinfer,
        chain: &replay.chain,
        restarts: replay.restarts,
        verdicts: &replay.verdicts,
        wall_s: replay.wall.as_secs_f64(),
        run_dir: &command.dir,
    };
    figures.lines("replayed").into_iter().try_for_each(line)?;
    for distance in &replay.ulp_distances {
        line(distance_text(&replay.header, distance))?;
    }
    match &replay.divergence {
        Some(difference) => line(format!(
            "diverged    left: the journal, right: this replay\n{difference}"
        )),
        None if replay.stopped => line("stopped     equal to the journal up to here"),
        None if !command.providers.is_empty() => {
            line("equal       no agent would have decided otherwise")
        }
        None => line("equal       every tick, byte for byte"),
    }?;
    if command.json {
        let mut json = figures.json();
        json["diverged"] = Value::from(replay.divergence.is_some());
        json["difference"] = replay.divergence.as_ref().map(ToString::to_string).into();
        if !command.providers.is_empty() {
            json["outputs"] = replay
                .ulp_distances
                .iter()
                .map(|distance| distance_json(&replay.header, distance))
                .collect();
        }
        json["complete"] = Value::from(replay.divergence.is_none() && !replay.stopped);
        line(json)?;
    }
    Ok(if replay.divergence.is_some() {
        ExitStatus::Negative
    } else {
        ExitStatus::Success
    })
}

/// Providers by name, each of which there is.
fn checked_providers(names: &[String]) -> Result<Vec<String>, CliError> {
    for name in names {
        if Provider::named(name).is_none() {
            let all = Provider::ALL.map(Provider::name).join(", ");
            return Err(CliError::input(format!(
                "there is no provider {name}; --provider takes {all}"
            )));
        }
    }
    Ok(names.to_vec())
}

fn distance_text(header: &RunHeader, distance: &UlpDistance) -> String {
    let UlpDistance {
        model,
        output,
        elements,
        differing_elements,
        max_ulp,
        max_ulp_at,
    } = distance;
    let Some(at) = max_ulp_at else {
        return format!("output      {model} {output}: the same bits in all {elements} elements");
    };
    let max_ulp = match *max_ulp {
        NOT_COMPARABLE => "one side is not a number".to_owned(),
        max_ulp => format!("at most {max_ulp} ULP apart"),
    };
    let request = at
        .request
        .map_or("await".to_owned(), |request| format!("request {request}"));
    format!(
        "output      {model} {output}: {max_ulp}, in tick {} for agent {}, {request}, element {}; {differing_elements} of \
         {elements} elements differ",
        at.tick,
        header.agent_name(at.agent),
        at.element
    )
}

fn distance_json(header: &RunHeader, distance: &UlpDistance) -> Value {
    let at = distance.max_ulp_at.as_ref().map(|at| {
        json!({
            "tick": at.tick.0,
            "agent": header.agent_name(at.agent),
            "request": at.request.map(|request| request.0),
            "element": at.element,
        })
    });
    json!({
        "model": distance.model,
        "output": distance.output,
        "elements": distance.elements,
        "differing_elements": distance.differing_elements,
        // Null where one side is not a number.
        "max_ulp": (distance.max_ulp != NOT_COMPARABLE).then_some(distance.max_ulp),
        "max_ulp_at": at,
    })
}
