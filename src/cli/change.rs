//! `lockstep change`.

use super::arguments::{Change, ToBecome};
use super::edge::{Done, Trouble};
use super::output::line;
use super::progress::Progress;
use serde_json::json;
use std::path::absolute;
use supervisor::control::{Action, ChangeRequest, request_change};
use supervisor::observer::Observer;

/// Changes a model of a run that goes on, and waits until that is journaled.
pub(super) fn change(command: &Change) -> Result<Done, Trouble> {
    let (action, became) = match &command.to {
        ToBecome::Unload => (Action::Unload, "unloaded".to_owned()),
        ToBecome::Load => (Action::Load, "loaded again".to_owned()),
        ToBecome::Replace { file, name } => {
            // The run may have been started elsewhere.
            let file = absolute(file)
                .map_err(|error| Trouble::input(format!("{}: {error}", file.display())))?;
            if file.to_str().is_none() {
                let text = "the path is not UTF-8 and cannot be passed to the run; give the file another name";
                return Err(Trouble::input(format!("{}: {text}", file.display())));
            }
            let version = name.clone();
            (Action::Replace { file, version }, format!("version {name}"))
        }
    };
    let model = command.model.clone();
    let wish = ChangeRequest { model, action };
    let mut progress = Progress::new(None, None);
    let made = request_change(&command.dir, &wish, &mut |stage| progress.stage(stage));
    progress.finish();
    let made = made?;
    for (provider, reason) in &made.refused {
        tracing::warn!("provider {provider} is refused: {reason}");
    }
    let on = made.provider.as_ref();
    let on = on.map_or_else(String::new, |provider| format!(" on {provider}"));
    line(format!(
        "model {} is {became}{on} from tick {} on",
        command.model, made.from
    ))?;
    if command.json {
        line(json!({
            "model": command.model,
            "from": made.from,
            "provider": made.provider,
            "run_dir": command.dir.to_string_lossy(),
        }))?;
    }
    Ok(Done::Fine)
}
