//! The folder with checkpoints: which are kept, and how much the disk bears.
//!
//! The newest `keep` checkpoints stay. A page that none of them names is
//! garbage. Once more than half of the page files is, and over [`SLACK_BYTES`] of
//! them, the live pages are moved into a new page file, and the old ones go with the
//! last checkpoint that names them. What that bounds is written down in
//! `docs/formats/checkpoint.md`.

use super::error::CheckpointError;
use super::manifest::{AgentImage, Build, Checkpoint, PageLocation};
use super::page_file::{self, PageFileReader, PageFileWriter};
use crate::journal::RunId;
use crate::planted::{Bug, planted};
use crate::rundir::RunDir;
use crate::sys::disk::Disk;
use shm_protocol::agent_state::{PAGE_BYTES, PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::codec;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{AgentId, Tick};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the names of checkpoints end.
const ENDING: &str = ".checkpoint";
/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// Garbage that is not worth writing pages anew.
pub(super) const SLACK_BYTES: u64 = 16 << 20;

/// Bytes that are moved at a time.
const RENEW_BYTES: usize = 1 << 20;

/// Fewest checkpoints that are kept: one may be read while a newer one is made.
const LEAST_KEPT: usize = 2;

/// The checkpoints of a run, to read.
#[derive(Clone, Debug)]
pub struct CheckpointReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    run: RunId,
    build: Build,
}

/// The checkpoints of a run, to add to.
#[derive(Debug)]
pub struct CheckpointWriter {
    shelf: CheckpointReader,
    keep: usize,
    /// Whether files are brought to the disk before they count.
    is_synced: bool,
    /// Good checkpoints by their ticks, and the page files that each of them names.
    kept: BTreeMap<Tick, BTreeSet<u32>>,
    /// Bytes of the pages of the newest checkpoint.
    live_bytes: u64,
    slack_bytes: u64,
    pub(super) page_files: PageFileWriter,
}

impl CheckpointReader {
    /// The checkpoints of a run. There may be none.
    #[must_use]
    pub fn new(run_dir: &RunDir, run: RunId, build: Build) -> CheckpointReader {
        CheckpointReader {
            disk: Arc::clone(run_dir.disk()),
            folder: run_dir.checkpoints(),
            run,
            build,
        }
    }

