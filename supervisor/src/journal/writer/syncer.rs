//! The thread that brings ticks to the disk at the level `batch`.
//!
//! A sync begins at most [`DELAY`] or [`TICKS`] after the first tick that waits for it. Appending continues meanwhile,
//! and blocks only when it is [`TICKS_BEHIND`] ahead. After a failed sync the thread ends: the kernel may have dropped
//! the data, so trying again would prove nothing.

use crate::journal::error::JournalError;
use crate::journal::mark::JournalMark;
use crate::journal::sync_marker::SyncMarkerFile;
use crate::planted::{Bug, planted};
use crate::sys::disk::File;
use shm_protocol::id::Tick;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time from a tick to the beginning of its sync.
pub(super) const DELAY: Duration = Duration::from_millis(10);
/// Most ticks before a sync begins.
pub(super) const TICKS: u64 = 64;
/// As [`TICKS`], in simulations without threads and without the delay: few, so that a short run has several syncs.
const TICKS_INLINE: u64 = 5;
/// Most ticks that may be written and not durable: what a power cut could take is bounded even on a slow disk.
pub(super) const TICKS_BEHIND: u64 = 4096;
const _: () = assert!(TICKS < TICKS_BEHIND);

/// The thread and what it shares with the writer.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<SyncShared>,
    /// None in simulations without threads, where the writer does its work.
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct SyncShared {
    state: Mutex<SyncState>,
    /// Of the thread while it syncs, of the writer when nothing waits.
    synced: Mutex<SyncMarkerFile>,
    /// Rings for the thread.
    work: Condvar,
    /// Rings for the writer.
    done: Condvar,
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct SyncState {
    /// Files with something unsynced, in the order of their ticks.
    dirty: Vec<(PathBuf, Arc<dyn File>)>,
    /// The position after the last written tick.
    mark: Option<JournalMark>,
    written: u64,
    durable: u64,
    sleep: Sleep,
    hurry: bool,
    stop: bool,
    failed: Option<(PathBuf, io::Error)>,
    dead: bool,
}

/// The sleep of the thread, which decides whether it must be woken: a wake costs a system call, and most appends need
/// none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sleep {
    #[default]
    Awake,
    UntilWork,
    UntilDelay,
}

impl Syncer {
    /// With a thread, or without one, so that the same always happens in the same order.
    pub(super) fn start(
        durable: Tick,
        synced: SyncMarkerFile,
        has_threads: bool,
    ) -> io::Result<Syncer> {
        let state = SyncState {
            written: durable.0,
            durable: durable.0,
            ..SyncState::default()
        };
        let shared = Arc::new(SyncShared {
            state: Mutex::new(state),
            synced: Mutex::new(synced),
            work: Condvar::new(),
            done: Condvar::new(),
            durable: AtomicU64::new(durable.0),
        });
        let of_thread = Arc::clone(&shared);
        let spawn = || {
            std::thread::Builder::new()
                .name("journal-sync".to_owned())
                .spawn(move || of_thread.run())
        };
        let thread = has_threads.then(spawn).transpose()?;
        Ok(Syncer { shared, thread })
    }

    /// The last tick that is durable.
    pub(super) fn durable(&self) -> Tick {
        // Acquire pairs with the release in `Shared::sync`; nothing else is read by it, but a thread that acts on a
        // durable tick acts after its sync.
        Tick(self.shared.durable.load(Ordering::Acquire))
    }

