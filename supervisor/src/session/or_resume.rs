//! Beginning a run or resuming it: what a service asks for, which is started with the same command after every end.

use crate::error::RunError;
use crate::fleet::Fleet;
use crate::journal::{JournalReader, holds_run};
use crate::launch::{Builtin, Manifest};
use crate::rundir::RunDir;
use std::path::Path;

/// True if the directory holds a run of this fleet, which can be resumed; false if no run has begun there.
///
/// # Errors
/// [`RunError::OtherFleet`] if it holds a run of another fleet; also when the directory or a part of the fleet cannot be
/// read.
pub fn is_resumable(dir: &Path, fleet: &Fleet, builtin: Builtin<'_>) -> Result<bool, RunError> {
    if !holds_run(dir)? {
        return Ok(false);
    }
    let run_dir = RunDir::read(dir)?;
    let (header, _) = JournalReader::open(&run_dir)?;
    let isolated = run_dir.launch()?.isolated;
    let recorded = Manifest::from_run(&header, &run_dir, &isolated, false)?;
    let present = Manifest::from_fleet(fleet, builtin)?;
    match present.difference(&recorded) {
        None => Ok(true),
        Some(what) => Err(RunError::OtherFleet {
            path: dir.to_path_buf(),
            what,
        }),
    }
}
