//! `lockstep diff`.

use super::arguments::DiffArguments;
use super::error::{CliError, ExitStatus};
use super::output::line;
use serde_json::json;
use supervisor::analysis::diff as journals;
use supervisor::rundir::RunDir;

/// Names the first difference between two runs.
pub(super) fn diff(command: &DiffArguments) -> Result<ExitStatus, CliError> {
    let (left, right) = (RunDir::read(&command.left)?, RunDir::read(&command.right)?);
    let difference = journals::diff(&left, &right)?;
    match &difference {
        Some(difference) => line(difference),
        None => line("the runs are equal, byte for byte"),
    }?;
    if command.json {
        line(json!({
            "equal": difference.is_none(),
            "difference": difference.as_ref().map(ToString::to_string),
            "left": command.left.to_string_lossy(),
            "right": command.right.to_string_lossy(),
        }))?;
    }
    Ok(if difference.is_some() {
        ExitStatus::Negative
    } else {
        ExitStatus::Success
    })
}