    /// The disk they are on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The ticks of the checkpoints, newest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest_first(&self) -> Result<Vec<Tick>, CheckpointError> {
        let mut ticks: Vec<Tick> = list(&*self.disk, &self.folder)?
            .iter()
            .filter_map(|name| Some(Tick(name.strip_suffix(ENDING)?.parse().ok()?)))
            .collect();
        ticks.sort_unstable();
        ticks.reverse();
        Ok(ticks)
    }

    /// The checkpoint of a tick, but for its pages.
    ///
    /// # Errors
    /// When it is missing, damaged, of another run or made by another build.
    pub fn load(&self, tick: Tick) -> Result<Checkpoint, CheckpointError> {
        let path = self.path(tick);
        let failed = CheckpointError::io("read", &path);
        let file = self
            .disk
            .open_read(&path)
            .map_err(CheckpointError::opening(&path))?;
        let bytes = file.bytes().map_err(&failed)?;
        let mut whole = vec![
            0;
            usize::try_from(bytes)
                .map_err(io::Error::other)
                .map_err(&failed)?
        ];
        let read = crate::sys::disk::read_fully(&*file, &mut whole, 0).map_err(&failed)?;
        whole.truncate(read);
        Checkpoint::parse(&path, &whole, self.run, &self.build)
    }

    /// The state of an agent as it is sent to a host, with every page checked.
    ///
    /// # Errors
    /// When a page is missing or damaged.
    pub fn state_records(
        &self,
        agent: AgentId,
        image: &AgentImage,
    ) -> Result<Vec<Vec<u8>>, CheckpointError> {
        let mut reader = PageFileReader::new(Arc::clone(&self.disk), &self.folder);
        let mut chunks = image.pages.chunks(PAGES_PER_RECORD).peekable();
        let mut records = Vec::new();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let pages: Result<Vec<Page>, CheckpointError> = chunk
                .iter()
                .map(|(index, at)| {
                    Ok(Page {
                        index: *index,
                        bytes: reader.page(at)?,
                    })
                })
                .collect();
            let is_last = chunks.peek().is_none();
            let mut life = image.life.clone();
            if planted(Bug::ForgetGlobals)
                && let SavedInstance::Running { globals, .. } = &mut life
            {
                globals.fill(0);
            }
            records.push(codec::encode(&StateRecord {
                agent,
                next_request: image.next_request,
                life,
                pages: pages?,
                is_last,
            }));
            if is_last {
                return Ok(records);
            }
        }
    }

    fn path(&self, tick: Tick) -> PathBuf {
        self.folder.join(format!("{:012}{ENDING}", tick.0))
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        let synced = self.disk.sync_dir(&self.folder);
        synced.map_err(CheckpointError::io("sync", &self.folder))
    }

    fn pack_bytes(&self) -> Result<u64, CheckpointError> {
        let bytes = |path: &Path| {
            let file = self.disk.open_read(path)?;
            file.bytes()
        };
        let files = self.pack_files()?;
        files.iter().try_fold(0, |sum, (_, path)| {
            Ok(sum + bytes(path).map_err(CheckpointError::io("read", path))?)
        })
    }

    fn pack_files(&self) -> Result<Vec<(u32, PathBuf)>, CheckpointError> {
        let names = list(&*self.disk, &self.folder)?;
        let page_files = names
            .iter()
            .filter_map(|name| Some((page_file::number(name)?, self.folder.join(name))));
        Ok(page_files.collect())
    }
}

