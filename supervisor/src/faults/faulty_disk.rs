//! A disk with injected faults, for real runs. A [`DiskSwitch`] sets the next fault and its files.

use crate::sys::disk::{Disk, File, Locking};
use crate::sys::{input_output_error, no_space_error};
use shm_protocol::fault::FaultKind;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A class of files of a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileClass {
    /// Those of the journal.
    Journal,
    /// Those of checkpoints.
    Checkpoint,
    /// The outbox.
    Outbox,
}

impl FileClass {
    /// The class of a file of a run directory, if it has one.
    #[must_use]
    pub fn of(path: &Path) -> Option<FileClass> {
        let is_in = |folder: &str| {
            path.parent()
                .is_some_and(|parent| parent.iter().any(|part| part == folder))
        };
        if is_in("checkpoints") {
            Some(FileClass::Checkpoint)
        } else if is_in("journal") {
            Some(FileClass::Journal)
        } else if path.file_name().is_some_and(|name| name == "outbox.jsonl") {
            Some(FileClass::Outbox)
        } else {
            None
        }
    }
}

/// Sets the next faults of a disk. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct DiskSwitch {
    next: Arc<Mutex<Vec<(FileClass, FaultKind)>>>,
}

impl DiskSwitch {
    /// A switch without faults.
    #[must_use]
    pub fn new() -> DiskSwitch {
        DiskSwitch::default()
    }

    /// Makes the next write, or the next sync, in files of this class fail.
    ///
    /// # Panics
    /// When the kind is no fault of disks, which is a bug of the caller.
    pub fn set(&self, class: FileClass, kind: FaultKind) {
        assert!(kind.is_of_disk(), "{kind:?} is no fault of a disk");
        self.next().push((class, kind));
    }

    /// True if no fault is pending.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.next().is_empty()
    }

    /// Takes the pending fault for a call on files of this class.
    fn take(&self, class: FileClass, is_sync: bool) -> Option<FaultKind> {
        let mut next = self.next();
        let position = next.iter().position(|(waiting, kind)| {
            *waiting == class && (*kind == FaultKind::FsyncError) == is_sync
        })?;
        Some(next.remove(position).1)
    }

    fn next(&self) -> MutexGuard<'_, Vec<(FileClass, FaultKind)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose writes and syncs fail as its switch is set.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    switch: DiskSwitch,
}

impl FaultyDisk {
    /// A disk over another one.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, switch: DiskSwitch) -> FaultyDisk {
        FaultyDisk { inner, switch }
    }

    fn wrap(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        match FileClass::of(path) {
            None => file,
            Some(class) => Arc::new(FaultyFile {
                inner: file,
                switch: self.switch.clone(),
                class,
            }),
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.inner.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.inner.create_new(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.inner.open_append(path)?))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.inner.open_write(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.inner.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // A folder is of the class of what is in it.
        let class = FileClass::of(&path.join("file"));
        match class.and_then(|class| self.switch.take(class, true)) {
            Some(_) => Err(input_output_error()),
            None => self.inner.sync_dir(path),
        }
    }

    fn lock(&self, path: &Path, claim: &str) -> io::Result<Locking> {
        self.inner.lock(path, claim)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn File>,
    switch: DiskSwitch,
    class: FileClass,
}

impl FaultyFile {
    /// Writes as the disk does, or fails as the switch is set.
    fn write(
        &self,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match self.switch.take(self.class, false) {
            None => write(bytes),
            Some(FaultKind::DiskFull) => Err(no_space_error()),
            Some(FaultKind::ShortWrite) if bytes.len() > 1 => {
                // The rest of the bytes fails with the next call of the writer.
                self.switch.set(self.class, FaultKind::WriteError);
                write(&bytes[..bytes.len() / 2])
            }
            Some(_) => Err(input_output_error()),
        }
    }
}

impl File for FaultyFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes, |bytes| self.inner.append(bytes))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write(bytes, |bytes| self.inner.write_at(bytes, offset))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(into, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn sync(&self) -> io::Result<()> {
        match self.switch.take(self.class, true) {
            Some(_) => Err(input_output_error()),
            None => self.inner.sync(),
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.inner.truncate(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory_disk::MemoryDisk;

    const SEGMENT: &str = "/run/journal/0.log";

    fn disk() -> (FaultyDisk, DiskSwitch, MemoryDisk) {
        let (memory, switch) = (MemoryDisk::new(), DiskSwitch::new());
        memory.create_dir(Path::new("/run/journal")).unwrap();
        let disk = FaultyDisk::new(Arc::new(memory.clone()), switch.clone());
        (disk, switch, memory)
    }

    fn code(result: io::Result<impl Sized>) -> Option<i32> {
        result.err()?.raw_os_error()
    }

    #[test]
    fn files_have_the_class_of_their_place() {
        let of = |path: &str| FileClass::of(Path::new(path));
        assert_eq!(of("/run/journal/0.log"), Some(FileClass::Journal));
        assert_eq!(of("/run/checkpoints/7/pages"), Some(FileClass::Checkpoint));
        assert_eq!(of("/run/outbox.jsonl"), Some(FileClass::Outbox));
        assert_eq!(of("/run/lock"), None);
    }

    #[test]
    fn each_fault_happens_once_and_the_file_goes_on() {
        let (disk, switch, memory) = disk();
        let path = Path::new(SEGMENT);
        let file = disk.create_new(path).unwrap();
        switch.set(FileClass::Journal, FaultKind::DiskFull);
        assert_eq!(code(file.append(b"abcd")), no_space_error().raw_os_error());
        switch.set(FileClass::Journal, FaultKind::WriteError);
        assert_eq!(
            code(file.append(b"abcd")),
            input_output_error().raw_os_error()
        );
        switch.set(FileClass::Journal, FaultKind::FsyncError);
        assert_eq!(file.append(b"ab").unwrap(), 2);
        assert_eq!(code(file.sync()), input_output_error().raw_os_error());
        assert!(switch.is_clear());
        file.sync().unwrap();
        assert_eq!(memory.read(path).unwrap(), b"ab");
    }

    #[test]
    fn a_short_write_takes_half_and_then_fails() {
        let (disk, switch, memory) = disk();
        let path = Path::new(SEGMENT);
        let file = disk.open_append(path).unwrap();
        switch.set(FileClass::Journal, FaultKind::ShortWrite);
        assert_eq!(file.append(b"abcd").unwrap(), 2);
        assert_eq!(
            code(file.append(b"cd")),
            input_output_error().raw_os_error()
        );
        assert_eq!(memory.read(path).unwrap(), b"ab");
        assert_eq!(file.append(b"cd").unwrap(), 2);
    }

    #[test]
    fn other_files_are_spared() {
        let (disk, switch, _) = disk();
        let file = disk.create_new(Path::new(SEGMENT)).unwrap();
        switch.set(FileClass::Outbox, FaultKind::WriteError);
        switch.set(FileClass::Checkpoint, FaultKind::FsyncError);
        file.append(b"abcd").unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/run/journal")).unwrap();
        assert!(!switch.is_clear());
        switch.set(FileClass::Journal, FaultKind::FsyncError);
        assert!(disk.sync_dir(Path::new("/run/journal")).is_err());
    }
}
