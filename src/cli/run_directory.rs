//! The directory of a new run.

use super::error::CliError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use supervisor::rundir::RunDirError;

/// The folder of runs without `--dir`.
const RUNS: &str = "runs";

/// The directory of a new run: one that the user names, or a new one below `runs/`, which is removed again if the run
/// does not begin.
pub(super) struct RunDirectory {
    dir: PathBuf,
    /// The folders that were created for it, innermost first.
    created: Vec<PathBuf>,
}

impl RunDirectory {
    /// A directory that the user names.
    pub(super) fn named(dir: &Path) -> RunDirectory {
        RunDirectory {
            dir: dir.to_path_buf(),
            created: Vec::new(),
        }
    }

    /// A new directory below `runs/`. Creating it reserves its number: of two runs that begin at once, one gets it, and
    /// the other tries the next number.
    ///
    /// # Errors
    /// When no directory can be created here.
    pub(super) fn reserve(fleet: &str) -> Result<RunDirectory, CliError> {
        let mut number = 1_u64;
        let mut runs_is_new = false;
        loop {
            let dir = Path::new(RUNS).join(format!("{fleet}-{number}"));
            match fs::create_dir(&dir) {
                Ok(()) => return RunDirectory::keep(dir, runs_is_new),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                // Also when a start that failed has removed its `runs/` in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    runs_is_new |= create_runs()?;
                }
                Err(source) => return Err(failed("create", &dir, source)),
            }
        }
    }

    /// Syncs the new folders: a run is only as durable as the folders that lead to it.
    fn keep(dir: PathBuf, runs_is_new: bool) -> Result<RunDirectory, CliError> {
        let runs = Path::new(RUNS);
        let mut directory = RunDirectory {
            dir: dir.clone(),
            created: vec![dir],
        };
        sync(runs)?;
        if runs_is_new {
            directory.created.push(runs.to_path_buf());
            sync(Path::new("."))?;
        }
        Ok(directory)
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // Only empty folders are removed: one with a run in it stays, and so does the one around it.
        let _ = self.created.iter().try_for_each(fs::remove_dir);
    }
}

/// Creates `runs/`; false if it exists.
fn create_runs() -> Result<bool, CliError> {
    match fs::create_dir(RUNS) {
        Ok(()) => Ok(true),
        // A dangling link exists and is no folder.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::metadata(RUNS)
            .map(|_| false)
            .map_err(|source| failed("use", Path::new(RUNS), source)),
        Err(source) => Err(failed("create", Path::new(RUNS), source)),
    }
}

fn sync(folder: &Path) -> Result<(), CliError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed("sync", folder, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CliError {
    let path = path.to_path_buf();
    RunDirError::Io {
        action,
        path,
        source,
    }
    .into()
}
