//! How much memory may still be taken: of the machine, and of the group of processes that this one is in.

use std::fs;
use std::path::Path;

/// Bytes that may still be taken, if the system says so.
#[must_use]
pub(crate) fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| of_machine(&text));
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| of_group(&text));
    machine.into_iter().chain(group).min()
}

/// The line `MemAvailable:  1234 kB`.
fn of_machine(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// What the group of the line `0::/its/path` and those around it leave.
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
        let most = number(group, "memory.max")?;
        Some(most.saturating_sub(number(group, "memory.current")?))
    };
    groups.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_is_left() {
        let text = "MemTotal:  16384 kB\nMemFree:   100 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(of_machine(text), Some(2 << 20));
        assert_eq!(of_machine("MemTotal: 1 kB\n"), None);
        assert!(available().is_none_or(|bytes| bytes > 0));
    }
}
