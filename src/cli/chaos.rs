//! `lockstep chaos`: a fleet with faults, compared with the same fleet without.
//!
//! * `campaign`: the reference run, the runs with faults, and their comparison;
//! * `random_plan`: a fault plan drawn from a seed;
//! * `chaos_run`: one run from its launch over every resume to its end;
//! * `child`: one process of this binary, watched until it ends;
//! * `watchdog`: detects that it hangs, or that it leaks descriptors or threads;
//! * `leftovers`: detects processes, shared memory and files that it leaves behind;
//! * `history`: checks its events, and measures recoveries;
//! * `shrink`: reduces a plan to the rules that still show a difference;
//! * `report`: the report of a campaign;
//! * `matrix`: its coverage, by kind and point;
//! * `points`: the list of points at which faults can be injected.

mod campaign;
mod chaos_run;
mod child;
mod history;
mod leftovers;
mod matrix;
mod points;
mod random_plan;
mod report;
mod shrink;
mod watchdog;

use super::arguments::ChaosArguments;
use super::error::{CliError, ExitStatus};
use super::output::report_stop;
use super::stop_signals;
use super::{builtin, demo};
use campaign::Campaign;
use std::path::Path;
use supervisor::fleet::Fleet;

/// Runs a fleet with faults and compares it with the fault-free run.
pub(super) fn chaos(command: &ChaosArguments) -> Result<ExitStatus, CliError> {
    if command.points {
        return points::list().map(|()| ExitStatus::Success);
    }
    let Some(name) = &command.fleet else {
        return Err(CliError::input(
            "no fleet given; name a fleet file, or `demo` for the embedded fleet",
        ));
    };
    let fleet = match name.as_str() {
        "demo" => demo::fleet(demo::CHAOS_POLES)?,
        path => Fleet::read_knowing(Path::new(path), &builtin::names())?,
    };
    let stop = stop_signals::install()?;
    match Campaign::new(command, name, fleet, &stop)?.run() {
        Err(error) => Err(report_stop(error, command.json)?),
        Ok(report) => report.write(command.json),
    }
}
