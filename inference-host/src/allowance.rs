//! How much memory a model may take: what the private writable memory of this
//! process grows by while the model is loaded and while it runs.
//!
//! The kernel holds the limit (`RLIMIT_DATA`), and only while the model is at
//! work, so that what it takes is told from what others take. The engine is then
//! told that there is no memory, and says so.

use rustix::process::{Resource, Rlimit};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

/// Opened before this process gives up its rights to files.
static SIZES: LazyLock<io::Result<File>> = LazyLock::new(|| File::open("/proc/self/statm"));

/// Position of the private writable memory among the numbers there, which count pages.
const DATA: usize = 5;

/// Makes ready what cannot be had later.
pub(crate) fn prepare() {
    LazyLock::force(&SIZES);
}

/// What a model may take, and what it has taken.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u64,
    taken: u64,
}

impl Allowance {
    /// So many bytes.
    #[must_use]
    pub(crate) fn new(bytes: u64) -> Allowance {
        Allowance {
            most: bytes,
            taken: 0,
        }
    }

    /// As an order to load has it: none if zero.
    #[must_use]
    pub(crate) fn of(bytes: u64) -> Option<Allowance> {
        (bytes > 0).then(|| Allowance::new(bytes))
    }

    /// Does `work` with what is left. Where the kernel does not keep limits, there is none.
    pub(crate) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Ok(before) = data_bytes() else {
            return work();
        };
        let held = rustix::process::getrlimit(Resource::Data);
        let most = before.saturating_add(self.most.saturating_sub(self.taken));
        // What stands around this one holds too.
        let most = held.current.map_or(most, |current| most.min(current));
        let _ = rustix::process::setrlimit(
            Resource::Data,
            Rlimit {
                current: Some(most),
                ..held
            },
        );
        let done = work();
        let _ = rustix::process::setrlimit(Resource::Data, held);
        let after = data_bytes().unwrap_or(before);
        self.taken = (self.taken + after).saturating_sub(before);
        done
    }

    /// What to say of a refusal that may come from the limit.
    #[must_use]
    pub(crate) fn explained(&self, name: &str, said: String) -> String {
        let speaks_of_memory = ["alloc", "memory"]
            .iter()
            .any(|word| said.to_lowercase().contains(word));
        if !speaks_of_memory {
            return said;
        }
        format!(
            "model `{name}` needs more than its {} MiB of memory ({}); raise `memory_mib` or take a smaller model",
            self.most >> 20,
            said.trim_end_matches(['.', ' ', '\n'])
        )
    }
}

/// Bytes of private writable memory of this process.
fn data_bytes() -> io::Result<u64> {
    let unavailable = || io::Error::from(io::ErrorKind::Unsupported);
    let file = SIZES.as_ref().map_err(|_| unavailable())?;
    let mut text = [0; 128];
    let bytes = file.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text[..bytes]).map_err(|_| unavailable())?;
    let pages = text.split_whitespace().nth(DATA);
    let pages: u64 = pages
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(unavailable)?;
    Ok(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_allowance_is_refused_and_the_limit_goes_with_the_work() {
        prepare();
        let mut allowance = Allowance::new(32 << 20);
        let taken = allowance.within(|| {
            let mut much: Vec<u8> = Vec::new();
            let refused = much.try_reserve_exact(512 << 20).is_err();
            let mut little: Vec<u8> = Vec::new();
            let granted = little.try_reserve_exact(1 << 20).is_ok();
            (refused, granted)
        });
        assert_eq!(taken, (true, true));
        let mut much: Vec<u8> = Vec::new();
        assert!(much.try_reserve_exact(512 << 20).is_ok());
    }

    #[test]
    fn only_what_speaks_of_memory_is_explained() {
        let allowance = Allowance::new(1 << 20);
        let said = allowance.explained("m", "std::bad_alloc.".to_owned());
        assert!(
            said.contains("1 MiB") && said.contains("memory_mib"),
            "{said}"
        );
        assert_eq!(
            allowance.explained("m", "no such shape".to_owned()),
            "no such shape"
        );
        assert!(Allowance::of(0).is_none());
    }
}
