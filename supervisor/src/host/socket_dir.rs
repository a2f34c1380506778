//! The folder in which hosts offer their control channels.
//!
//! It lives for the moments between the start of the hosts and their
//! connection. A supervisor that is killed in these moments leaves it behind,
//! so each is locked while it is in use, and whoever makes one or resumes a run
//! sweeps away those that nobody holds.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use tempfile::TempDir;

/// Most bytes of the path of a folder for sockets. The system allows a socket's
/// path 107, of which `ipc-channel` takes some twenty for the names that it adds.
const SOCKET_FOLDER_BYTES: usize = 70;

/// Where they are if the path of the temporary folder is too long.
const ELSEWHERE: &str = "/tmp";

/// How the names of these folders begin.
const PREFIX: &str = "lockstep-sockets-";

/// How often another supervisor's sweep may take the new folder away before it is locked.
const TRIES: usize = 8;

/// A folder for sockets, which goes with this value.
#[derive(Debug)]
pub(super) struct SocketDir {
    folder: TempDir,
    /// Locked for as long as the folder is in use.
    _held: File,
}

impl SocketDir {
    /// A folder in the temporary folder or, if its path is too long for sockets, in `/tmp`.
    pub(super) fn new() -> io::Result<SocketDir> {
        let (temporary, bytes) = (std::env::temp_dir(), path_bytes());
        if bytes <= SOCKET_FOLDER_BYTES {
            return SocketDir::below(&temporary);
        }
        SocketDir::below(Path::new(ELSEWHERE)).map_err(|source| {
            io::Error::other(format!(
                "the path below TMPDIR has {bytes} bytes, sockets allow {SOCKET_FOLDER_BYTES}, and in {ELSEWHERE}: {source}"
            ))
        })
    }

    fn below(parent: &Path) -> io::Result<SocketDir> {
        sweep(parent);
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            if let Ok(held) = File::open(folder.path())
                && flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok()
                && held.metadata()?.nlink() > 0
            {
                return Ok(SocketDir {
                    folder,
                    _held: held,
                });
            }
        }
        Err(io::Error::other("other programs take the new folders away"))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// How long the path of a folder below the temporary folder is.
fn path_bytes() -> usize {
    std::env::temp_dir().join(PREFIX).as_os_str().len() + "XXXXXX".len()
}

/// Removes what supervisors that were killed have left behind.
pub fn sweep_socket_folders() {
    if path_bytes() <= SOCKET_FOLDER_BYTES {
        sweep(&std::env::temp_dir());
    } else {
        sweep(Path::new(ELSEWHERE));
    }
}

/// Removes folders that nobody holds. What cannot be removed is somebody else's, or the next sweep's.
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
            && let Ok(held) = File::open(entry.path())
            && flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a folder of sockets and folders. Anything else that is in it stays, and the folder with it.
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
    fn what_nobody_holds_is_swept_away_and_what_is_held_or_no_socket_stays() {
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
    fn it_goes_with_its_value() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let path = SocketDir::below(parent.path())
            .expect("it can be made")
            .path()
            .to_path_buf();
        assert!(!path.exists());
    }
}
