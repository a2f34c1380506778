//! An open file of the disk in memory.

use super::call::DiskCall;
use super::content::Content;
use super::names::FileId;
use super::state::{DiskFault, SharedDiskState};
use crate::sys::disk::File;
use crate::sys::{input_output_error, no_space_error};
use std::io;

/// An open file.
#[derive(Debug)]
pub(super) struct MemoryFile {
    pub(super) state: SharedDiskState,
    pub(super) file: FileId,
}

impl File for MemoryFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let end = |content: &Content| content.bytes.len();
        self.write(bytes, end)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.write(bytes, |_| offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let bytes = &state.contents[self.file].bytes;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let end = start.saturating_add(into.len()).min(bytes.len());
        into[..end - start].copy_from_slice(&bytes[start..end]);
        Ok(end - start)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().contents[self.file].bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.state.change(DiskCall::Sync, |state| {
            state.contents[self.file].sync();
            Ok(())
        });
        let mut state = self.state.lock();
        // The death of the caller is no failure of the disk: the kernel keeps the changes.
        if synced.is_err() && !state.ends {
            state.contents[self.file].forget_changes();
        }
        synced
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        self.state.change(DiskCall::Truncate, |state| {
            let number = state.number();
            state.contents[self.file].set_length(number, bytes);
            Ok(())
        })
    }
}

impl MemoryFile {
    /// Writes at the position that `place` gives, or fails.
    fn write(&self, bytes: &[u8], place: impl FnOnce(&Content) -> usize) -> io::Result<usize> {
        let mut state = self.state.lock();
        let fault = state.count_call(DiskCall::Write);
        let number = state.number();
        let content = &mut state.contents[self.file];
        let (offset, half) = (place(content), bytes.len() / 2);
        let (taken, result) = match fault {
            None => (bytes.len(), Ok(bytes.len())),
            Some(DiskFault::Before) => (0, Err(input_output_error())),
            Some(DiskFault::After) => (bytes.len(), Err(input_output_error())),
            Some(DiskFault::Short) => (half, Ok(half)),
            Some(DiskFault::NoSpace) => (half, Err(no_space_error())),
        };
        if taken > 0 {
            content.write(number, offset, &bytes[..taken]);
        }
        result
    }
}
