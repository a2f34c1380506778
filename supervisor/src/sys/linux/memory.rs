//! Available memory, and memory with a descriptor.

use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Empty memory that grows as it is written, with a descriptor that can be passed to a child. It is closed on `exec`.
/// The name shows in the process's list of descriptors only.
///
/// # Errors
/// When no descriptor is left.
pub fn anonymous_memory(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Bytes of memory that this process may still allocate: the least of what the machine and the control groups that
/// the process is in have left. `None` where the system does not tell.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| of_machine(&text));
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| of_group(&text));
    machine.into_iter().chain(group).min()
}

/// Bytes of the line `MemAvailable:  1234 kB` of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// Bytes left in the control group of the line `0::/its/path` and in those around it.
fn of_group(text: &str) -> Option<u64> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(path);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    let number = |group: &Path, name: &str| -> Option<u64> {
        fs::read_to_string(group.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let left = |group: &Path| {
        let limit = number(group, "memory.max")?;
        Some(limit.saturating_sub(number(group, "memory.current")?))
    };
    groups.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_from_the_kernel() {
        let text = "MemTotal:  16384 kB\nMemFree:   100 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(of_machine(text), Some(2 << 20));
        assert_eq!(of_machine("MemTotal: 1 kB\n"), None);
        assert!(available_memory_bytes().is_none_or(|bytes| bytes > 0));
    }
}
