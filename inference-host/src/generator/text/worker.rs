//! The thread for work whose depth follows from a request: forms are compiled
//! and chat templates rendered by code that calls itself once for each rule,
//! reference or macro. Its stack is large enough for the deepest request that
//! the bounds in [`bounds`](super::bounds) admit, whatever the stack of the
//! thread that serves.

use shm_protocol::progress;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

/// Bytes of its stack; only those that were once used take memory. The deepest forms that are taken use 24 MiB: a rule that
/// leads to the next one takes 3.3 KiB, one through thirteen parentheses 26 KiB, a `$ref` up to 10 KiB. A template has
/// more steps than a form has bytes, and each may put a list around the last one: such a value takes 0.8 KiB a level
/// when it is written out or let go.
const STACK_BYTES: usize = 512 << 20;

const _: () = assert!(STACK_BYTES as u64 > super::template::FUEL * 1024);
const _: () = assert!(STACK_BYTES > super::bounds::FORM_BYTES * 8 * 1024);

type Job = Box<dyn FnOnce() + Send>;

static JOBS: LazyLock<io::Result<Sender<Job>>> = LazyLock::new(start);

/// Starts the thread. This has a time of its own: after this process has given up its rights, which a thread that is
/// older keeps, and before any model runs within an allowance of memory, which the stack would be charged to.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn prepare() -> io::Result<()> {
    match &*JOBS {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Does `work` on the thread and waits for it. Must not be called by such work.
///
/// # Errors
/// When `work` panics, or there is no thread.
pub(in crate::generator) fn on_large_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let missing = |error: &dyn std::fmt::Display| {
        format!("the inference host has no thread for requests ({error}); start it anew")
    };
    let jobs = JOBS.as_ref().map_err(|error| missing(error))?;
    let (done, result) = mpsc::channel();
    let job = move || {
        // Nobody waits any more if this fails.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    };
    jobs.send(Box::new(job)).map_err(|error| missing(&error))?;
    let result = result.recv().map_err(|error| missing(&error))?;
    progress::report();
    result.map_err(|panic| format!("a library has failed at it: {}", said(&*panic)))
}

fn start() -> io::Result<Sender<Job>> {
    let (jobs, next) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("requests".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || next.into_iter().for_each(|job| job()))?;
    Ok(jobs)
}

/// The words of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason is given")
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
    fn work_may_go_deep() {
        assert_eq!(on_large_stack(|| pages(8 << 10)), Ok(8 << 10));
    }

    #[test]
    fn work_that_panics_is_an_error_and_the_next_is_done() {
        let said = on_large_stack(|| -> u8 { panic!("number {}", 3) });
        assert_eq!(said, Err("a library has failed at it: number 3".to_owned()));
        assert_eq!(on_large_stack(|| 4), Ok(4));
    }
}
