//! Writing checkpoints: publication, retention, and compaction of the page files.
//!
//! The newest checkpoints are kept. A page that none of them names is garbage. Once more than half of the page files is
//! garbage, and over [`SLACK_BYTES`] of them, the live pages are moved into a new page file, and the old ones are
//! removed with the last checkpoint that names them. The resulting bounds are in `docs/formats/checkpoint.md`.

use super::error::CheckpointError;
use super::manifest::{Build, Checkpoint, PageLocation};
use super::page_file::{self, PageFileReader, PageFileWriter};
use super::reader::{CheckpointReader, list};
use crate::planted::{Bug, planted};
use crate::record::RunId;
use crate::sys::no_space_error;
use shm_protocol::agent_state::PAGE_BYTES;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::Tick;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The ending of the name of a file until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Garbage that is not worth a compaction.
pub(super) const SLACK_BYTES: u64 = 16 << 20;

/// Bytes moved at a time in a compaction.
const COMPACTION_BYTES: usize = 1 << 20;

/// Minimum of kept checkpoints: one may be read while a newer one is made.
const MIN_KEPT: usize = 2;

/// Adds checkpoints to those of a run.
#[derive(Debug)]
pub struct CheckpointWriter {
    reader: CheckpointReader,
    kept_checkpoints: usize,
    /// True if files are synced before they count.
    is_synced: bool,
    /// Good checkpoints by their ticks, with the page files that each of them names.
    kept: BTreeMap<Tick, BTreeSet<u32>>,
    /// Bytes of the pages of the newest checkpoint.
    live_bytes: u64,
    slack_bytes: u64,
    pub(super) page_files: PageFileWriter,
}

