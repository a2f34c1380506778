//! The state of a disk in memory: its files, its names, and the call that fails.

use super::call::DiskCall;
use super::content::{Content, Survivors};
use super::names::{DiskNames, FileId};
use crate::sys::{input_output_error, no_space_error};
use shm_protocol::random::SplitMix64;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The way in which one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// EIO, and the call did nothing.
    Before,
    /// EIO, and the call did its work.
    After,
    /// An append takes half of the bytes and returns their number. Other calls fail as with [`DiskFault::Before`].
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

/// The state of a disk.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskState {
    pub(super) contents: Vec<Content>,
    pub(super) names: DiskNames,
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) locks: BTreeMap<PathBuf, String>,
    /// The changing calls so far, oldest first.
    pub(super) made: Vec<DiskCall>,
    /// The number of the changing call that fails, and the way.
    pub(super) fault: Option<(u64, DiskFault)>,
    /// Whether every changing call after it fails too.
    pub(super) ends: bool,
    /// Whether all calls come from one thread.
    pub(super) is_alone: bool,
}

impl DiskState {
    /// Counts a changing call and gives the way in which it fails, if it does.
    pub(super) fn count_call(&mut self, kind: DiskCall) -> Option<DiskFault> {
        let call = self.made.len() as u64;
        self.made.push(kind);
        match self.fault {
            Some((at, fault)) if at == call => Some(fault),
            Some((at, _)) if self.ends && at < call => Some(DiskFault::Before),
            _ => None,
        }
    }

    /// The number of the call that is being performed: later changes have higher ones.
    pub(super) fn number(&self) -> u64 {
        self.made.len() as u64
    }

    /// The file of a name, which is created if there is none.
    pub(super) fn named_or_new(&mut self, path: &Path) -> FileId {
        if let Some(file) = self.names.get(path) {
            return file;
        }
        let file = self.contents.len();
        self.contents.push(Content::default());
        self.names.make(self.number(), path, file);
        file
    }

    /// The state with what a power cut leaves.
    pub(super) fn after_power_cut(
        &self,
        [of_names, of_contents]: [Survivors; 2],
        random: &mut SplitMix64,
    ) -> DiskState {
        let names = DiskNames::on_disk(self.names.after_power_cut(of_names, random));
        let mut cut =
            |content: &Content| Content::on_disk(content.after_power_cut(of_contents, random));
        DiskState {
            contents: self.contents.iter().map(&mut cut).collect(),
            names,
            folders: self.folders.clone(),
            is_alone: self.is_alone,
            ..DiskState::default()
        }
    }
}

/// The state of a disk, shared by the disk, its open files and its locks.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedDiskState {
    state: Arc<Mutex<DiskState>>,
}

impl SharedDiskState {
    pub(super) fn new(state: DiskState) -> SharedDiskState {
        SharedDiskState {
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs a changing call, or makes it fail.
    pub(super) fn change<T>(
        &self,
        kind: DiskCall,
        call: impl FnOnce(&mut DiskState) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        match state.count_call(kind) {
            None => call(&mut state),
            Some(DiskFault::After) => call(&mut state).and_then(|_| Err(input_output_error())),
            Some(DiskFault::NoSpace) => Err(no_space_error()),
            Some(DiskFault::Before | DiskFault::Short) => Err(input_output_error()),
        }
    }
}
