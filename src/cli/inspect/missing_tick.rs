//! The refusal of a tick that a run does not have.

use crate::cli::error::CliError;
use shm_protocol::id::Tick;

/// The refusal of a tick; `last` is the last one that the run has.
pub(super) fn missing_tick(tick: Tick, last: Tick) -> CliError {
    CliError::input(format!(
        "the run has no tick {tick}; its last one is {last}"
    ))
}
