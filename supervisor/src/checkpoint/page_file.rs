//! Files of pages, shared by agents and checkpoints. They are only appended to, so that a named page keeps its
//! location.

use super::error::CheckpointError;
use super::manifest::PageLocation;
use crate::planted::{Bug, planted};
use crate::record::Digest;
use crate::sys::disk::{Disk, File, read_fully};
use crate::sys::no_space_error;
use shm_protocol::agent_state::PAGE_BYTES;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The ending of the names of page files.
const ENDING: &str = ".pages";

/// The name of a page file.
pub(super) fn name(number: u32) -> String {
    format!("{number:08}{ENDING}")
}

/// The number of a page file with this name.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_suffix(ENDING)?.parse().ok()
}

/// The page file that is appended to, and the pages that need not be written again.
#[derive(Debug)]
pub(super) struct PageFileWriter {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    number: u32,
    file: Option<Arc<dyn File>>,
    slots: u32,
    known: BTreeMap<Digest, PageLocation>,
    /// Pages that wait to be written together.
    waiting: Vec<u8>,
    is_dirty: bool,
    /// Bytes of the page files among which live pages are.
    bytes: u64,
}

impl PageFileWriter {
    /// A writer whose first file has this number, which no other file has; the existing files have `bytes`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        number: u32,
        bytes: u64,
    ) -> PageFileWriter {
        PageFileWriter {
            folder: folder.to_path_buf(),
            disk,
            number,
            file: None,
            slots: 0,
            known: BTreeMap::new(),
            waiting: Vec::new(),
            is_dirty: false,
            bytes,
        }
    }

    /// Bytes of the page files among which live pages are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins another page file, to which all live pages are moved.
    pub(super) fn begin_compaction(&mut self) {
        self.begin_another();
        self.bytes = 0;
    }

    /// Stores a page, or finds it among the stored ones. It can be read after [`PageFileWriter::flush`].
    pub(super) fn put(&mut self, page: &[u8]) -> PageLocation {
        let digest = *blake3::hash(page).as_bytes();
        if let Some(at) = self.find(&digest) {
            return at;
        }
        let at = PageLocation {
            page_file: self.number,
            slot: self.slots,
            digest,
        };
        self.slots += 1;
        self.bytes += PAGE_BYTES as u64;
        self.waiting.extend_from_slice(page);
        self.known.insert(digest, at);
        at
    }

    /// The location of a page among those that need not be written again.
    pub(super) fn find(&self, digest: &Digest) -> Option<PageLocation> {
        self.known.get(digest).copied()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Writes the waiting pages. After an error, none of them is stored.
    pub(super) fn flush(&mut self) -> Result<(), CheckpointError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.write();
        self.waiting.clear();
        if written.is_err() {
            // The content of the file after a failed write is unknown.
            self.begin_another();
        }
        written
    }

    fn write(&mut self) -> Result<(), CheckpointError> {
        let path = self.folder.join(name(self.number));
        let failed = CheckpointError::io("write", &path);
        let file = match &self.file {
            Some(file) => file,
            None => self
                .file
                .insert(self.disk.create_new(&path).map_err(&failed)?),
        };
        let bytes = file.append(&self.waiting).map_err(&failed)?;
        if bytes < self.waiting.len() {
            return Err(failed(no_space_error()));
        }
        self.is_dirty = true;
        Ok(())
    }

    /// Syncs the written pages to the disk.
    pub(super) fn sync(&mut self) -> Result<(), CheckpointError> {
        let Some(file) = self.file.as_ref().filter(|_| self.is_dirty) else {
            return Ok(());
        };
        let path = self.folder.join(name(self.number));
        let synced = file.sync().map_err(CheckpointError::io("sync", &path));
        if synced.is_err() {
            // A failed sync is not tried again: the pages may be lost, even if the next one succeeds.
            self.begin_another();
        }
        self.is_dirty = false;
        synced
    }

    /// Begins another file, and forgets all pages.
    fn begin_another(&mut self) {
        self.number += 1;
        (self.file, self.slots, self.is_dirty) = (None, 0, false);
        self.known.clear();
        self.waiting.clear();
    }

    /// The number of the file that is written.
    pub(super) fn number(&self) -> u32 {
        self.number
    }
}

/// Reads pages and checks them.
#[derive(Debug)]
pub(super) struct PageFileReader {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    files: BTreeMap<u32, Arc<dyn File>>,
}

impl PageFileReader {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: &Path) -> PageFileReader {
        PageFileReader {
            folder: folder.to_path_buf(),
            disk,
            files: BTreeMap::new(),
        }
    }

    /// The bytes of a page.
    pub(super) fn page(&mut self, at: &PageLocation) -> Result<Vec<u8>, CheckpointError> {
        let path = self.folder.join(name(at.page_file));
        let failed = CheckpointError::io("read", &path);
        if !self.files.contains_key(&at.page_file) {
            let file = self
                .disk
                .open_read(&path)
                .map_err(CheckpointError::opening(&path))?;
            self.files.insert(at.page_file, file);
        }
        let mut bytes = vec![0; PAGE_BYTES];
        let offset = u64::from(at.slot) * PAGE_BYTES as u64;
        let read = read_fully(&*self.files[&at.page_file], &mut bytes, offset).map_err(&failed)?;
        let found = *blake3::hash(&bytes[..read]).as_bytes();
        if found == at.digest || planted(Bug::SkipPageDigest) {
            Ok(bytes)
        } else {
            let (slot, expected) = (at.slot, at.digest);
            Err(CheckpointError::Page {
                path,
                slot,
                expected,
                found,
            })
        }
    }
}
