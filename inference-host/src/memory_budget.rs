//! The memory budget of a model: the growth of the private writable memory of this process while the model is loaded
//! and while it runs.
//!
//! The kernel enforces it (`RLIMIT_DATA`), and only while the model works, so that its memory is told apart from that
//! of others. Allocations of the engine then fail, and it reports that.

use crate::sys::limits::{page_bytes, with_data_limit};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

/// Sizes of this process; opened before the process is confined.
static STATM: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/statm"));

/// The field with the private writable memory; sizes are in pages.
const DATA_FIELD: usize = 5;

/// Opens the file with the sizes, which a confined process cannot.
pub(crate) fn prepare() {
    LazyLock::force(&STATM);
}

/// The limit of a model, and the memory that it uses.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit_bytes: u64,
    used_bytes: u64,
}

impl MemoryBudget {
    /// A budget of this size.
    #[must_use]
    pub(crate) fn new(bytes: u64) -> MemoryBudget {
        MemoryBudget {
            limit_bytes: bytes,
            used_bytes: 0,
        }
    }

    /// A budget of this size; none if it is zero.
    #[must_use]
    pub(crate) fn limited(bytes: u64) -> Option<MemoryBudget> {
        (bytes > 0).then(|| MemoryBudget::new(bytes))
    }

    /// Does `work` with the rest of the budget. Without a limit if the kernel has none.
    pub(crate) fn enforce<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Ok(before) = data_bytes() else {
            return work();
        };
        let limit = before.saturating_add(self.limit_bytes.saturating_sub(self.used_bytes));
        let result = with_data_limit(limit, work);
        let after = data_bytes().unwrap_or(before);
        self.used_bytes = (self.used_bytes + after).saturating_sub(before);
        result
    }

    /// The message of the engine, with the budget if it may be the cause.
    #[must_use]
    pub(crate) fn explain(&self, name: &str, message: String) -> String {
        let is_about_memory = ["alloc", "memory"]
            .iter()
            .any(|word| message.to_lowercase().contains(word));
        if !is_about_memory {
            return message;
        }
        format!(
            "model `{name}` needs more than its {} MiB of memory ({}); raise `memory_mib` or take a smaller model",
            self.limit_bytes >> 20,
            message.trim_end_matches(['.', ' ', '\n'])
        )
    }
}

/// Bytes of private writable memory of this process.
fn data_bytes() -> io::Result<u64> {
    let unavailable = || io::Error::from(io::ErrorKind::Unsupported);
    let file = STATM.as_ref().map_err(|_| unavailable())?;
    let mut text = [0; 128];
    let bytes = file.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text[..bytes]).map_err(|_| unavailable())?;
    let pages = text.split_whitespace().nth(DATA_FIELD);
    let pages: u64 = pages
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(unavailable)?;
    Ok(pages * page_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_over_the_budget_fail_only_while_it_is_enforced() {
        prepare();
        let mut budget = MemoryBudget::new(32 << 20);
        let results = budget.enforce(|| {
            let mut large: Vec<u8> = Vec::new();
            let refused = large.try_reserve_exact(512 << 20).is_err();
            let mut small: Vec<u8> = Vec::new();
            let granted = small.try_reserve_exact(1 << 20).is_ok();
            (refused, granted)
        });
        assert_eq!(results, (true, true));
        let mut large: Vec<u8> = Vec::new();
        assert!(large.try_reserve_exact(512 << 20).is_ok());
    }

    #[test]
    fn only_messages_about_memory_name_the_budget() {
        let budget = MemoryBudget::new(1 << 20);
        let message = budget.explain("m", "std::bad_alloc.".to_owned());
        assert!(
            message.contains("1 MiB") && message.contains("memory_mib"),
            "{message}"
        );
        assert_eq!(
            budget.explain("m", "no such shape".to_owned()),
            "no such shape"
        );
        assert!(MemoryBudget::limited(0).is_none());
    }
}
