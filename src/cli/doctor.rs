//! `lockstep doctor`.

use super::arguments::Doctor;
use super::edge::{Done, Trouble};
use super::engines::{self, LIBRARY_VARIABLE};
use super::output::line;
use serde_json::{Value, json};
use shm_protocol::agent_to_supervisor::Ready;
use supervisor::host::StopSignals;
use supervisor::launch;

/// Says what this machine offers, by starting one host of each kind.
pub(super) fn doctor(command: &Doctor) -> Result<Done, Trouble> {
    let engines = engines::engines()?;
    let stop = StopSignals::install()
        .map_err(|error| Trouble::system(format!("signals cannot be taken over: {error}")))?;
    let checkup = launch::check_hosts(&engines, stop)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    line(format!(
        "lockstep    {} with wasmtime {}",
        engines.lockstep, engines.wasmtime
    ))?;
    line(format!(
        "machine     {} cores, Linux {}, {}",
        cores,
        kernel.trim(),
        std::env::consts::ARCH
    ))?;
    match &checkup.engine {
        Ok(engine) => line(format!(
            "engine      {} ({})",
            engine.engine,
            engines.library.as_deref().unwrap_or("embedded")
        )),
        Err(reason) => line(format!("engine      none: {reason}")),
    }?;
    if engines.library.is_none() {
        line(format!(
            "            {LIBRARY_VARIABLE} names another library, a GPU build for example"
        ))?;
    }
    for tried in &checkup.providers {
        let name = tried.provider.name();
        match &tried.result {
            Ok(()) => line(format!("provider    {name} computes")),
            Err(reason) => line(format!(
                "provider    {name} is refused: {}",
                reason.trim_end()
            )),
        }?;
    }
    match &engines.cache {
        Some(folder) => line(format!("cache       {}", folder.display())),
        None => line(
            "cache       none: neither XDG_CACHE_HOME nor HOME is set; every start compiles anew",
        ),
    }?;
    say_layers("agent host", &checkup.agent_host)?;
    say_layers("model host", &checkup.inference_host)?;
    if command.json {
        line(json!({
            "lockstep": engines.lockstep,
            "wasmtime": engines.wasmtime,
            "cores": cores,
            "kernel": kernel.trim(),
            "engine": checkup.engine.as_ref().ok().map(|engine| engine.engine.clone()),
            "engine_missing": checkup.engine.as_ref().err(),
            "providers": checkup.providers.iter().map(|tried| json!({ "name": tried.provider.name(), "computes": tried.result.is_ok(), "reason": tried.result.as_ref().err() })).collect::<Vec<_>>(),
            "agent_host": layers_json(&checkup.agent_host),
            "inference_host": layers_json(&checkup.inference_host),
        }))?;
    }
    Ok(if checkup.engine.is_ok() {
        Done::Fine
    } else {
        Done::No
    })
}

fn say_layers(who: &str, ready: &Ready) -> Result<(), Trouble> {
    ready
        .confinement
        .iter()
        .try_for_each(|layer| match &layer.missing {
            None => line(format!("{who}  {} holds", layer.name)),
            Some(reason) => line(format!("{who}  {} does not hold: {reason}", layer.name)),
        })
}

fn layers_json(ready: &Ready) -> Value {
    ready
        .confinement
        .iter()
        .map(|layer| json!({ "layer": layer.name, "missing": layer.missing }))
        .collect()
}
