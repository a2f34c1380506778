//! The in-memory twin of the disk: the same interface, a fault at any call, and
//! power cuts.
//!
//! A file has what was written and what of it a sync has made durable; a folder
//! likewise has names and durable names. [`MemoryDisk::after_power_cut`] is the
//! disk with only the durable part of both, [`MemoryDisk::after_power_cut_with`]
//! one with some of the rest, as a seed decides. A sync that fails loses what it
//! should have kept, and a second one would say that all is well.

#![forbid(unsafe_code)]

mod call;
mod chance;
mod content;
mod file;
mod names;

pub use call::DiskCall;

use super::disk::{Disk, File, Guard, Locking};
use chance::Chance;
use content::{Content, Survivors};
use file::MemoryFile;
use names::{DiskNames, FileId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<DiskState>>,
}

/// How one call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// EIO, and nothing happened.
    Before,
    /// EIO, and it happened.
    After,
    /// An append takes half of the bytes and says so. Other calls fail as with [`Fault::Before`].
    Short,
    /// ENOSPC; an append leaves half of the bytes behind all the same.
    NoSpace,
}

impl DiskFault {
    /// Every way.
    pub const ALL: [DiskFault; 4] = [
        DiskFault::Before,
        DiskFault::After,
        DiskFault::Short,
        DiskFault::NoSpace,
    ];
}

#[derive(Clone, Debug, Default)]
struct DiskState {
    contents: Vec<Content>,
    names: DiskNames,
    folders: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, String>,
    /// The changing calls so far, oldest first.
    made: Vec<DiskCall>,
    fault: Option<(u64, DiskFault)>,
    /// Whether every call after the one that goes wrong does so too.
    ends: bool,
    /// Whether all calls come from one thread.
    is_alone: bool,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// An empty disk on which every call comes in the same order each time, as [`Disk::has_threads`] says.
    #[must_use]
    pub fn for_one_thread() -> MemoryDisk {
        MemoryDisk::holding(DiskState {
            is_alone: true,
            ..DiskState::default()
        })
    }

    /// Makes the changing call number `call`, counted from zero over the disk's life, go wrong.
    pub fn fail_call(&self, call: u64, fault: DiskFault) {
        let mut state = self.state();
        (state.fault, state.ends) = (Some((call, fault)), false);
    }

    /// As [`MemoryDisk::fail_call`], and no changing call after it does anything: as if whoever calls had died there.
    pub fn crash_at(&self, call: u64, fault: DiskFault) {
        let mut state = self.state();
        (state.fault, state.ends) = (Some((call, fault)), true);
    }

    /// How many changing calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().made.len() as u64
    }

    /// The changing calls so far, oldest first.
    #[must_use]
    pub fn made(&self) -> Vec<DiskCall> {
        self.state().made.clone()
    }

    /// Another disk with what a power cut now would leave at worst: nothing that was not synced.
    #[must_use]
    pub fn after_power_cut(&self) -> MemoryDisk {
        let state = self.state();
        state.after_power_cut([Survivors::Nothing; 2], &mut Chance::new(0))
    }

    /// Another disk with what a power cut now may leave: of what was not synced, a seed decides what is kept, lost, torn
    /// and there without what was written before it.
    #[must_use]
    pub fn after_power_cut_with(&self, seed: u64) -> MemoryDisk {
        let state = self.state();
        let mut chance = Chance::new(seed);
        let calls = state.made.len();
        let left = [(); 2].map(|()| match chance.below(5) {
            0 => Survivors::Nothing,
            1 => Survivors::Everything,
            2 => Survivors::Before(chance.below(calls + 1) as u64),
            _ => Survivors::Any,
        });
        state.after_power_cut(left, &mut chance)
    }

    /// Another disk with what the death of every process now would leave: everything but the locks.
    #[must_use]
    pub fn after_process_death(&self) -> MemoryDisk {
        let state = self.state();
        MemoryDisk::holding(DiskState {
            contents: state.contents.clone(),
            names: state.names.clone(),
            folders: state.folders.clone(),
            // Changes that are not durable keep their numbers, and new ones come after them.
            made: state.made.clone(),
            is_alone: state.is_alone,
            ..DiskState::default()
        })
    }

    /// The bytes of a file.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(path)?;
        Some(state.contents[file].bytes.clone())
    }

    /// Sets the bytes of a file, past every fault. For tests that damage one.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.named_or_new(path);
        state.contents[file] = Content::on_disk(bytes.to_vec());
        state.names.put(path, file);
    }

    fn holding(state: DiskState) -> MemoryDisk {
        MemoryDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open(&self, file: FileId) -> Arc<dyn File> {
        Arc::new(MemoryFile {
            disk: self.clone(),
            file,
        })
    }

    /// Performs a changing call, or fails it.
    fn change<T>(
        &self,
        kind: DiskCall,
        call: impl FnOnce(&mut DiskState) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        match state.count_call(kind) {
            None => call(&mut state),
            Some(DiskFault::After) => call(&mut state).and_then(|_| Err(input_output_error())),
            Some(DiskFault::NoSpace) => Err(no_space_error()),
            Some(DiskFault::Before | DiskFault::Short) => Err(input_output_error()),
        }
    }
}

