//! Reading checkpoints: their ticks, one of them, and the states of its agents.

use super::error::CheckpointError;
use super::manifest::{AgentImage, Build, Checkpoint};
use super::page_file::{self, PageFileReader};
use crate::planted::{Bug, planted};
use crate::record::RunId;
use crate::rundir::RunDir;
use crate::sys::disk::Disk;
use shm_protocol::agent_state::{PAGES_PER_RECORD, Page, SavedInstance, StateRecord};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, Tick};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The ending of the names of checkpoints.
const ENDING: &str = ".checkpoint";

/// Reads the checkpoints of a run.
#[derive(Clone, Debug)]
pub struct CheckpointReader {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) run: RunId,
    pub(super) build: Build,
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

    /// The state records of an agent for its host, with every page checked.
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
            let mut life = image.instance.clone();
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

    pub(super) fn path(&self, tick: Tick) -> PathBuf {
        self.folder.join(format!("{:012}{ENDING}", tick.0))
    }

    pub(super) fn sync(&self) -> Result<(), CheckpointError> {
        let synced = self.disk.sync_dir(&self.folder);
        synced.map_err(CheckpointError::io("sync", &self.folder))
    }

    pub(super) fn page_file_bytes(&self) -> Result<u64, CheckpointError> {
        let bytes = |path: &Path| {
            let file = self.disk.open_read(path)?;
            file.bytes()
        };
        let files = self.page_files()?;
        files.iter().try_fold(0, |sum, (_, path)| {
            Ok(sum + bytes(path).map_err(CheckpointError::io("read", path))?)
        })
    }

    pub(super) fn page_files(&self) -> Result<Vec<(u32, PathBuf)>, CheckpointError> {
        let names = list(&*self.disk, &self.folder)?;
        let page_files = names
            .iter()
            .filter_map(|name| Some((page_file::number(name)?, self.folder.join(name))));
        Ok(page_files.collect())
    }
}

pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, CheckpointError> {
    disk.list(folder)
        .map_err(CheckpointError::io("read", folder))
}
