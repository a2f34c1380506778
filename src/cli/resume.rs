//! `lockstep resume`.

use super::arguments::ResumeArguments;
use super::engine_config;
use super::error::{CliError, ExitStatus};
use super::output::report_stop;
use super::progress::RunProgress;
use super::run_report::{exit_status, report};
use super::stop_signals;
use supervisor::session;
use supervisor::session::ResumeRequest;

/// Resumes a run whose supervisor was killed or stopped.
pub(super) fn resume(command: &ResumeArguments) -> Result<ExitStatus, CliError> {
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let mut progress = RunProgress::new(command.ticks, None);
    let request = ResumeRequest {
        dir: &command.dir,
        engines: &engines,
        ticks: command.ticks,
        ignore_checkpoints: command.ignore_checkpoints,
        allow_next_provider: command.allow_next_provider,
        bounds: command.bounds.overridden(),
        stop,
    };
    let result = session::resume(request, &mut progress);
    progress.finish();
    match result.map_err(CliError::from) {
        Err(error) => Err(report_stop(error, command.json)?),
        Ok(summary) => {
            report(&summary, None, command.json)?;
            exit_status(&summary, command.fail_on_agent_failure)
        }
    }
}
