//! `lockstep verify`.

use super::arguments::VerifyArguments;
use super::error::{CliError, ExitStatus};
use super::output::line;
use serde_json::json;
use supervisor::journal;
use supervisor::record::hex;
use supervisor::rundir::RunDir;

/// Checks a run directory without executing anything.
pub(super) fn verify(command: &VerifyArguments) -> Result<ExitStatus, CliError> {
    let run = RunDir::read(&command.dir)?;
    let verified = match journal::verify(&run) {
        Ok(verified) => verified,
        Err(error) => {
            let error = CliError::from(error);
            if command.json {
                line(json!({
                    "verifies": false,
                    "reason": error.message(),
                    "run_dir": command.dir.to_string_lossy(),
                }))?;
            }
            return Err(error);
        }
    };
    line(verified.to_string().trim_end())?;
    if command.json {
        line(json!({
            "verifies": true,
            "ticks": verified.ticks.0,
            "chain": hex(&verified.chain).to_string(),
            "run_id": verified.run_id.to_string(),
            "sealed": verified.sealed.map(|reason| format!("{reason:?}").to_lowercase()),
            "torn": verified.torn.as_ref().map(ToString::to_string),
            "bytes": verified.bytes,
            "outbox_lines": verified.outbox_lines,
            "run_dir": command.dir.to_string_lossy(),
        }))?;
    }
    Ok(ExitStatus::Success)
}
