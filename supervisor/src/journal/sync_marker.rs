//! The sync marker: the position up to which a journal is on the disk for certain, in a file beside it.
//!
//! A power cut may leave any part of unsynced data, also a record without the one before it. A reader must know whether
//! such a record was ever acknowledged: a bad record before the marker is corruption; one behind it was never
//! acknowledged, and is cut. At the level `batch` the marker is synced before anything up to it is acknowledged, so it
//! is exact. At the level `sync` only the last record can be unsynced, so the marker need not be exact, and is not.
//!
//! Two slots of one sector each, written in turn, so that one is always whole:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic |
//! | 8 | 2 | version |
//! | 10 | 2 | 1 if the place is exact, otherwise 0 |
//! | 12 | 4 | zero |
//! | 16 | 16 | run id |
//! | 32 | 8 | how often the file was written: of two whole slots the higher one counts |
//! | 40 | 8 | tick |
//! | 48 | 8 | segment |
//! | 56 | 8 | where in the segment |
//! | 64 | 32 | BLAKE3 of the bytes before |

use crate::journal::error::JournalError;
use crate::journal::mark::JournalMark;
use crate::record::Digest;
use crate::record::RunId;
use crate::rundir::RunDir;
use crate::sys::disk::{File, read_fully};
use crate::sys::no_space_error;
use shm_protocol::codec;
use shm_protocol::id::Tick;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"LKJ-SYNC";
const COVERED_BYTES: usize = 64;
const BYTES: usize = COVERED_BYTES + size_of::<Digest>();
/// The offset of the second slot: a sector reaches the disk whole or not at all.
const SLOT_BYTES: usize = 512;

/// A position up to which a journal is on the disk for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SyncMarker {
    pub(super) run: RunId,
    /// True if nothing behind the position was acknowledged.
    pub(super) is_exact: bool,
    count: u64,
    /// The last tick before the position.
    pub(super) tick: Tick,
    segment: u64,
    offset: u64,
}

impl SyncMarker {
    /// The marker of a run, if there is a valid one. Without one, a bad record is classified by the bytes behind it.
    pub(super) fn read(run: &RunDir) -> Result<Option<SyncMarker>, JournalError> {
        let path = run.synced();
        let mut bytes = [0; SLOT_BYTES + BYTES];
        let read = run
            .disk()
            .open_read(&path)
            .and_then(|file| read_fully(&*file, &mut bytes, 0));
        match read {
            Ok(_) => {
                let slots = [&bytes[..BYTES], &bytes[SLOT_BYTES..]];
                Ok(slots
                    .into_iter()
                    .filter_map(SyncMarker::parse)
                    .max_by_key(|synced| synced.count))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Read {
                file: path,
                offset: 0,
                source,
            }),
        }
    }

    /// Segment and offset, in the order of the journal.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&codec::VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::from(self.is_exact).to_le_bytes());
        bytes[16..32].copy_from_slice(&self.run.0);
        let numbers = [self.count, self.tick.0, self.segment, self.offset];
        for (into, number) in bytes[32..COVERED_BYTES]
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(numbers)
        {
            *into = number.to_le_bytes();
        }
        let digest = *blake3::hash(&bytes[..COVERED_BYTES]).as_bytes();
        bytes[COVERED_BYTES..].copy_from_slice(&digest);
        bytes
    }

    /// A slot that is whole.
    fn parse(bytes: &[u8]) -> Option<SyncMarker> {
        let covered = bytes.first_chunk::<COVERED_BYTES>()?;
        let number = |at: usize| {
            covered[at..]
                .first_chunk()
                .map(|bytes| u64::from_le_bytes(*bytes))
        };
        let synced = SyncMarker {
            run: RunId(*covered[16..].first_chunk()?),
            is_exact: covered[10] == 1,
            count: number(32)?,
            tick: Tick(number(40)?),
            segment: number(48)?,
            offset: number(56)?,
        };
        // Each has one encoding, digest included.
        (synced.to_bytes() == bytes).then_some(synced)
    }
}

/// The file, to write.
#[derive(Debug)]
pub(super) struct SyncMarkerFile {
    path: PathBuf,
    file: Arc<dyn File>,
    run: RunId,
    is_exact: bool,
    count: u64,
}

