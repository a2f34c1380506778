//! The directory of one run: lock, journal, objects, checkpoints, outbox, events.
//!
//! | name | what |
//! | --- | --- |
//! | `lock` | held by the process that writes, with its process id |
//! | `journal/` | the record of the run, see [`crate::journal`] |
//! | `objects/` | components and models under their digests |
//! | `outbox.jsonl` | the outputs of agents, see [`outbox`] |
//! | `checkpoints/` | saved states of the agents, see [`crate::checkpoint`] |
//! | `events.jsonl` | events around the run, see [`events`] |
//! | `faults.toml` | the plan of injected faults, if there is one |
//! | `synced` | the sync marker of the journal |
//! | `launch.json` | the settings of the launch, see [`LaunchSettings`] |
//!
//! A writer holds the lock; a reader needs none, also while the run is active.

mod error;
pub mod events;
mod files;
mod launch;
mod objects;
pub mod outbox;

pub use error::{RunDirError, RunState};
pub use events::{EventLog, RunEvent};
pub use launch::{BoundOverrides, LaunchSettings};
pub use outbox::{Outbox, OutboxMark};

use crate::faults::{DiskSwitch, FaultPlan, FaultyDisk};
use crate::sys::disk::{Disk, Guard, Locking, RealDisk, process_claim};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";
const JOURNAL: &str = "journal";
const OBJECTS: &str = "objects";
const OUTBOX: &str = "outbox.jsonl";
const LAUNCH: &str = "launch.json";
const CHECKPOINTS: &str = "checkpoints";
const EVENTS: &str = "events.jsonl";
const FAULTS: &str = "faults.toml";
const SYNCED: &str = "synced";
/// The names in a run directory.
const OWN: [&str; 9] = [
    CHECKPOINTS,
    EVENTS,
    FAULTS,
    JOURNAL,
    LAUNCH,
    LOCK,
    OBJECTS,
    OUTBOX,
    SYNCED,
];
/// The ending of the name of a file until it is whole.
const UNFINISHED: &str = ".unfinished";

/// The directory of one run. Clones share the lock.
#[derive(Clone, Debug)]
pub struct RunDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    lock: Option<Arc<dyn Guard>>,
    /// The folders that were made for this run: its own, then those around it.
    created: Vec<PathBuf>,
}

impl RunDir {
    /// Takes a directory for a new run: makes it if it is missing, and locks it. The journal then checks that it holds
    /// no run, before [`RunDir::lay_out`].
    ///
    /// # Errors
    /// When it holds something else than a run, is in use, or cannot be made.
    pub fn claim(disk: Arc<dyn Disk>, path: &Path) -> Result<RunDir, RunDirError> {
        refuse_foreign(&*disk, path)?;
        let created = missing(&*disk, path);
        disk.create_dir(path)
            .map_err(RunDirError::io("make", path))?;
        RunDir {
            disk,
            path: path.to_path_buf(),
            lock: None,
            created,
        }
        .locked()
    }

