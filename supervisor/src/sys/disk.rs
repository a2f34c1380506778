//! Files, as the run directory and the journal need them.
//!
//! [`Disk`] and [`File`] are the whole surface: [`RealDisk`] performs the calls,
//! [`super::memory_disk::MemoryDisk`] keeps everything in memory and can fail any
//! of them. Nothing here repeats a failed call: the caller decides.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

/// A tree of files.
pub trait Disk: Send + Sync + Debug {
    /// Whether several threads may use the disk. Otherwise one thread makes all calls, so that their order is the same in
    /// every run.
    fn has_threads(&self) -> bool {
        true
    }

    /// Creates a folder and the folders above it. `true` when it was not there before.
    ///
    /// # Errors
    /// When a folder cannot be created.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Creates a file to append to.
    ///
    /// # Errors
    /// When it cannot be created or exists already.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file to append to, and creates it if there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file to write at any place with [`File::write_at`], and creates it if there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file to read.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Renames a file, in the place of one that has that name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    ///
    /// # Errors
    /// When the folder cannot be synced. It must not be tried again.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock of a file for this process, and writes `claim` into it for people.
    ///
    /// # Errors
    /// When the file cannot be opened, locked or written.
    fn lock(&self, path: &Path, claim: &str) -> io::Result<Locking>;
}

/// An open file.
pub trait File: Send + Sync + Debug {
    /// Appends with one call and returns how many bytes it took; fewer than given is no error here.
    ///
    /// # Errors
    /// When nothing was appended.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Overwrites at a position with one call and returns how many bytes it took. Only for a file from
    /// [`Disk::open_write`].
    ///
    /// # Errors
    /// When nothing was written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Reads at a position and returns the number of bytes, which can be fewer than asked for.
    ///
    /// # Errors
    /// When nothing could be read.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of the file, in bytes.
    ///
    /// # Errors
    /// When the system does not tell.
    fn bytes(&self) -> io::Result<u64>;

    /// Makes what was written survive a power cut.
    ///
    /// # Errors
    /// When it may not survive. It must not be tried again: the kernel may have dropped the data and would report success.
    fn sync(&self) -> io::Result<()>;

    /// Shortens the file to this length.
    ///
    /// # Errors
    /// When it cannot be shortened.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
}

/// The result of [`Disk::lock`].
#[derive(Debug)]
pub enum Locking {
    /// This process has the lock until the guard is dropped.
    Held(Box<dyn Guard>),
    /// Another process has the lock, with this claim.
    InUse(String),
}

/// A lock that is held until this is dropped.
pub trait Guard: Send + Sync + Debug {}

/// Reads until `into` is full or the file ends, and returns the number of bytes.
///
/// # Errors
/// When a read fails.
pub fn read_fully(file: &dyn File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64)? {
            0 => break,
            bytes => filled += bytes,
        }
    }
    Ok(filled)
}

/// The claim of this process for a lock file: its process number and the boot id of the machine.
#[must_use]
pub fn process_claim() -> String {
    let boot = super::boot_id().unwrap_or_else(|| "unknown".to_owned());
    format!("pid {}\nboot {boot}\n", std::process::id())
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        if path.is_dir() {
            return Ok(false);
        }
        fs::create_dir_all(path).map(|()| true)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            fs::OpenOptions::new()
                .append(true)
                .read(true)
                .create_new(true)
                .open(path)?,
        ))
    }

    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(
            fs::OpenOptions::new()
                .append(true)
                .read(true)
                .create(true)
                .open(path)?,
        ))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.write(true).read(true).create(true).truncate(false);
        Ok(Arc::new(options.open(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path, claim: &str) -> io::Result<Locking> {
        loop {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    return Ok(Locking::InUse(fs::read_to_string(path)?));
                }
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            // The holder before us may have removed the file between our open and our lock. A lock on a
            // file without a name excludes nobody.
            if !names_this(path, &file)? {
                continue;
            }
            file.set_len(0)?;
            file.write_all_at(claim.as_bytes(), 0)?;
            return Ok(Locking::Held(Box::new(FileLock { _file: file })));
        }
    }
}

/// Whether a path names an open file.
fn names_this(path: &Path, file: &fs::File) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The kernel gives the lock back when the file is closed, also when the process dies.
#[derive(Debug)]
struct FileLock {
    _file: fs::File,
}

impl Guard for FileLock {}

impl File for fs::File {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match (&*self).write(bytes) {
                // A signal came before anything was written: this is the call going on, not a repetition.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        loop {
            match std::os::unix::fs::FileExt::write_at(self, bytes, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match std::os::unix::fs::FileExt::read_at(self, into, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_until_it_is_dropped_and_tells_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = RealDisk.lock(&path, "pid 1\n").unwrap();
        assert!(matches!(held, Locking::Held(_)));
        match RealDisk.lock(&path, "pid 2\n").unwrap() {
            Locking::InUse(claim) => assert_eq!(claim, "pid 1\n"),
            Locking::Held(_) => panic!("two have the lock"),
        }
        drop(held);
        assert!(matches!(
            RealDisk.lock(&path, "pid 2\n").unwrap(),
            Locking::Held(_)
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "pid 2\n");
    }

    #[test]
    fn what_is_written_in_place_stays_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = RealDisk.open_write(&path).unwrap();
        file.write_at(b"word", 2).unwrap();
        let file = RealDisk.open_write(&path).unwrap();
        file.write_at(b"aa", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"aaword");
    }

    #[test]
    fn a_file_without_a_name_is_not_the_one_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = fs::File::create(&path).unwrap();
        assert!(names_this(&path, &first).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!names_this(&path, &first).unwrap());
        let _second = fs::File::create(&path).unwrap();
        assert!(!names_this(&path, &first).unwrap());
    }
}
