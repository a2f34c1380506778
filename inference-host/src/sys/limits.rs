//! A limit of memory for a while.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Does `work` while this process may have at most so many bytes of private writable memory. A lower limit that holds
/// already goes on holding.
pub(crate) fn with_data_limit<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Data);
    let bytes = before.current.map_or(bytes, |current| bytes.min(current));
    let during = Rlimit {
        current: Some(bytes),
        ..before
    };
    let _ = setrlimit(Resource::Data, during);
    let done = work();
    let _ = setrlimit(Resource::Data, before);
    done
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}
