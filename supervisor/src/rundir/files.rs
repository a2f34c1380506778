//! Files of a run directory: whole or not there.

use super::{RunDir, RunDirError, UNFINISHED};
use crate::sys::no_space_error;
use std::io;
use std::path::{Path, PathBuf};

impl RunDir {
    /// Paths of the files in a folder; none when there is no folder.
    pub(crate) fn files_in(&self, folder: &Path) -> Result<Vec<PathBuf>, RunDirError> {
        match self.disk.list(folder) {
            Ok(names) => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(RunDirError::Io {
                action: "read",
                path: folder.to_path_buf(),
                source,
            }),
        }
    }

    pub(super) fn sync_folder(&self, folder: &Path) -> Result<(), RunDirError> {
        self.disk
            .sync_dir(folder)
            .map_err(RunDirError::io("sync", folder))
    }

    /// Writes a file so that it is there whole or not at all, also after a power cut.
    pub(super) fn put_file(&self, path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
        assert!(
            self.lock.is_some(),
            "only who holds the lock may write to a run"
        );
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let failed = RunDirError::io("write", path);
        let write = || {
            let file = self.disk.open_append(&unfinished)?;
            file.truncate(0)?;
            if file.append(bytes)? < bytes.len() {
                // The system takes a part when the disk is full.
                return Err(no_space_error());
            }
            file.sync()?;
            self.disk.rename(&unfinished, path)?;
            self.disk.sync_dir(path.parent().unwrap_or(&self.path))
        };
        write().map_err(|source| {
            // The unfinished file is of no use and takes space.
            let _ = self.disk.remove_file(&unfinished);
            failed(source)
        })
    }

    /// Reads a whole file.
    pub(super) fn get_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk.open_read(path)?;
        let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(io::Error::other)?];
        let read = crate::sys::disk::read_fully(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
