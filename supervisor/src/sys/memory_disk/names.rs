//! The names of a disk: those that a reader sees, those on the disk for certain, and the changes in between.

use super::content::Survivors;
use shm_protocol::random::SplitMix64;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Number of a file among the contents of a disk.
pub(super) type FileId = usize;

/// The names of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskNames {
    seen: BTreeMap<PathBuf, FileId>,
    durable: BTreeMap<PathBuf, FileId>,
    pending: Vec<(u64, NameChange)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Made {
        path: PathBuf,
        file: FileId,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        file: FileId,
    },
    Removed {
        path: PathBuf,
    },
}

impl NameChange {
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            NameChange::Made { path, .. } | NameChange::Removed { path } => {
                path.parent() == Some(folder)
            }
            NameChange::Renamed { to, .. } => to.parent() == Some(folder),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            NameChange::Made { path, file } => {
                names.insert(path.clone(), *file);
            }
            NameChange::Renamed { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Removed { path } => {
                names.remove(path);
            }
        }
    }
}

impl DiskNames {
    /// Names that are on the disk.
    pub(super) fn on_disk(names: BTreeMap<PathBuf, FileId>) -> DiskNames {
        DiskNames {
            seen: names.clone(),
            durable: names,
            pending: Vec::new(),
        }
    }

    pub(super) fn get(&self, path: &Path) -> Option<FileId> {
        self.seen.get(path).copied()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.seen.keys()
    }

    pub(super) fn make(&mut self, number: u64, path: &Path, file: FileId) {
        self.change(
            number,
            NameChange::Made {
                path: path.to_path_buf(),
                file,
            },
        );
    }

    pub(super) fn rename(&mut self, number: u64, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.get(from).ok_or(io::ErrorKind::NotFound)?;
        self.change(
            number,
            NameChange::Renamed {
                from: from.to_path_buf(),
                to: to.to_path_buf(),
                file,
            },
        );
        Ok(())
    }

    pub(super) fn remove(&mut self, number: u64, path: &Path) -> io::Result<()> {
        self.get(path).ok_or(io::ErrorKind::NotFound)?;
        self.change(
            number,
            NameChange::Removed {
                path: path.to_path_buf(),
            },
        );
        Ok(())
    }

    /// Puts a name on the disk, past every fault.
    pub(super) fn put(&mut self, path: &Path, file: FileId) {
        self.seen.insert(path.to_path_buf(), file);
        self.durable.insert(path.to_path_buf(), file);
        self.pending.retain(
            |(_, change)| !matches!(change, NameChange::Made { path: made, .. } if made == path),
        );
    }

    fn change(&mut self, number: u64, change: NameChange) {
        change.apply(&mut self.seen);
        self.pending.push((number, change));
    }

    /// Brings the changes of a folder to the disk.
    pub(super) fn sync(&mut self, folder: &Path) {
        let durable = &mut self.durable;
        self.pending.retain(|(_, change)| {
            let is_here = change.is_in(folder);
            if is_here {
                change.apply(durable);
            }
            !is_here
        });
    }

    /// The names after a power cut.
    pub(super) fn after_power_cut(
        &self,
        left: Survivors,
        random: &mut SplitMix64,
    ) -> BTreeMap<PathBuf, FileId> {
        let mut names = self.durable.clone();
        for (number, change) in &self.pending {
            let is_kept = match left {
                Survivors::Nothing => false,
                Survivors::Everything => true,
                Survivors::Before(end) => *number < end,
                Survivors::Any => random.flip(),
            };
            if is_kept {
                change.apply(&mut names);
            }
        }
        names
    }
}
