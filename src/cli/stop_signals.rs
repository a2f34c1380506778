//! SIGINT and SIGTERM, which end a command in good order.

use super::error::CliError;
use supervisor::host::StopSignals;

/// Handles the signals from now on.
pub(super) fn install() -> Result<StopSignals, CliError> {
    StopSignals::install()
        .map_err(|error| CliError::machine(format!("cannot handle SIGINT and SIGTERM: {error}")))
}
