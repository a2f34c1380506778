//! `lockstep replay`.

use super::arguments::Replay;
use super::edge::{Done, Trouble};
use super::engines;
use super::output::{Figures, line};
use super::progress::Progress;
use serde_json::Value;
use supervisor::host::StopSignals;
use supervisor::shell::{self, ReplayRequest};

/// Re-executes a run and compares it tick by tick.
pub(super) fn replay(command: &Replay) -> Result<Done, Trouble> {
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let mut progress = Progress::new(None, None);
    let request = ReplayRequest {
        dir: &command.dir,
        engines: &engines,
        reinfer: command.reinfer,
        stop,
    };
    let replayed = shell::replay(request, &mut progress);
    progress.finish();
    let replay = match replayed.map_err(Trouble::from) {
        Err(trouble) => return Err(trouble.told(command.json)?),
        Ok(replay) => replay,
    };
    let figures = Figures {
        header: &replay.header,
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
    match &replay.divergence {
        Some(difference) => line(format!(
            "diverged    left is the journal, right this replay\n{difference}"
        )),
        None if replay.stopped => line("stopped     all ticks up to here agree with the journal"),
        None => line("agrees      every tick, byte for byte"),
    }?;
    if command.json {
        let mut json = figures.json();
        json["diverged"] = Value::from(replay.divergence.is_some());
        json["difference"] = replay.divergence.as_ref().map(ToString::to_string).into();
        json["complete"] = Value::from(replay.divergence.is_none() && !replay.stopped);
        line(json)?;
    }
    Ok(if replay.divergence.is_some() {
        Done::No
    } else {
        Done::Fine
    })
}