impl CheckpointWriter {
    /// Opens the checkpoints of a run, of which the newest `kept_checkpoints` are kept. Makes the folder, and removes
    /// unfinished files of an earlier launch.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        reader: CheckpointReader,
        kept_checkpoints: u32,
        is_synced: bool,
    ) -> Result<CheckpointWriter, CheckpointError> {
        let CheckpointReader { disk, folder, .. } = &reader;
        disk.create_dir(folder)
            .map_err(CheckpointError::io("make", folder))?;
        let names = list(&**disk, folder)?;
        for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
            let path = folder.join(name);
            disk.remove_file(&path)
                .map_err(CheckpointError::io("remove", &path))?;
        }
        let mut store = CheckpointWriter {
            page_files: PageFileWriter::new(
                Arc::clone(disk),
                folder,
                next_page_file(&names),
                reader.page_file_bytes()?,
            ),
            reader,
            kept_checkpoints: usize::try_from(kept_checkpoints)
                .unwrap_or(usize::MAX)
                .max(MIN_KEPT),
            is_synced,
            kept: BTreeMap::new(),
            live_bytes: 0,
            slack_bytes: SLACK_BYTES,
        };
        for tick in store.reader.newest_first()?.into_iter().rev() {
            // One that cannot be read names no pages that could be.
            if let Ok(checkpoint) = store.reader.load(tick) {
                store.register(&checkpoint);
            }
        }
        Ok(store)
    }

    /// The same writer with another limit of garbage.
    #[cfg(test)]
    pub(super) fn with_slack(mut self, bytes: u64) -> CheckpointWriter {
        self.slack_bytes = bytes;
        self
    }

    /// Removes the checkpoints after a tick: the journal that they follow has lost its end at a power cut.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn forget_after(&self, tick: Tick) -> Result<(), CheckpointError> {
        for later in self.reader.newest_first()? {
            if later > tick && !planted(Bug::KeepLaterCheckpoints) {
                let path = self.reader.path(later);
                self.reader
                    .disk
                    .remove_file(&path)
                    .map_err(CheckpointError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The reader of the checkpoints.
    #[must_use]
    pub fn reader(&self) -> &CheckpointReader {
        &self.reader
    }

    /// Publishes a checkpoint whose pages are flushed: it is there whole or not at all. `pass` is called at the fault
    /// points on the way.
    pub(super) fn publish(
        &mut self,
        checkpoint: &Checkpoint,
        pass: &dyn Fn(FaultPoint),
    ) -> Result<(), CheckpointError> {
        let path = self.reader.path(checkpoint.mark.tick);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        if self.is_synced {
            self.page_files.sync()?;
        }
        let bytes = checkpoint.to_bytes();
        let write = || -> io::Result<()> {
            let file = self.reader.disk.open_append(&unfinished)?;
            file.truncate(0)?;
            if file.append(&bytes)? < bytes.len() {
                return Err(no_space_error());
            }
            if self.is_synced {
                file.sync()?;
            }
            pass(FaultPoint::CheckpointBeforeRename);
            self.reader.disk.rename(&unfinished, &path)?;
            pass(FaultPoint::CheckpointAfterRename);
            if self.is_synced && !planted(Bug::UnsyncedCheckpointName) {
                self.reader.disk.sync_dir(&self.reader.folder)?;
            }
            Ok(())
        };
        if let Err(source) = write() {
            // Whether or not the rename was done, the unfinished file is not needed. The next start removes it if this
            // fails.
            let _ = self.reader.disk.remove_file(&unfinished);
            return Err(CheckpointError::io("write", &path)(source));
        }
        // Later ones belong to ticks that the journal has lost at a power cut.
        drop(self.kept.split_off(&checkpoint.mark.tick));
        self.register(checkpoint);
        Ok(())
    }

    /// Registers the newest good checkpoint.
    fn register(&mut self, checkpoint: &Checkpoint) {
        let mut places: Vec<(u32, u32)> = checkpoint
            .pages()
            .map(|at| (at.page_file, at.slot))
            .collect();
        places.sort_unstable();
        places.dedup();
        self.live_bytes = places.len() as u64 * PAGE_BYTES as u64;
        let page_files = places.into_iter().map(|(page_file, _)| page_file).collect();
        self.kept.insert(checkpoint.mark.tick, page_files);
    }

    /// Removes old and damaged checkpoints, and the page files that only those named.
    ///
    /// # Errors
    /// When something cannot be removed. The next call tries again.
    pub(super) fn remove_old(&mut self) -> Result<(), CheckpointError> {
        while self.kept.len() > self.kept_checkpoints {
            self.kept.pop_first();
        }
        let old = self.reader.newest_first()?.into_iter();
        for tick in old.filter(|tick| !self.kept.contains_key(tick)) {
            self.remove(&self.reader.path(tick))?;
        }
        self.remove_unused()
    }

    /// Removes page files that no kept checkpoint names.
    fn remove_unused(&self) -> Result<(), CheckpointError> {
        let is_needed = |number| {
            number == self.page_files.number()
                || !planted(Bug::SweepNamedPageFile)
                    && self
                        .kept
                        .values()
                        .any(|page_files| page_files.contains(&number))
        };
        let files = self.reader.page_files()?;
        let garbage: Vec<PathBuf> = files
            .into_iter()
            .filter(|(number, _)| !is_needed(*number))
            .map(|(_, path)| path)
            .collect();
        if self.is_synced && !garbage.is_empty() {
            // A checkpoint that reappears after a power cut would lack them.
            self.reader.sync()?;
        }
        garbage.iter().try_for_each(|path| self.remove(path))
    }

    fn remove(&self, path: &Path) -> Result<(), CheckpointError> {
        self.reader
            .disk
            .remove_file(path)
            .map_err(CheckpointError::io("remove", path))
    }

    /// True if there is so much garbage that the live pages are to be moved.
    pub(super) fn needs_compaction(&self) -> bool {
        self.page_files.bytes() > 2 * self.live_bytes + self.slack_bytes
    }

    /// Moves pages, which are all that agents have now, into a new page file, and removes the page files that are not needed.
    ///
    /// # Errors
    /// When a page cannot be read or written. Some are moved then.
    pub(super) fn compact<'a>(
        &mut self,
        pages: impl Iterator<Item = &'a mut PageLocation>,
    ) -> Result<(), CheckpointError> {
        self.page_files.begin_compaction();
        let mut reader = PageFileReader::new(Arc::clone(&self.reader.disk), &self.reader.folder);
        for at in pages {
            *at = match self.page_files.find(&at.digest) {
                Some(moved) => moved,
                None => self.page_files.put(&reader.page(at)?),
            };
            if self.page_files.waiting_bytes() > COMPACTION_BYTES {
                self.page_files.flush()?;
            }
        }
        self.page_files.flush()?;
        self.remove_unused()
    }

    pub(super) fn run(&self) -> RunId {
        self.reader.run
    }

    pub(super) fn build(&self) -> &Build {
        &self.reader.build
    }
}

/// The number of a page file that is not there yet.
fn next_page_file(names: &[String]) -> u32 {
    let numbers = names.iter().filter_map(|name| page_file::number(name));
    numbers.max().map_or(1, |number| number + 1)
}
