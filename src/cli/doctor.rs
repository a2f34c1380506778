//! `lockstep doctor`.

use super::arguments::DoctorArguments;
use super::engine_config::{self, LIBRARY_VARIABLE};
use super::error::{CliError, ExitStatus};
use super::output::line;
use super::stop_signals;
use serde_json::{Value, json};
use shm_protocol::agent_to_supervisor::Ready;
use supervisor::launch;

/// Reports what this machine offers, by starting one host of each kind.
pub(super) fn doctor(command: &DoctorArguments) -> Result<ExitStatus, CliError> {
    let engines = engine_config::engines()?;
    let stop = stop_signals::install()?;
    let checkup = launch::check_hosts(&engines, stop)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = supervisor::sys::kernel_release().unwrap_or_default();
    line(format!(
        "lockstep    {} with wasmtime {}",
        engines.lockstep, engines.wasmtime
    ))?;
    line(format!(
        "machine     {} cores, Linux {}, {}",
        cores,
        kernel,
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
            "            set {LIBRARY_VARIABLE} to use another library, such as a GPU build"
        ))?;
    }
    for tried in &checkup.providers {
        let name = tried.provider.name();
        match &tried.result {
            Ok(()) => line(format!("provider    {name}: ok")),
            Err(reason) => line(format!(
                "provider    {name}: refused: {}",
                reason.trim_end()
            )),
        }?;
    }
    match &engines.cache {
        Some(folder) => line(format!("cache       {}", folder.display())),
        None => line(
            "cache       none: set XDG_CACHE_HOME or HOME, or every start compiles the agents again",
        ),
    }?;
    show_layers("agent host    ", &checkup.agent_host)?;
    show_layers("inference host", &checkup.inference_host)?;
    if command.json {
        line(json!({
            "lockstep": engines.lockstep,
            "wasmtime": engines.wasmtime,
            "cores": cores,
            "kernel": kernel.trim(),
            "engine": checkup.engine.as_ref().ok().map(|engine| engine.engine.clone()),
            "engine_missing": checkup.engine.as_ref().err(),
            "providers": checkup.providers.iter().map(|tried| json!({ "name": tried.provider.name(), "ok": tried.result.is_ok(), "reason": tried.result.as_ref().err() })).collect::<Vec<_>>(),
            "agent_host": layers_json(&checkup.agent_host),
            "inference_host": layers_json(&checkup.inference_host),
        }))?;
    }
    Ok(if checkup.engine.is_ok() {
        ExitStatus::Success
    } else {
        ExitStatus::Negative
    })
}

fn show_layers(host: &str, ready: &Ready) -> Result<(), CliError> {
    ready
        .confinement
        .iter()
        .try_for_each(|layer| match &layer.missing {
            None => line(format!("{host}  {}: ok", layer.name)),
            Some(reason) => line(format!("{host}  {}: missing: {reason}", layer.name)),
        })
}

fn layers_json(ready: &Ready) -> Value {
    ready
        .confinement
        .iter()
        .map(|layer| json!({ "layer": layer.name, "missing": layer.missing }))
        .collect()
}
