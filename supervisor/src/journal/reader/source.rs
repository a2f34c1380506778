//! The bytes of a journal, segment after segment, a window at a time.

use crate::journal::error::JournalError;
use crate::journal::frame::{FrameHeader, HEADER_BYTES, MAGIC};
use crate::record::RunId;
use crate::rundir::RunDir;
use crate::sys::disk::{File, read_fully};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at a time. Larger records are read whole.
const WINDOW_BYTES: usize = 256 << 10;

/// A position in a journal, and its open file. The length of a file is that at its opening.
#[derive(Debug)]
pub(super) struct JournalSource {
    run: RunDir,
    segments: Vec<PathBuf>,
    index: usize,
    file: Arc<dyn File>,
    file_bytes: u64,
    offset: u64,
    window: Vec<u8>,
    window_start: u64,
    passed_bytes: u64,
}

impl JournalSource {
    /// The beginning of a journal.
    pub(super) fn open(run: &RunDir) -> Result<JournalSource, JournalError> {
        let segments = crate::journal::segment::list(run)?;
        let Some(first) = segments.first() else {
            return Err(JournalError::NotBegun {
                folder: run.journal(),
            });
        };
        let (file, file_bytes) = open(run, first)?;
        Ok(JournalSource {
            run: run.clone(),
            segments,
            index: 0,
            file,
            file_bytes,
            offset: 0,
            window: Vec::new(),
            window_start: 0,
            passed_bytes: 0,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.segments[self.index]
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of the segment, counted from 1.
    pub(super) fn segment(&self) -> u64 {
        self.index as u64 + 1
    }

    /// The number of segments.
    pub(super) fn segments(&self) -> u64 {
        self.segments.len() as u64
    }

    pub(super) fn is_last_segment(&self) -> bool {
        self.index + 1 == self.segments.len()
    }

    /// Bytes from here to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        self.file_bytes - self.offset
    }

    /// Bytes of the journal before this place.
    pub(super) fn passed_bytes(&self) -> u64 {
        self.passed_bytes
    }

    /// Goes to the beginning of the next file.
    pub(super) fn next_segment(&mut self) -> Result<(), JournalError> {
        assert!(!self.is_last_segment(), "there is no next segment");
        (self.file, self.file_bytes) = open(&self.run, &self.segments[self.index + 1])?;
        self.index += 1;
        (self.offset, self.window_start) = (0, 0);
        self.window.clear();
        Ok(())
    }

    /// Moves to a position ahead, in this file or a later one, and gives the length of that file. None, without a move,
    /// when there is no such segment.
    pub(super) fn go_to(&mut self, segment: u64, offset: u64) -> Result<Option<u64>, JournalError> {
        let index = segment
            .checked_sub(1)
            .and_then(|index| usize::try_from(index).ok());
        let Some((index, path)) = index.and_then(|index| Some((index, self.segments.get(index)?)))
        else {
            return Ok(None);
        };
        let (file, file_bytes) = open(&self.run, path)?;
        if offset <= file_bytes {
            (self.index, self.file, self.file_bytes) = (index, file, file_bytes);
            (self.offset, self.window_start) = (offset, 0);
            self.window.clear();
        }
        Ok(Some(file_bytes))
    }

    /// The bytes that end here, or fewer when the file has no more.
    pub(super) fn peek_back(&mut self, bytes: u64) -> Result<&[u8], JournalError> {
        let start = self.offset.saturating_sub(bytes);
        let bytes = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
        self.window_at(start, bytes)
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        self.passed_bytes += bytes;
    }

    /// The bytes from here on; as many as asked for, or what the file has.
    pub(super) fn peek(&mut self, bytes: usize) -> Result<&[u8], JournalError> {
        self.window_at(self.offset, bytes)
    }

    /// The next place after this one where a header of the run begins, here or in a later file. Without a run, of any run.
    pub(super) fn find_header_after(
        &mut self,
        run: Option<RunId>,
    ) -> Result<Option<(PathBuf, u64)>, JournalError> {
        let mut from = self.offset + 1;
        loop {
            while from < self.file_bytes {
                let window = self.window_at(from, WINDOW_BYTES)?;
                let found = (0..window.len()).find(|start| is_header(&window[*start..], run));
                if let Some(start) = found {
                    return Ok(Some((self.path().to_path_buf(), from + start as u64)));
                }
                // The next window begins so that no header is split between the two.
                from += (window.len().saturating_sub(HEADER_BYTES - 1)).max(1) as u64;
            }
            if self.is_last_segment() {
                return Ok(None);
            }
            self.next_segment()?;
            from = 0;
        }
    }

    fn window_at(&mut self, start: u64, bytes: usize) -> Result<&[u8], JournalError> {
        let available = self.file_bytes.saturating_sub(start);
        let bytes = usize::try_from(available).unwrap_or(usize::MAX).min(bytes);
        let window_end = self.window_start + self.window.len() as u64;
        if start < self.window_start || start + bytes as u64 > window_end {
            let wanted = usize::try_from(available)
                .unwrap_or(usize::MAX)
                .min(bytes.max(WINDOW_BYTES));
            self.window.resize(wanted, 0);
            self.window_start = start;
            let read = read_fully(&*self.file, &mut self.window, start).and_then(|read| {
                match read == wanted {
                    true => Ok(()),
                    // It was this long when it was opened.
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            });
            if let Err(source) = read {
                self.window.clear();
                return Err(JournalError::Read {
                    file: self.path().to_path_buf(),
                    offset: start,
                    source,
                });
            }
        }
        let from = usize::try_from(start - self.window_start)
            .expect("the window begins at or before the start");
        Ok(&self.window[from..from + bytes])
    }
}

fn open(run: &RunDir, path: &Path) -> Result<(Arc<dyn File>, u64), JournalError> {
    let opened = run
        .disk()
        .open_read(path)
        .and_then(|file| file.bytes().map(|bytes| (file, bytes)));
    opened.map_err(|source| JournalError::Read {
        file: path.to_path_buf(),
        offset: 0,
        source,
    })
}

/// True if bytes begin with a valid header of the run.
fn is_header(bytes: &[u8], run: Option<RunId>) -> bool {
    bytes.starts_with(&MAGIC)
        && bytes
            .first_chunk::<HEADER_BYTES>()
            .and_then(|header| FrameHeader::parse(header).ok())
            .is_some_and(|header| run.is_none_or(|run| header.run == run))
}