impl SyncMarkerFile {
    /// Makes the file, or takes over the existing one, and writes the position up to which the journal is on the disk.
    /// Earlier markers are overwritten.
    pub(super) fn create(
        run: &RunDir,
        run_id: RunId,
        is_exact: bool,
        at: &JournalMark,
    ) -> Result<SyncMarkerFile, JournalError> {
        let path = run.synced();
        let create = || {
            let file = run.disk().open_write(&path)?;
            let mut noted = SyncMarkerFile {
                path: path.clone(),
                file,
                run: run_id,
                is_exact,
                count: 0,
            };
            noted.write(at)?;
            noted.write(at)?;
            noted.file.sync()?;
            run.disk().sync_dir(run.path())?;
            Ok(noted)
        };
        create().map_err(|source| JournalError::Sync {
            file: path.clone(),
            durable: at.tick,
            source,
        })
    }

    /// Removes the file, because nothing is synced from now on.
    pub(super) fn remove(run: &RunDir) -> Result<(), JournalError> {
        let path = run.synced();
        let removed = match run.disk().open_read(&path) {
            Ok(_) => run.disk().remove_file(&path),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(source),
        };
        removed.map_err(|source| JournalError::Cut {
            file: path,
            bytes: 0,
            source,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes that the journal is on the disk up to here. Nothing may be acknowledged by it before
    /// [`SyncMarkerFile::sync`].
    pub(super) fn write(&mut self, at: &JournalMark) -> io::Result<()> {
        let JournalMark {
            tick,
            segment,
            offset,
            ..
        } = *at;
        let Self {
            run,
            is_exact,
            count,
            ..
        } = *self;
        let bytes = SyncMarker {
            run,
            is_exact,
            count,
            tick,
            segment,
            offset,
        }
        .to_bytes();
        let slot = (count % 2) * SLOT_BYTES as u64;
        let written = self.file.write_at(&bytes, slot)?;
        self.count += 1;
        if written < bytes.len() {
            // The system takes a part when the disk is full.
            return Err(no_space_error());
        }
        Ok(())
    }

    /// Syncs the file.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::create_run_dir_on;
    use crate::sys::memory_disk::MemoryDisk;
    use std::path::Path;

    fn mark(tick: u64) -> JournalMark {
        JournalMark {
            tick: Tick(tick),
            chain: [0; 32],
            segment: 1 + tick / 3,
            offset: 100 * tick,
        }
    }

    #[test]
    fn the_last_sync_marker_counts_or_the_one_before_if_damaged() {
        let disk = MemoryDisk::new();
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
        assert_eq!(SyncMarker::read(&run).unwrap(), None);
        let mut file = SyncMarkerFile::create(&run, RunId([7; 16]), true, &mark(0)).unwrap();
        for tick in 1..=5 {
            file.write(&mark(tick)).unwrap();
            let read = SyncMarker::read(&run).unwrap().unwrap();
            assert_eq!(
                (read.run, read.is_exact, read.tick),
                (RunId([7; 16]), true, Tick(tick))
            );
            assert_eq!(read.place(), (1 + tick / 3, 100 * tick));
        }
        let whole = disk.read(&run.synced()).unwrap();
        for bit in (0..BYTES * 8).chain(SLOT_BYTES * 8..(SLOT_BYTES + BYTES) * 8) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.write(&run.synced(), &flipped);
            let expected = if bit / 8 < SLOT_BYTES { 5 } else { 4 };
            let expected = if whole[32] > whole[SLOT_BYTES + 32] {
                9 - expected
            } else {
                expected
            };
            assert_eq!(
                SyncMarker::read(&run).unwrap().unwrap().tick,
                Tick(expected),
                "bit {bit}"
            );
        }
        disk.write(&run.synced(), &whole[..20]);
        assert_eq!(SyncMarker::read(&run).unwrap(), None);
    }

    #[test]
    fn what_is_said_anew_leaves_nothing_of_what_was_said_before() {
        let disk = MemoryDisk::new();
        let run = create_run_dir_on(Arc::new(disk.clone()), Path::new("/run")).unwrap();
        let mut file = SyncMarkerFile::create(&run, RunId([7; 16]), true, &mark(0)).unwrap();
        (1..=5).for_each(|tick| file.write(&mark(tick)).unwrap());
        SyncMarkerFile::create(&run, RunId([7; 16]), false, &mark(2)).unwrap();
        let mut bytes = disk.after_power_cut().read(&run.synced()).unwrap();
        for slot in 0..2 {
            bytes[slot * SLOT_BYTES] ^= 1;
            disk.write(&run.synced(), &bytes);
            let read = SyncMarker::read(&run).unwrap().unwrap();
            assert_eq!((read.tick, read.is_exact), (Tick(2), false));
            bytes[slot * SLOT_BYTES] ^= 1;
        }
    }
}
