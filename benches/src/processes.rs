//! What the system says of processes.

use crate::Trouble;
use std::fs;

/// The first argument of a process that runs agents.
pub const AGENT_HOST: &str = "role:agent-host";
/// The first argument of a process that runs models.
pub const INFERENCE_HOST: &str = "role:inference-host";

/// The children of a process, dead ones that nobody has reaped among them.
///
/// # Errors
/// What the system says.
pub fn children(of: u32) -> Result<Vec<u32>, Trouble> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{of}/task"))? {
        // A thread may end while it is looked at.
        let text = fs::read_to_string(entry?.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    Ok(found)
}

/// The host of this role that was started first, of those of this process that live. One that stands ready was started
/// after the one whose place it would take.
///
/// # Errors
/// When there is none.
pub fn serving(role: &str) -> Result<u32, Trouble> {
    let mut hosts = Vec::new();
    for child in children(std::process::id())? {
        let Some((found, incarnation)) = host(child) else {
            continue;
        };
        if found == role && !is_zombie(child) {
            hosts.push((incarnation, child));
        }
    }
    let first = hosts.into_iter().min();
    first
        .map(|(_, pid)| pid)
        .ok_or_else(|| format!("no process has the role {role}").into())
}

/// Role and incarnation of a process, if it is a host and has its memory still.
fn host(pid: u32) -> Option<(String, u32)> {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments = arguments.split('\0').skip(1);
    let role = arguments.next()?.to_owned();
    Some((role, arguments.nth(1)?.parse().ok()?))
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name is in brackets and may hold anything.
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Children that live.
    pub children: usize,
    /// Children that are dead and not reaped.
    pub zombies: usize,
    /// Bytes of memory of its own.
    pub anonymous_bytes: u64,
    /// Bytes of memory, with what it shares.
    pub resident_bytes: u64,
}

impl Census {
    /// What this process holds now.
    ///
    /// # Errors
    /// What the system says.
    pub fn take() -> Result<Census, Trouble> {
        let children = children(std::process::id())?;
        let zombies = children.iter().filter(|child| is_zombie(**child)).count();
        let status = fs::read_to_string("/proc/self/status")?;
        let bytes = |name: &str| -> Result<u64, Trouble> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            Ok(kib.ok_or_else(|| format!("/proc/self/status has no {name}"))? * 1024)
        };
        Ok(Census {
            // Looking itself takes one.
            descriptors: fs::read_dir("/proc/self/fd")?.count() - 1,
            threads: fs::read_dir("/proc/self/task")?.count(),
            children: children.len() - zombies,
            zombies,
            anonymous_bytes: bytes("RssAnon:")?,
            resident_bytes: bytes("VmRSS:")?,
        })
    }
}
