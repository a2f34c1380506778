//! `lockstep chaos --points`.

use crate::cli::error::CliError;
use crate::cli::output::line;
use shm_protocol::fault::{FaultKind, FaultPoint};

/// Lists the points at which faults can be injected, with the kinds that fit them.
pub(super) fn list() -> Result<(), CliError> {
    for point in FaultPoint::ALL {
        let kinds: Vec<&str> = FaultKind::ALL
            .iter()
            .filter(|kind| kind.fits(*point))
            .map(|kind| kind.name())
            .collect();
        line(format!("{:<26} {}", point.name(), point.what()))?;
        let processes: Vec<&str> = point
            .processes()
            .iter()
            .map(|process| process.name())
            .collect();
        line(format!(
            "{:<26} in {}, passed by the {}: {}",
            "",
            point.place(),
            processes.join(" and the "),
            kinds.join(", ")
        ))?;
    }
    Ok(())
}