    /// Tells that a tick is written.
    pub(super) fn written(
        &self,
        mark: JournalMark,
        path: &Path,
        file: &Arc<dyn File>,
    ) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        state = self
            .shared
            .wait_while(state, |state| state.written - state.durable >= TICKS_BEHIND);
        state.take_failure()?;
        (state.written, state.mark) = (mark.tick.0, Some(mark));
        if state
            .dirty
            .last()
            .is_none_or(|(_, last)| !Arc::ptr_eq(last, file))
        {
            state.dirty.push((path.to_path_buf(), Arc::clone(file)));
        }
        if self.thread.is_none() {
            if state.written - state.durable >= TICKS_INLINE {
                drop(self.shared.sync(state));
            }
            return Ok(());
        }
        let wake = match state.sleep {
            Sleep::Awake => false,
            Sleep::UntilWork => true,
            Sleep::UntilDelay => state.written - state.durable >= TICKS,
        };
        if wake {
            // Once is enough, until the thread sleeps again.
            state.sleep = Sleep::Awake;
            drop(state);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Writes the marker of a position up to which the writer has synced the journal itself. Nothing waits.
    pub(super) fn note(&self, mark: &JournalMark) -> Result<(), JournalError> {
        let noted = self.shared.note(mark);
        noted.map_err(|(file, source)| JournalError::Sync {
            file,
            durable: self.durable(),
            source,
        })
    }

    /// Waits until everything that is written is durable.
    pub(super) fn drain(&self) -> Result<(), JournalError> {
        let mut state = self.shared.lock();
        if self.thread.is_none() {
            if state.durable < state.written && !state.dead {
                state = self.shared.sync(state);
            }
            return state.take_failure();
        }
        state.hurry = true;
        self.shared.work.notify_one();
        state = self
            .shared
            .wait_while(state, |state| state.durable < state.written);
        state.hurry = false;
        state.take_failure()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its own hook.
            let _ = thread.join();
        }
    }
}

impl SyncState {
    /// Gives the failure of a sync to the writer, which takes nothing more after it.
    fn take_failure(&mut self) -> Result<(), JournalError> {
        match self.failed.take() {
            Some((file, source)) => Err(JournalError::Sync {
                file,
                durable: Tick(self.durable),
                source,
            }),
            None => {
                assert!(!self.dead, "the writer went on after a failed sync");
                Ok(())
            }
        }
    }
}

impl SyncShared {
    fn lock(&self) -> MutexGuard<'_, SyncState> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for the thread, but not for one that is dead.
    fn wait_while<'state>(
        &self,
        state: MutexGuard<'state, SyncState>,
        waiting: impl Fn(&SyncState) -> bool,
    ) -> MutexGuard<'state, SyncState> {
        self.done
            .wait_while(state, |state| waiting(state) && !state.dead)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The thread.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            state = self.until_due(state);
            if state.stop && state.written == state.durable {
                return;
            }
            state = self.sync(state);
            if state.dead {
                return;
            }
        }
    }

    /// Brings to the disk what is written.
    fn sync<'state>(
        &'state self,
        mut state: MutexGuard<'state, SyncState>,
    ) -> MutexGuard<'state, SyncState> {
        let (dirty, written) = (std::mem::take(&mut state.dirty), state.written);
        let mark = state.mark.take();
        drop(state);
        // Only what is noted to be on the disk counts as durable; see `crate::journal::sync_marker`.
        let synced = sync_all(dirty).and_then(|()| mark.map_or(Ok(()), |mark| self.note(&mark)));
        state = self.lock();
        match synced {
            Ok(()) => {
                state.durable = written;
                // Release pairs with the acquire in `Syncer::durable`.
                self.durable.store(written, Ordering::Release);
            }
            Err(failure) => {
                state.failed = Some(failure);
                state.dead = true;
            }
        }
        self.done.notify_all();
        state
    }

    /// Writes the marker of a position up to which the journal is on the disk, and syncs it.
    fn note(&self, mark: &JournalMark) -> Result<(), (PathBuf, io::Error)> {
        let mut synced = self
            .synced
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let noted = synced.write(mark).and_then(|()| synced.sync());
        noted.map_err(|error| (synced.path().to_path_buf(), error))
    }

    /// Sleeps until a tick waits, and then until its sync is due.
    fn until_due<'state>(
        &'state self,
        mut state: MutexGuard<'state, SyncState>,
    ) -> MutexGuard<'state, SyncState> {
        while state.written == state.durable && !state.stop {
            state.sleep = Sleep::UntilWork;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.sleep = Sleep::UntilDelay;
        let early = |state: &mut SyncState| {
            state.written - state.durable < TICKS && !state.hurry && !state.stop
        };
        let waited = self.work.wait_timeout_while(state, DELAY, early);
        let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.sleep = Sleep::Awake;
        state
    }
}

fn sync_all(dirty: Vec<(PathBuf, Arc<dyn File>)>) -> Result<(), (PathBuf, io::Error)> {
    dirty
        .into_iter()
        .try_for_each(|(path, file)| match file.sync() {
            Err(_) if planted(Bug::RetrySync) => file.sync().map_err(|error| (path, error)),
            synced => synced.map_err(|error| (path, error)),
        })
}
