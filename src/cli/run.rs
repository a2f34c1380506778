//! `lockstep run` and what `demo` shares with it.

use super::arguments::{RunArguments, RunOptions};
use super::error::{CliError, ExitStatus};
use super::output::{RunFigures, line, report_stop};
use super::progress::{LiveView, RunProgress};
use super::run_directory::RunDirectory;
use super::stop_signals;
use super::{builtin, engine_config};
use serde_json::Value;
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::session;
use supervisor::session::{RunReport, RunRequest};
use supervisor::tick::RunEnd;

/// Runs a fleet.
pub(super) fn run(command: &RunArguments) -> Result<ExitStatus, CliError> {
    let fleet = Fleet::read_knowing(&command.fleet, &builtin::names())?;
    launch(
        fleet,
        &command.fleet.display().to_string(),
        &command.options,
        None,
    )
}

/// Runs a fleet with the settings of the command line in place of its own.
pub(super) fn launch(
    mut fleet: Fleet,
    origin: &str,
    options: &RunOptions,
    view: Option<Box<dyn LiveView>>,
) -> Result<ExitStatus, CliError> {
    fleet.ticks = options.ticks.or(fleet.ticks);
    fleet.seed = options.seed.unwrap_or(fleet.seed);
    fleet.hosts = options.hosts.or(fleet.hosts);
    fleet.durability = options.durability.unwrap_or(fleet.durability);
    fleet.deadline_ms = options.deadline_ms.unwrap_or(fleet.deadline_ms);
    if let Some(ready_ms) = options.ready_ms {
        fleet.agent_ready_ms = ready_ms;
        fleet.inference_ready_ms = ready_ms;
        fleet.load_ms = ready_ms;
    }
    if options.without_faults {
        fleet.faults = FaultPlan::default();
    }
    let faults = match &options.faults {
        Some(path) => FaultPlan::read(path, &fleet)?,
        None => FaultPlan::default(),
    };
    let directory = match &options.dir {
        Some(dir) => RunDirectory::named(dir),
        None => RunDirectory::reserve(&fleet.name)?,
    };
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let mut progress = RunProgress::new(fleet.ticks, view);
    let request = RunRequest {
        fleet: &fleet,
        origin: origin.to_owned(),
        dir: directory.path(),
        builtin: &builtin::find,
        engines: &engines,
        faults,
        strict_providers: options.strict_providers,
        stop,
    };
    let result = session::run(request, &mut progress);
    let view = progress.finish();
    match result.map_err(CliError::from) {
        Err(error) => Err(report_stop(error, options.json)?),
        Ok(summary) => {
            report(&summary, view.as_deref(), options.json)?;
            Ok(ExitStatus::Success)
        }
    }
}

/// Reports a run that ended in good order.
pub(super) fn report(
    summary: &RunReport,
    view: Option<&dyn LiveView>,
    as_json: bool,
) -> Result<(), CliError> {
    let figures = RunFigures {
        header: &summary.header,
        providers: &summary.providers,
        ticks: summary.ticks,
        ticks_here: summary.ticks_here,
        steps: summary.steps,
        inferences: summary.inferences,
        models_ran: true,
        chain: &summary.chain,
        restarts: summary.restarts,
        verdicts: &summary.verdicts,
        wall_s: summary.wall.as_secs_f64(),
        run_dir: &summary.run_dir,
    };
    let (end, verb) = match summary.end {
        RunEnd::Finished => ("finished", "ran"),
        RunEnd::Stopped => ("stopped", "stopped after"),
        RunEnd::AllHalted => ("all_halted", "all agents have halted after"),
        RunEnd::Mismatch { .. } => ("mismatch", "failed after"),
    };
    figures.lines(verb).into_iter().try_for_each(line)?;
    if let Some(closing) = view.and_then(LiveView::closing_line) {
        line(closing)?;
    }
    if as_json {
        let mut json = figures.json();
        json["end"] = Value::from(end);
        json["first_tick_s"] = summary
            .until_first_tick
            .map(|until| until.as_secs_f64())
            .into();
        line(json)?;
    }
    Ok(())
}
