//! `lockstep replay`.

use super::arguments::Replay;
use super::edge::{Done, Trouble};
use super::engines;
use super::output::{Figures, line};
use super::progress::Progress;
use serde_json::{Value, json};
use shm_protocol::provider::Provider;
use supervisor::analysis::{Apart, NOT_COMPARABLE};
use supervisor::host::StopSignals;
use supervisor::session;
use supervisor::session::{ReplayReport as Replayed, ReplayRequest};

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
        providers: known(&command.providers)?,
        stop,
    };
    let replayed = session::replay(request, &mut progress);
    progress.finish();
    let replay = match replayed.map_err(Trouble::from) {
        Err(trouble) => return Err(trouble.told(command.json)?),
        Ok(replay) => replay,
    };
    let figures = Figures {
        header: &replay.header,
        ran_on: &replay.ran_on,
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
    for apart in &replay.apart {
        line(apart_text(&replay, apart))?;
    }
    match &replay.divergence {
        Some(difference) => line(format!(
            "diverged    left is the journal, right this replay\n{difference}"
        )),
        None if replay.stopped => line("stopped     all ticks up to here agree with the journal"),
        None if !command.providers.is_empty() => {
            line("agrees      no agent would have decided otherwise")
        }
        None => line("agrees      every tick, byte for byte"),
    }?;
    if command.json {
        let mut json = figures.json();
        json["diverged"] = Value::from(replay.divergence.is_some());
        json["difference"] = replay.divergence.as_ref().map(ToString::to_string).into();
        if !command.providers.is_empty() {
            json["outputs"] = replay
                .apart
                .iter()
                .map(|apart| apart_json(&replay, apart))
                .collect();
        }
        json["complete"] = Value::from(replay.divergence.is_none() && !replay.stopped);
        line(json)?;
    }
    Ok(if replay.divergence.is_some() {
        Done::No
    } else {
        Done::Fine
    })
}

/// Providers by name, each of which there is.
fn known(names: &[String]) -> Result<Vec<String>, Trouble> {
    for name in names {
        if Provider::named(name).is_none() {
            let all = Provider::ALL.map(Provider::name).join(", ");
            return Err(Trouble::input(format!(
                "there is no provider {name}; --provider takes {all}"
            )));
        }
    }
    Ok(names.to_vec())
}

fn apart_text(replay: &Replayed, apart: &Apart) -> String {
    let Apart {
        model,
        output,
        elements,
        differing,
        most,
        ..
    } = apart;
    let Some(place) = &apart.at else {
        return format!("output      {model} {output}: the same bits in all {elements} elements");
    };
    let most = match *most {
        NOT_COMPARABLE => "one side is not a number".to_owned(),
        most => format!("at most {most} ULP apart"),
    };
    let agent = &replay.header.agents[place.agent.index()].name;
    let asked = place
        .request
        .map_or("a wait".to_owned(), |request| format!("request {request}"));
    format!(
        "output      {model} {output}: {most}, in tick {} for agent {agent}, {asked}, element {}; {differing} of {elements} \
         elements differ",
        place.tick, place.element
    )
}

fn apart_json(replay: &Replayed, apart: &Apart) -> Value {
    let place = |place: &supervisor::analysis::Place| {
        json!({
            "tick": place.tick.0,
            "agent": replay.header.agents[place.agent.index()].name,
            "request": place.request.map(|request| request.0),
            "element": place.element,
        })
    };
    json!({
        "model": apart.model,
        "output": apart.output,
        "elements": apart.elements,
        "differing": apart.differing,
        // Nothing where one side is not a number.
        "most_ulp": (apart.most != NOT_COMPARABLE).then_some(apart.most),
        "at": apart.at.as_ref().map(place),
    })
}
