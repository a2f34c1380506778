//! Where a run is kept.

use super::edge::Trouble;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use supervisor::rundir::RunDirError;

/// The folder of runs that were given none.
const RUNS: &str = "runs";

/// Where a run is kept: where the user says, or a folder of its own, which is
/// taken away again if nothing has come into it.
pub(super) struct Place {
    dir: PathBuf,
    /// The folders that were made for it, innermost first.
    made: Vec<PathBuf>,
}

impl Place {
    /// Where the user says.
    pub(super) fn given(dir: &Path) -> Place {
        Place {
            dir: dir.to_path_buf(),
            made: Vec::new(),
        }
    }

    /// A new folder below `runs/`. Making it takes its number: of two runs that
    /// begin at once, the system gives it to one, and the other tries the next.
    ///
    /// # Errors
    /// When no folder can be made here.
    pub(super) fn reserve(fleet: &str) -> Result<Place, Trouble> {
        let mut number = 1_u64;
        let mut runs_is_ours = false;
        loop {
            let dir = Path::new(RUNS).join(format!("{fleet}-{number}"));
            match fs::create_dir(&dir) {
                Ok(()) => return Place::keep(dir, runs_is_ours),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // Also when a start that failed has taken its `runs/` away in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    runs_is_ours |= make_runs()?;
                }
                Err(source) => return Err(failed("make", &dir, source)),
            }
        }
    }

    /// Brings the new folders to the disk: what is durable in a run must not hang in the air.
    fn keep(dir: PathBuf, runs_is_ours: bool) -> Result<Place, Trouble> {
        let runs = Path::new(RUNS);
        let mut place = Place {
            dir: dir.clone(),
            made: vec![dir],
        };
        sync(runs)?;
        if runs_is_ours {
            place.made.push(runs.to_path_buf());
            sync(Path::new("."))?;
        }
        Ok(place)
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Only an empty folder can be removed so; one with a run in it stays, and that around it.
        let _ = self.made.iter().try_for_each(fs::remove_dir);
    }
}

/// Makes `runs/`; false if it was there.
fn make_runs() -> Result<bool, Trouble> {
    match fs::create_dir(RUNS) {
        Ok(()) => Ok(true),
        // A link that leads nowhere is there and is no folder.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::metadata(RUNS)
            .map(|_| false)
            .map_err(|source| failed("use", Path::new(RUNS), source)),
        Err(source) => Err(failed("make", Path::new(RUNS), source)),
    }
}

fn sync(folder: &Path) -> Result<(), Trouble> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed("sync", folder, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Trouble {
    let path = path.to_path_buf();
    RunDirError::Io {
        action,
        path,
        source,
    }
    .into()
}
