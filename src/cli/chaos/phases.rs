//! `lockstep chaos --phases`.

use crate::cli::edge::Trouble;
use crate::cli::output::line;
use shm_protocol::fault::{FaultKind, FaultPoint};

/// Says every point at which faults can be injected, and which.
pub(super) fn list() -> Result<(), Trouble> {
    for phase in FaultPoint::ALL {
        let kinds: Vec<&str> = FaultKind::ALL
            .iter()
            .filter(|kind| kind.fits(*phase))
            .map(|kind| kind.name())
            .collect();
        line(format!("{:<26} {}", phase.name(), phase.what()))?;
        let processes: Vec<&str> = phase
            .processes()
            .iter()
            .map(|process| process.name())
            .collect();
        line(format!(
            "{:<26} in {}, passed by the {}: {}",
            "",
            phase.place(),
            processes.join(" and the "),
            kinds.join(", ")
        ))?;
    }
    Ok(())
}
