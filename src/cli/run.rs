//! `lockstep run` and what `demo` shares with it.

use super::arguments::{ResumeArguments, RunArguments, RunOptions};
use super::error::{CliError, ExitStatus};
use super::output::report_stop;
use super::progress::{LiveView, RunProgress};
use super::resume::resume;
use super::run_directory::RunDirectory;
use super::run_report::{exit_status, report};
use super::stop_signals;
use super::{builtin, engine_config};
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::session;
use supervisor::session::RunRequest;

/// Runs a fleet, or resumes its run.
pub(super) fn run(command: &RunArguments) -> Result<ExitStatus, CliError> {
    let fleet = Fleet::read_knowing(&command.fleet, &builtin::names())?;
    let fleet = overridden(fleet, &command.options);
    if let (true, Some(dir)) = (command.or_resume, &command.options.dir)
        && session::is_resumable(dir, &fleet, &builtin::find)?
    {
        return resume(&ResumeArguments::of_run(dir, &fleet, &command.options));
    }
    launch(
        fleet,
        &command.fleet.display().to_string(),
        &command.options,
        None,
    )
}

/// A fleet with the settings of the command line in place of its own.
pub(super) fn overridden(mut fleet: Fleet, options: &RunOptions) -> Fleet {
    fleet.ticks = options.ticks.or(fleet.ticks);
    fleet.seed = options.seed.unwrap_or(fleet.seed);
    fleet.hosts = options.hosts.or(fleet.hosts);
    fleet.durability = options.durability.unwrap_or(fleet.durability);
    fleet.pace = options.pace.unwrap_or(fleet.pace);
    fleet.deadline_ms = options.deadline_ms.unwrap_or(fleet.deadline_ms);
    if let Some(ready_ms) = options.ready_ms {
        fleet.agent_ready_ms = ready_ms;
        fleet.inference_ready_ms = ready_ms;
        fleet.load_ms = ready_ms;
    }
    if options.without_faults {
        fleet.faults = FaultPlan::default();
    }
    fleet
}

/// Runs a fleet.
pub(super) fn launch(
    fleet: Fleet,
    origin: &str,
    options: &RunOptions,
    view: Option<Box<dyn LiveView>>,
) -> Result<ExitStatus, CliError> {
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
            exit_status(&summary, options.fail_on_agent_failure)
        }
    }
}