    /// Removes the files of a run that never began, and makes the folders of a new one.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn lay_out(self) -> Result<RunDir, RunDirError> {
        self.clear()?;
        for folder in self.folders() {
            self.disk
                .create_dir(&folder)
                .map_err(RunDirError::io("make", &folder))?;
        }
        self.sync_folder(&self.path)?;
        for parent in self.created.iter().filter_map(|folder| folder.parent()) {
            let is_here = parent.as_os_str().is_empty();
            self.sync_folder(if is_here { Path::new(".") } else { parent })?;
        }
        Ok(self)
    }

    /// Takes the lock of an existing run, to resume it.
    ///
    /// # Errors
    /// When there is no run, or it is in use.
    pub fn open(path: &Path) -> Result<RunDir, RunDirError> {
        RunDir::read(path)?.locked()
    }

    /// As [`RunDir::open`], on any disk.
    ///
    /// # Errors
    /// As [`RunDir::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<RunDir, RunDirError> {
        RunDir::read_on(disk, path)?.locked()
    }

    /// Opens an existing run to read. It may be active.
    ///
    /// # Errors
    /// When there is no run.
    pub fn read(path: &Path) -> Result<RunDir, RunDirError> {
        RunDir::read_on(Arc::new(RealDisk), path)
    }

    /// As [`RunDir::read`], on any disk.
    ///
    /// # Errors
    /// As [`RunDir::read`].
    pub fn read_on(disk: Arc<dyn Disk>, path: &Path) -> Result<RunDir, RunDirError> {
        let run = RunDir {
            disk,
            path: path.to_path_buf(),
            lock: None,
            created: Vec::new(),
        };
        match run.disk.list(&run.journal()) {
            Ok(_) => Ok(run),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(RunDirError::NotARun { path: run.path })
            }
            Err(source) if source.kind() == io::ErrorKind::NotADirectory => {
                Err(RunDirError::NotARun { path: run.path })
            }
            Err(source) => Err(RunDirError::Io {
                action: "read",
                path: run.journal(),
                source,
            }),
        }
    }

    /// Removes a run, so that a failed start leaves nothing behind. Only the journal calls it, which knows that there
    /// are no ticks: see [`crate::journal::discard_run_dir`].
    ///
    /// # Errors
    /// When something cannot be removed.
    ///
    /// # Panics
    /// Without the lock.
    pub(crate) fn discard(self) -> Result<(), RunDirError> {
        assert!(
            self.lock.is_some(),
            "only who holds the lock may discard a run"
        );
        self.clear()?;
        for folder in self.folders() {
            self.disk
                .remove_dir(&folder)
                .map_err(RunDirError::io("remove", &folder))?;
        }
        // Safe while the lock is held: a process that takes it checks that the file still has its name.
        let lock = self.path.join(LOCK);
        self.disk
            .remove_file(&lock)
            .map_err(RunDirError::io("remove", &lock))?;
        let Some((own, around)) = self.created.split_first() else {
            return Ok(());
        };
        self.disk
            .remove_dir(own)
            .map_err(RunDirError::io("remove", own))?;
        // Another run may have begun in one of these since, and then needs it.
        let _ = around
            .iter()
            .try_for_each(|folder| self.disk.remove_dir(folder));
        Ok(())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The folder of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// The file of the outbox.
    #[must_use]
    pub fn outbox(&self) -> PathBuf {
        self.path.join(OUTBOX)
    }

    /// The folder of the checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// The file of the sync marker.
    #[must_use]
    pub fn synced(&self) -> PathBuf {
        self.path.join(SYNCED)
    }

    /// The file of the events.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.path.join(EVENTS)
    }

    /// True if this process may write.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    fn objects(&self) -> PathBuf {
        self.path.join(OBJECTS)
    }

    fn folders(&self) -> [PathBuf; 3] {
        [self.journal(), self.objects(), self.checkpoints()]
    }

    pub(crate) fn locked(mut self) -> Result<RunDir, RunDirError> {
        let lock = self.path.join(LOCK);
        match self
            .disk
            .lock(&lock, &process_claim())
            .map_err(RunDirError::io("lock", &lock))?
        {
            Locking::Held(guard) => self.lock = Some(guard.into()),
            Locking::InUse(claim) => {
                return Err(RunDirError::InUse {
                    path: self.path,
                    holder: claim.lines().next().unwrap_or("").to_owned(),
                });
            }
        }
        Ok(self)
    }

    /// The same directory, written through a disk with injected faults.
    #[must_use]
    pub fn with_disk_faults(mut self, switch: &DiskSwitch) -> RunDir {
        self.disk = Arc::new(FaultyDisk::new(self.disk, switch.clone()));
        self
    }

    /// Stores the fault plan.
    ///
    /// # Errors
    /// When it cannot be written.
    ///
    /// # Panics
    /// Without the lock.
    pub fn put_faults(&self, plan: &FaultPlan) -> Result<(), RunDirError> {
        self.put_file(&self.path.join(FAULTS), plan.to_toml().as_bytes())
    }

    /// The file of the fault plan and its text, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn faults(&self) -> Result<Option<(PathBuf, String)>, RunDirError> {
        let path = self.path.join(FAULTS);
        let failed = RunDirError::io("read", &path);
        match self.get_file(&path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(io::Error::other);
                Ok(Some((path.clone(), text.map_err(failed)?)))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// Removes the files of a failed start.
    fn clear(&self) -> Result<(), RunDirError> {
        let mut left = self.files_in(&self.journal())?;
        left.extend(self.files_in(&self.objects())?);
        left.extend(self.files_in(&self.checkpoints())?);
        left.extend(self.files_in(&self.path)?.into_iter().filter(|file| {
            [
                OUTBOX,
                EVENTS,
                FAULTS,
                LAUNCH,
                SYNCED,
                &format!("{FAULTS}{UNFINISHED}"),
                &format!("{LAUNCH}{UNFINISHED}"),
            ]
            .iter()
            .any(|name| file.ends_with(name))
        }));
        left.iter().try_for_each(|file| {
            self.disk
                .remove_file(file)
                .map_err(RunDirError::io("remove", file))
        })
    }
}

/// The missing folders of a path, innermost first.
fn missing(disk: &dyn Disk, path: &Path) -> Vec<PathBuf> {
    let is_missing = |folder: &&Path| {
        folder.parent().is_some()
            && disk
                .list(folder)
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    path.ancestors()
        .take_while(is_missing)
        .map(Path::to_path_buf)
        .collect()
}

/// Refuses a directory with an entry that no run has made.
fn refuse_foreign(disk: &dyn Disk, path: &Path) -> Result<(), RunDirError> {
    let names = match disk.list(path) {
        Ok(names) => names,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(RunDirError::Io {
                action: "read",
                path: path.to_path_buf(),
                source,
            });
        }
    };
    let own = |name: &str| OWN.contains(&name.strip_suffix(UNFINISHED).unwrap_or(name));
    // Beside a journal, a foreign file is not refused here: the error that the directory holds a run follows.
    match names.iter().find(|name| !own(name)) {
        Some(entry) if !names.iter().any(|name| name == JOURNAL) => Err(RunDirError::NotEmpty {
            path: path.to_path_buf(),
            entry: entry.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
