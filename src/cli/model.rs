//! `lockstep model`.

use super::arguments::{ModelArguments, ModelSubcommand, ModelTarget};
use super::error::{CliError, ExitStatus};
use super::output::line;
use super::progress::RunProgress;
use serde_json::json;
use std::path::absolute;
use supervisor::control::{ChangeRequest, request_change};
use supervisor::observer::Observer;
use supervisor::record::{ModelChange, NewVersion};

/// Changes a model of an active run, and waits until the change is journaled.
pub(super) fn model(command: &ModelArguments) -> Result<ExitStatus, CliError> {
    let ModelTarget { dir, model } = command.action.target();
    let (action, state) = match &command.action {
        ModelSubcommand::Unload(_) => (ModelChange::Unload, "unloaded".to_owned()),
        ModelSubcommand::Load(_) => (ModelChange::Load, "loaded again".to_owned()),
        ModelSubcommand::Replace { file, version, .. } => {
            // The run may have another working directory.
            let file = absolute(file).map_err(|error| CliError::io(file.display(), &error))?;
            if file.to_str().is_none() {
                let text = "the path is not UTF-8 and cannot be passed to the run; rename the file";
                return Err(CliError::input(format!("{}: {text}", file.display())));
            }
            let version = version.clone();
            let state = format!("version {version}");
            (ModelChange::Replace(NewVersion { file, version }), state)
        }
    };
    let request = ChangeRequest {
        model: model.clone(),
        action,
    };
    let mut progress = RunProgress::new(None, None);
    let applied = request_change(dir, &request, &mut |stage| progress.stage(stage));
    progress.finish();
    let applied = applied?;
    for (provider, reason) in &applied.refused {
        tracing::warn!("provider {provider} is refused: {reason}");
    }
    let on = applied.provider.as_ref();
    let on = on.map_or_else(String::new, |provider| format!(" on {provider}"));
    line(format!(
        "model {model} is {state}{on} from tick {}",
        applied.from
    ))?;
    if command.json {
        line(json!({
            "model": model,
            "from": applied.from,
            "provider": applied.provider,
            "run_dir": dir.to_string_lossy(),
        }))?;
    }
    Ok(ExitStatus::Success)
}

/// Refuses `lockstep change` and names its successor.
pub(super) fn former_change() -> CliError {
    CliError::input(
        "`lockstep change` is now `lockstep model`; write `lockstep model replace RUN MODEL FILE --version NAME`, \
         `lockstep model unload RUN MODEL` or `lockstep model load RUN MODEL`",
    )
}
