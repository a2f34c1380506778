//! Leftovers of a process: hosts, shared memory, temporary files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// Time in which hosts end after their supervisor.
const EXIT_GRACE: Duration = Duration::from_millis(100);

/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The folder of named shared memory.
const SHARED_MEMORY: &str = "/dev/shm";

/// The state of the system before a process began.
#[derive(Debug)]
pub(super) struct Baseline {
    named: BTreeSet<String>,
}

impl Baseline {
    /// The state now.
    pub(super) fn take() -> Baseline {
        Baseline {
            named: names_in(Path::new(SHARED_MEMORY)).collect(),
        }
    }

    /// The leftovers of a process that has just ended. `temporary` is the folder of its temporary files; none for a
    /// process that was killed and could not remove them.
    pub(super) fn leftovers(&self, supervisor: u32, temporary: Option<&Path>) -> Vec<String> {
        let hosts = outliving(supervisor);
        let files = temporary
            .into_iter()
            .flat_map(names_in)
            .map(|name| format!("temporary file {name}"));
        let named = names_in(Path::new(SHARED_MEMORY))
            .filter(|name| name.contains("lockstep") && !self.named.contains(name))
            .map(|name| format!("shared memory {name}"));
        hosts.into_iter().chain(files).chain(named).collect()
    }
}

/// Hosts that outlive their supervisor by more than [`EXIT_GRACE`].
#[allow(
    clippy::disallowed_methods,
    reason = "how long a process lives is what is measured"
)]
fn outliving(supervisor: u32) -> Vec<String> {
    let began = Instant::now();
    loop {
        let alive = hosts_of(supervisor);
        if alive.is_empty() || began.elapsed() > EXIT_GRACE {
            return alive;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Processes whose arguments name a role and this supervisor.
fn hosts_of(supervisor: u32) -> Vec<String> {
    let supervisor = supervisor.to_string();
    names_in(Path::new("/proc"))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|process| {
            let line = fs::read(Path::new("/proc").join(&process).join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let has_role = words.clone().any(|word| word.starts_with(b"role:"));
            (has_role && words.any(|word| word == supervisor.as_bytes()))
                .then(|| format!("process {process}"))
        })
        .collect()
}

/// The names in a folder; none without the folder.
pub(super) fn names_in(folder: &Path) -> impl Iterator<Item = String> + use<> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn files_and_hosts_that_are_left_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let baseline = Baseline::take();
        // No process has this number, and so no host.
        let nobody = u32::MAX;
        let left = || baseline.leftovers(nobody, Some(folder.path()));
        assert_eq!(left(), Vec::<String>::new());
        fs::write(folder.path().join("socket"), "").expect("a file");
        assert_eq!(left(), ["temporary file socket"]);
        // Something that looks like a host of that supervisor and does not end.
        let mut host = Command::new("sh")
            .args(["-c", "sleep 60; true", "role:agent-host", "4294967295"])
            .spawn()
            .expect("a process");
        // A new program's arguments can be read only a moment after it is there.
        let arguments = format!("/proc/{}/cmdline", host.id());
        while fs::read(&arguments).expect("it does not end").is_empty() {
            thread::yield_now();
        }
        let left = baseline.leftovers(nobody, None);
        host.kill().expect("it is ours");
        host.wait().expect("it is ours");
        assert_eq!(left, [format!("process {}", host.id())]);
    }
}