impl CheckpointWriter {
    /// The checkpoints on this shelf, of which the newest `keep` are kept. Makes the folder, and removes what a start
    /// that failed left behind.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        shelf: CheckpointReader,
        keep: u32,
        is_synced: bool,
    ) -> Result<CheckpointWriter, CheckpointError> {
        let CheckpointReader { disk, folder, .. } = &shelf;
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
                next_pack(&names),
                shelf.pack_bytes()?,
            ),
            shelf,
            keep: usize::try_from(keep).unwrap_or(usize::MAX).max(LEAST_KEPT),
            is_synced,
            kept: BTreeMap::new(),
            live_bytes: 0,
            slack_bytes: SLACK_BYTES,
        };
        for tick in store.shelf.newest_first()?.into_iter().rev() {
            // One that cannot be read names nothing that could be.
            if let Ok(checkpoint) = store.shelf.load(tick) {
                store.note(&checkpoint);
            }
        }
        Ok(store)
    }

    /// As it is, with less garbage.
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
        for later in self.shelf.newest_first()? {
            if later > tick && !planted(Bug::KeepLaterCheckpoints) {
                let path = self.shelf.path(later);
                self.shelf
                    .disk
                    .remove_file(&path)
                    .map_err(CheckpointError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The checkpoints, to read.
    #[must_use]
    pub fn shelf(&self) -> &CheckpointReader {
        &self.shelf
    }

    /// Publishes a checkpoint whose pages are flushed: it is there whole or not at all. `pass` is told of the points
    /// on the way.
    pub(super) fn publish(
        &mut self,
        checkpoint: &Checkpoint,
        pass: &dyn Fn(FaultPoint),
    ) -> Result<(), CheckpointError> {
        let path = self.shelf.path(checkpoint.mark.tick);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        if self.is_synced {
            self.page_files.sync()?;
        }
        let bytes = checkpoint.to_bytes();
        let write = || -> io::Result<()> {
            let file = self.shelf.disk.open_append(&unfinished)?;
            file.truncate(0)?;
            if file.append(&bytes)? < bytes.len() {
                return Err(rustix::io::Errno::NOSPC.into());
            }
            if self.is_synced {
                file.sync()?;
            }
            pass(FaultPoint::CheckpointBeforeRename);
            self.shelf.disk.rename(&unfinished, &path)?;
            pass(FaultPoint::CheckpointAfterRename);
            if self.is_synced && !planted(Bug::UnsyncedCheckpointName) {
                self.shelf.disk.sync_dir(&self.shelf.folder)?;
            }
            Ok(())
        };
        if let Err(source) = write() {
            // Whether it has got its name or not, nobody needs the other one. The next start removes it if this cannot.
            let _ = self.shelf.disk.remove_file(&unfinished);
            return Err(CheckpointError::io("write", &path)(source));
        }
        // Those of a history that was longer, which the journal has lost at a power cut.
        drop(self.kept.split_off(&checkpoint.mark.tick));
        self.note(checkpoint);
        Ok(())
    }

    /// Takes note of the newest good checkpoint.
    fn note(&mut self, checkpoint: &Checkpoint) {
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

    /// Removes what is older than the newest good checkpoints, those that are damaged, and the page files that only those
    /// named.
    ///
    /// # Errors
    /// When something cannot be removed. The next call tries again.
    pub(super) fn retire(&mut self) -> Result<(), CheckpointError> {
        while self.kept.len() > self.keep {
            self.kept.pop_first();
        }
        let old = self.shelf.newest_first()?.into_iter();
        for tick in old.filter(|tick| !self.kept.contains_key(tick)) {
            self.remove(&self.shelf.path(tick))?;
        }
        self.sweep()
    }

    /// Removes page files that no kept checkpoint names.
    fn sweep(&self) -> Result<(), CheckpointError> {
        let is_needed = |number| {
            number == self.page_files.number()
                || !planted(Bug::SweepNamedPageFile)
                    && self
                        .kept
                        .values()
                        .any(|page_files| page_files.contains(&number))
        };
        let files = self.shelf.pack_files()?;
        let garbage: Vec<PathBuf> = files
            .into_iter()
            .filter(|(number, _)| !is_needed(*number))
            .map(|(_, path)| path)
            .collect();
        if self.is_synced && !garbage.is_empty() {
            // A checkpoint that comes back at a power cut would lack them.
            self.shelf.sync()?;
        }
        garbage.iter().try_for_each(|path| self.remove(path))
    }

    fn remove(&self, path: &Path) -> Result<(), CheckpointError> {
        self.shelf
            .disk
            .remove_file(path)
            .map_err(CheckpointError::io("remove", path))
    }

    /// Whether there is so much garbage that the live pages are to be moved.
    pub(super) fn wants_new_pack(&self) -> bool {
        self.page_files.bytes() > 2 * self.live_bytes + self.slack_bytes
    }

    /// Moves pages, which are all that agents have now, into a new page file, and removes the page files that are not needed.
    ///
    /// # Errors
    /// When a page cannot be read or written. Some are moved then.
    pub(super) fn renew<'a>(
        &mut self,
        pages: impl Iterator<Item = &'a mut PageLocation>,
    ) -> Result<(), CheckpointError> {
        self.page_files.begin_generation();
        let mut reader = PageFileReader::new(Arc::clone(&self.shelf.disk), &self.shelf.folder);
        for at in pages {
            *at = match self.page_files.find(&at.digest) {
                Some(moved) => moved,
                None => self.page_files.put(&reader.page(at)?),
            };
            if self.page_files.waiting_bytes() > RENEW_BYTES {
                self.page_files.flush()?;
            }
        }
        self.page_files.flush()?;
        self.sweep()
    }

    pub(super) fn run(&self) -> RunId {
        self.shelf.run
    }

    pub(super) fn build(&self) -> &Build {
        &self.shelf.build
    }
}

/// The number of a page file that is not there yet.
fn next_pack(names: &[String]) -> u32 {
    let numbers = names.iter().filter_map(|name| page_file::number(name));
    numbers.max().map_or(1, |number| number + 1)
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, CheckpointError> {
    disk.list(folder)
        .map_err(CheckpointError::io("read", folder))
}
