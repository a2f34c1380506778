//! The thread for deep recursion: formats are compiled and chat templates rendered by code that recurses once for each
//! rule, reference or macro of a request. Its stack is large enough for the deepest request within the limits, whatever
//! the stack of the thread that serves.

use shm_protocol::progress;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// Size of the stack; only pages that were used take memory. Who runs work here asserts that it fits.
pub(super) const STACK_BYTES: usize = 512 << 20;

type Job = Box<dyn FnOnce() + Send>;

static JOBS: LazyLock<io::Result<Sender<Job>>> = LazyLock::new(spawn_worker);

/// Starts the thread: after the process is confined, because an older thread would keep its rights, and before a model
/// runs within a memory budget, which the stack would be charged to.
///
/// # Errors
/// When the system cannot start a thread.
pub(crate) fn start_worker() -> io::Result<()> {
    match &*JOBS {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Does `work` on the thread and waits for it. Deadlocks if such work calls it.
///
/// # Errors
/// When `work` panics, or there is no thread.
pub(crate) fn run_on_large_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let missing = |error: &dyn std::fmt::Display| {
        format!("the inference host has no thread for deep recursion ({error}); restart it")
    };
    let jobs = JOBS.as_ref().map_err(|error| missing(error))?;
    let (done, result) = mpsc::channel();
    let job = move || {
        // This fails only if nobody waits for the result any more.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    };
    jobs.send(Box::new(job)).map_err(|error| missing(&error))?;
    let result = result.recv().map_err(|error| missing(&error))?;
    progress::report();
    result.map_err(|panic| format!("a library panicked: {}", panic_message(&*panic)))
}

fn spawn_worker() -> io::Result<Sender<Job>> {
    let (jobs, next) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("requests".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || next.into_iter().for_each(|job| job()))?;
    Ok(jobs)
}

/// The message of a panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a page of the stack at each level.
    fn pages(levels: usize) -> usize {
        let page = std::hint::black_box([1_u8; 4096]);
        if levels == 0 {
            return 0;
        }
        pages(levels - 1) + usize::from(page[levels % 4096])
    }

    #[test]
    fn work_may_recurse_deeply() {
        assert_eq!(run_on_large_stack(|| pages(8 << 10)), Ok(8 << 10));
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let said = run_on_large_stack(|| -> u8 { panic!("number {}", 3) });
        assert_eq!(said, Err("a library panicked: number 3".to_owned()));
        assert_eq!(run_on_large_stack(|| 4), Ok(4));
    }
}
