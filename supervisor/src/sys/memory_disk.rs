//! The in-memory twin of the disk: the same interface, a fault at any call, and
//! power cuts.
//!
//! A file has the bytes that were written and those that a sync has made durable;
//! a folder likewise has names and durable names. [`MemoryDisk::after_power_cut`]
//! is the disk with only the durable part of both,
//! [`MemoryDisk::after_power_cut_with`] one with some of the rest, chosen by a
//! seed. A sync that fails loses the bytes that it should have made durable, and
//! a second one would succeed.

mod call;
mod content;
mod file;
mod names;
mod state;

pub use call::DiskCall;
pub use state::DiskFault;

use super::disk::{Disk, File, Guard, Locking};
use content::{Content, Survivors};
use file::MemoryFile;
use names::FileId;
use shm_protocol::random::SplitMix64;
use state::{DiskState, SharedDiskState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: SharedDiskState,
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

    /// Makes the changing call number `call` fail, counted from zero over the disk's life.
    pub fn fail_call(&self, call: u64, fault: DiskFault) {
        let mut state = self.state.lock();
        (state.fault, state.ends) = (Some((call, fault)), false);
    }

    /// As [`MemoryDisk::fail_call`], and no changing call after it does anything, as if the caller had died there.
    pub fn crash_at(&self, call: u64, fault: DiskFault) {
        let mut state = self.state.lock();
        (state.fault, state.ends) = (Some((call, fault)), true);
    }

    /// The number of changing calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.lock().made.len() as u64
    }

    /// The changing calls so far, oldest first.
    #[must_use]
    pub fn made(&self) -> Vec<DiskCall> {
        self.state.lock().made.clone()
    }

    /// Another disk with the least that a power cut now would leave: only what was synced.
    #[must_use]
    pub fn after_power_cut(&self) -> MemoryDisk {
        let state = self.state.lock();
        MemoryDisk::holding(state.after_power_cut([Survivors::Nothing; 2], &mut SplitMix64::new(0)))
    }

    /// Another disk with what a power cut now may leave: of the changes that were not synced, a seed chooses those that are
    /// kept, lost, torn, or kept without earlier ones.
    #[must_use]
    pub fn after_power_cut_with(&self, seed: u64) -> MemoryDisk {
        let state = self.state.lock();
        let mut random = SplitMix64::new(seed);
        let calls = state.made.len();
        let left = [(); 2].map(|()| match random.index(5) {
            0 => Survivors::Nothing,
            1 => Survivors::Everything,
            2 => Survivors::Before(random.index(calls + 1) as u64),
            _ => Survivors::Any,
        });
        MemoryDisk::holding(state.after_power_cut(left, &mut random))
    }

    /// Another disk with what the end of every process now would leave: everything but the locks.
    #[must_use]
    pub fn after_process_death(&self) -> MemoryDisk {
        let state = self.state.lock();
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
        let state = self.state.lock();
        let file = state.names.get(path)?;
        Some(state.contents[file].bytes.clone())
    }

    /// Sets the bytes of a file, past every fault. For tests that damage one.
    pub fn write(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let file = state.named_or_new(path);
        state.contents[file] = Content::on_disk(bytes.to_vec());
        state.names.put(path, file);
    }

    fn holding(state: DiskState) -> MemoryDisk {
        MemoryDisk {
            state: SharedDiskState::new(state),
        }
    }

    fn open(&self, file: FileId) -> Arc<dyn File> {
        Arc::new(MemoryFile {
            state: self.state.clone(),
            file,
        })
    }
}

impl Disk for MemoryDisk {
    fn has_threads(&self) -> bool {
        !self.state.lock().is_alone
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.state.change(DiskCall::CreateDir, |state| {
            let new = !state.folders.contains(path);
            state
                .folders
                .extend(path.ancestors().map(Path::to_path_buf));
            Ok(new)
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
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
        self.state
            .change(DiskCall::Create, create)
            .map(|file| self.open(file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.state
            .change(DiskCall::Open, |state| Ok(state.named_or_new(path)))
            .map(|file| self.open(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_append(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self.state.lock().names.get(path);
        file.map(|file| self.open(file)).ok_or_else(not_found_error)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.change(DiskCall::Rename, |state| {
            let number = state.number();
            state.names.rename(number, from, to)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.change(DiskCall::Remove, |state| {
            let number = state.number();
            state.names.remove(number, path)
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.state.change(DiskCall::RemoveDir, |state| {
            if state.folders.remove(path) {
                Ok(())
            } else {
                Err(not_found_error())
            }
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.state.change(DiskCall::SyncDir, |state| {
            state.names.sync(path);
            Ok(())
        })
    }

    fn lock(&self, path: &Path, claim: &str) -> io::Result<Locking> {
        let claimed = self.state.change(DiskCall::Lock, |state| {
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
                state: self.state.clone(),
                path: path.to_path_buf(),
            }))
        };
        Ok(claimed.map_or_else(guard, Locking::InUse))
    }
}

#[derive(Debug)]
struct MemoryLock {
    state: SharedDiskState,
    path: PathBuf,
}

impl Guard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

fn not_found_error() -> io::Error {
    io::ErrorKind::NotFound.into()
}

#[cfg(test)]
mod tests;
