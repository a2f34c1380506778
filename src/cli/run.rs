//! `lockstep run` and what `demo` shares with it.

use super::arguments::{Launching, Run};
use super::edge::{Done, Trouble};
use super::output::{Figures, line};
use super::place::Place;
use super::progress::{Progress, View};
use super::{builtin, engines};
use serde_json::Value;
use supervisor::faults::FaultPlan;
use supervisor::fleet::Fleet;
use supervisor::host::StopSignals;
use supervisor::session;
use supervisor::session::{RunRequest, RunSummary};
use supervisor::tick::RunEnd;

/// Runs a fleet.
pub(super) fn run(command: &Run) -> Result<Done, Trouble> {
    let fleet = Fleet::read_knowing(&command.fleet, &builtin::names())?;
    launch(
        fleet,
        &command.fleet.display().to_string(),
        &command.launching,
        None,
    )
}

/// Runs a fleet with what the command line puts in place of its own settings.
pub(super) fn launch(
    mut fleet: Fleet,
    origin: &str,
    launching: &Launching,
    view: Option<Box<dyn View>>,
) -> Result<Done, Trouble> {
    fleet.ticks = launching.ticks.or(fleet.ticks);
    fleet.seed = launching.seed.unwrap_or(fleet.seed);
    fleet.hosts = launching.hosts.or(fleet.hosts);
    fleet.durability = launching.durability.unwrap_or(fleet.durability);
    fleet.deadline_ms = launching.deadline_ms.unwrap_or(fleet.deadline_ms);
    if let Some(ready_ms) = launching.ready_ms {
        fleet.agent_ready_ms = ready_ms;
        fleet.inference_ready_ms = ready_ms;
        fleet.load_ms = ready_ms;
    }
    if launching.without_faults {
        fleet.faults = FaultPlan::default();
    }
    let faults = match &launching.faults {
        Some(path) => FaultPlan::read(path, &fleet)?,
        None => FaultPlan::default(),
    };
    let place = match &launching.dir {
        Some(dir) => Place::given(dir),
        None => Place::reserve(&fleet.name)?,
    };
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let mut progress = Progress::new(fleet.ticks, view);
    let request = RunRequest {
        fleet: &fleet,
        origin: origin.to_owned(),
        dir: place.dir(),
        builtin: &builtin::find,
        engines: &engines,
        faults,
        strict_providers: launching.strict_providers,
        stop,
    };
    let ran = session::run(request, &mut progress);
    let view = progress.finish();
    match ran.map_err(Trouble::from) {
        Err(trouble) => Err(trouble.told(launching.json)?),
        Ok(summary) => {
            tell(&summary, view.as_deref(), launching.json)?;
            Ok(Done::Fine)
        }
    }
}

pub(super) fn tell(
    summary: &RunSummary,
    view: Option<&dyn View>,
    as_json: bool,
) -> Result<(), Trouble> {
    let figures = Figures {
        header: &summary.header,
        ran_on: &summary.ran_on,
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
    let verb = match summary.end {
        RunEnd::Finished => "ran",
        RunEnd::Stopped => "stopped after",
        RunEnd::AllHalted => "all agents have halted after",
        RunEnd::Mismatch { .. } => "failed after",
    };
    figures.lines(verb).into_iter().try_for_each(line)?;
    if let Some(closing) = view.and_then(View::closing_line) {
        line(closing)?;
    }
    if as_json {
        let mut json = figures.json();
        json["end"] = Value::from(verb);
        json["first_tick_s"] = summary
            .until_first_tick
            .map(|until| until.as_secs_f64())
            .into();
        line(json)?;
    }
    Ok(())
}
