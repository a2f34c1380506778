//! Facts of the machine.

use std::path::Path;
use std::{fs, io};

/// Identity of this start of the machine; another one after every boot. `None` where the system does not tell.
#[must_use]
pub fn boot_id() -> Option<String> {
    line("/proc/sys/kernel/random/boot_id")
}

/// Release of the kernel, as in `6.8.0-31-generic`. `None` where the system does not tell.
#[must_use]
pub fn kernel_release() -> Option<String> {
    line("/proc/sys/kernel/osrelease")
}

/// Bytes that this user can still write to the file system of a path.
///
/// # Errors
/// When the path does not exist or the file system does not tell.
pub fn free_disk_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        assert!(free_disk_bytes(Path::new("/")).is_ok());
        assert!(free_disk_bytes(Path::new("/no/such/folder")).is_err());
        assert_eq!(boot_id(), boot_id());
        assert!(kernel_release().is_some_and(|release| !release.is_empty()));
    }
}
