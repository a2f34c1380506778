//! The folder in which hosts offer their control channels.
//!
//! It exists from the start of a host until the host is connected. A supervisor
//! that is killed in between leaves it behind, so each is locked while it is in
//! use, and everyone who creates one or resumes a run removes those that nobody
//! has locked.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use tempfile::TempDir;

/// Most bytes of the path of a folder for sockets. The system allows a socket's path 107, of which `ipc-channel` takes
/// some twenty for the names that it adds.
const MAX_PATH_BYTES: usize = 70;

/// The parent folder if the path of the temporary folder is too long.
const SHORT_PARENT: &str = "/tmp";

/// The first part of the names of these folders.
const PREFIX: &str = "lockstep-sockets-";

/// How often another supervisor's sweep may remove the new folder before it is locked.
const MAX_TRIES: usize = 8;

/// A folder for sockets, which is removed with this value.
#[derive(Debug)]
pub(super) struct SocketDir {
    folder: TempDir,
    /// Locked for as long as the folder is in use.
    _lock: File,
}

impl SocketDir {
    /// A folder in the temporary folder or, if its path is too long for sockets, in `/tmp`.
    pub(super) fn new() -> io::Result<SocketDir> {
        let (temporary, bytes) = (std::env::temp_dir(), path_bytes());
        if bytes <= MAX_PATH_BYTES {
            return SocketDir::below(&temporary);
        }
        SocketDir::below(Path::new(SHORT_PARENT)).map_err(|source| {
            io::Error::other(format!(
                "the path below TMPDIR has {bytes} bytes, sockets allow {MAX_PATH_BYTES}, and in {SHORT_PARENT}: {source}"
            ))
        })
    }

    fn below(parent: &Path) -> io::Result<SocketDir> {
        sweep(parent);
        for _ in 0..MAX_TRIES {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            if let Ok(lock) = File::open(folder.path())
                && lock.try_lock().is_ok()
                && lock.metadata()?.nlink() > 0
            {
                return Ok(SocketDir {
                    folder,
                    _lock: lock,
                });
            }
        }
        Err(io::Error::other("other programs remove the new folders"))
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The length of the path of a folder below the temporary folder, in bytes.
fn path_bytes() -> usize {
    std::env::temp_dir().join(PREFIX).as_os_str().len() + "XXXXXX".len()
}

/// Removes the folders that killed supervisors have left behind.
pub fn sweep_socket_folders() {
    if path_bytes() <= MAX_PATH_BYTES {
        sweep(&std::env::temp_dir());
    } else {
        sweep(Path::new(SHORT_PARENT));
    }
}

/// Removes folders that nobody has locked. One that cannot be removed belongs to another user, or stays for the next sweep.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if is_ours
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a folder of sockets and folders. Anything else in it stays, and the folder with it.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove(&entry.path()),
            Ok(kind) if kind.is_socket() => drop(fs::remove_file(entry.path())),
            _ => {}
        }
    }
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_sweep_removes_unlocked_folders_of_sockets_only() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let held = SocketDir::below(parent.path()).expect("it can be made");
        let folder = |name: &str| {
            let folder = parent.path().join(name);
            fs::create_dir_all(folder.join("inner")).expect("it can be made");
            folder
        };
        let stale = folder("lockstep-sockets-stale");
        let socket = UnixListener::bind(stale.join("inner/socket")).expect("it can be bound");
        let other = folder("lockstep-other");
        let precious = folder("lockstep-sockets-precious").join("file");
        fs::write(&precious, "precious").expect("it can be written");
        let next = SocketDir::below(parent.path()).expect("it can be made");
        assert!(held.path().exists() && next.path().exists() && !stale.exists());
        assert!(other.exists() && precious.exists());
        drop(socket);
    }

    #[test]
    fn the_folder_is_removed_with_its_value() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let path = SocketDir::below(parent.path())
            .expect("it can be made")
            .path()
            .to_path_buf();
        assert!(!path.exists());
    }
}