impl DiskState {
    /// Counts a changing call and says how it goes wrong, if it does.
    fn count_call(&mut self, kind: DiskCall) -> Option<DiskFault> {
        let call = self.made.len() as u64;
        self.made.push(kind);
        match self.fault {
            Some((at, fault)) if at == call => Some(fault),
            Some((at, _)) if self.ends && at < call => Some(DiskFault::Before),
            _ => None,
        }
    }

    /// The number of the call that is being performed: later changes have higher ones.
    fn number(&self) -> u64 {
        self.made.len() as u64
    }

    fn named_or_new(&mut self, path: &Path) -> FileId {
        if let Some(file) = self.names.get(path) {
            return file;
        }
        let file = self.contents.len();
        self.contents.push(Content::default());
        self.names.make(self.number(), path, file);
        file
    }

    fn after_power_cut(
        &self,
        [of_names, of_contents]: [Survivors; 2],
        chance: &mut Chance,
    ) -> MemoryDisk {
        let names = DiskNames::on_disk(self.names.after_power_cut(of_names, chance));
        let mut cut =
            |content: &Content| Content::on_disk(content.after_power_cut(of_contents, chance));
        MemoryDisk::holding(DiskState {
            contents: self.contents.iter().map(&mut cut).collect(),
            names,
            folders: self.folders.clone(),
            is_alone: self.is_alone,
            ..DiskState::default()
        })
    }
}

impl Disk for MemoryDisk {
    fn has_threads(&self) -> bool {
        !self.state().is_alone
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.change(DiskCall::CreateDir, |state| {
            let new = !state.folders.contains(path);
            state
                .folders
                .extend(path.ancestors().map(Path::to_path_buf));
            Ok(new)
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.folders.contains(path) {
            return Err(not_found_error());
        }
        let inside = state
            .names
            .paths()
            .chain(&state.folders)
            .filter(|inside| inside.parent() == Some(path));
        let mut names: Vec<String> = inside
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let create = |state: &mut DiskState| match state.names.get(path) {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(state.named_or_new(path)),
        };
        self.change(DiskCall::Create, create)
            .map(|file| self.open(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.change(DiskCall::Open, |state| Ok(state.named_or_new(path)))
            .map(|file| self.open(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_append(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self.state().names.get(path);
        file.map(|file| self.open(file)).ok_or_else(not_found_error)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(DiskCall::Rename, |state| {
            let number = state.number();
            state.names.rename(number, from, to)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::Remove, |state| {
            let number = state.number();
            state.names.remove(number, path)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::RemoveDir, |state| {
            if state.folders.remove(path) {
                Ok(())
            } else {
                Err(not_found_error())
            }
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change(DiskCall::SyncDir, |state| {
            state.names.sync(path);
            Ok(())
        })
    }

    fn lock(&self, path: &Path, claim: &str) -> io::Result<Locking> {
        let claimed = self.change(DiskCall::Lock, |state| {
            let claimed = state.locks.get(path).cloned();
            if claimed.is_none() {
                let file = state.named_or_new(path);
                let number = state.number();
                state.contents[file].set_length(number, 0);
                state.contents[file].write(number, 0, claim.as_bytes());
                state.locks.insert(path.to_path_buf(), claim.to_owned());
            }
            Ok(claimed)
        })?;
        // The guard is made outside of the call, because dropping it takes the state again.
        let guard = || {
            Locking::Held(Box::new(MemoryLock {
                disk: self.clone(),
                path: path.to_path_buf(),
            }))
        };
        Ok(claimed.map_or_else(guard, Locking::InUse))
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Guard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

fn input_output_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

fn no_space_error() -> io::Error {
    rustix::io::Errno::NOSPC.into()
}

fn not_found_error() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests;
