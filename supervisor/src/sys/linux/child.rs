//! Programs and descriptors for child processes.

use command_fds::{CommandFdExt, FdMapping};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

/// Path of the program that this process runs. It stays valid when the file is replaced or deleted.
#[must_use]
pub fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// A copy of a descriptor with a number of at least `least`, closed on `exec`.
///
/// # Errors
/// When no descriptor is left.
pub fn duplicate_from(descriptor: impl AsFd, least: i32) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(descriptor, least)?)
}

/// Path of an open file, valid in this process and in a child until it executes another program.
#[must_use]
pub fn descriptor_path(descriptor: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd()))
}

/// Gives a child each of these descriptors at the number beside it. All other descriptors but the standard ones are
/// closed in the child if they are closed on `exec`.
///
/// # Errors
/// When a number is named twice.
pub fn pass_descriptors(
    command: &mut Command,
    descriptors: impl IntoIterator<Item = (OwnedFd, i32)>,
) -> io::Result<()> {
    let mapping = |(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    };
    let mappings = descriptors.into_iter().map(mapping).collect();
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(())
}

/// Makes reads of a descriptor return [`io::ErrorKind::WouldBlock`] instead of waiting.
///
/// # Errors
/// When the system refuses it.
pub fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(descriptor, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_duplicated_descriptor_has_a_high_number_and_a_path() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "content").expect("written");
        let file = File::open(folder.path().join("file")).expect("opened");
        let duplicate = duplicate_from(&file, 64).expect("a descriptor");
        assert!(duplicate.as_raw_fd() >= 64);
        fs::remove_file(folder.path().join("file")).expect("removed");
        assert_eq!(
            fs::read(descriptor_path(&duplicate)).expect("it is open"),
            b"content"
        );
    }

    #[test]
    fn a_descriptor_number_is_given_once() {
        let descriptor = || OwnedFd::from(File::open("/").expect("opened"));
        let mut command = Command::new("true");
        assert!(pass_descriptors(&mut command, [(descriptor(), 7), (descriptor(), 7)]).is_err());
        assert!(pass_descriptors(&mut command, [(descriptor(), 7)]).is_ok());
    }
}
