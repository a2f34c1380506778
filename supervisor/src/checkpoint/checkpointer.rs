//! Makes checkpoints beside the ticks: the loop of a run only hands over what
//! it hears.

use super::collector::Collector;
use super::error::CheckpointError;
use super::manifest::Checkpoint;
use crate::journal::JournalMark;
use crate::rundir::OutboxMark;
use crate::sys::disk::File;
use shm_protocol::id::{AgentId, Tick};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the loop of a run tells.
#[derive(Debug)]
enum CheckpointCommand {
    Begin {
        tick: Tick,
        machine: Vec<u8>,
        agents: Vec<AgentId>,
        is_full: bool,
    },
    State {
        tick: Tick,
        agent: AgentId,
        payload: Vec<u8>,
    },
    Committed(JournalMark, OutboxMark),
    /// Up to this tick; the outbox once it is synced here.
    Durable(Tick, Option<Arc<dyn File>>),
    Abandon,
    BegunAgain(AgentId, Option<Arc<Checkpoint>>),
}

/// What became of it.
#[derive(Debug)]
pub enum CheckpointOutcome {
    /// A checkpoint is there.
    Published(Arc<Checkpoint>),
    /// One came to nothing.
    Failed(CheckpointError),
}

/// Makes checkpoints beside the ticks.
#[derive(Debug)]
pub struct Checkpointer {
    work: CheckpointWorker,
    shared: Arc<CheckpointQueue>,
}

#[derive(Debug)]
enum CheckpointWorker {
    /// On a thread of its own.
    Thread {
        told: Option<Sender<CheckpointCommand>>,
        thread: Option<JoinHandle<()>>,
    },
    /// Within every call, for a world without threads.
    Inline(Box<Collector>),
}

#[derive(Debug, Default)]
struct CheckpointQueue {
    is_making: AtomicBool,
    needs_full: AtomicBool,
    news: Mutex<Vec<CheckpointOutcome>>,
    outbox_failed: Mutex<Option<io::Error>>,
}

impl Checkpointer {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn start(collector: Collector) -> io::Result<Checkpointer> {
        let shared = Arc::new(CheckpointQueue::default());
        let (told, to_hear) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || run(collector, &to_hear, &of_thread))?;
        Ok(Checkpointer {
            work: CheckpointWorker::Thread {
                told: Some(told),
                thread: Some(thread),
            },
            shared,
        })
    }

    /// Does its work within every call.
    #[must_use]
    pub fn inline(collector: Collector) -> Checkpointer {
        Checkpointer {
            work: CheckpointWorker::Inline(Box::new(collector)),
            shared: Arc::default(),
        }
    }

    /// Whether one is being made: no other is to be begun.
    #[must_use]
    pub fn is_making(&self) -> bool {
        // Relaxed: it decides only whether another one is begun now or a tick later.
        self.shared.is_making.load(Ordering::Relaxed)
    }

    /// As [`Collector::begin`]. Says whether the state must be given in full.
    pub fn begin(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        let is_full = self.shared.needs_full.load(Ordering::Relaxed);
        self.shared.is_making.store(true, Ordering::Relaxed);
        self.tell(CheckpointCommand::Begin {
            tick,
            machine,
            agents,
            is_full,
        });
        is_full
    }

    /// As [`Collector::state`].
    pub fn state(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.tell(CheckpointCommand::State {
            tick,
            agent,
            payload,
        });
    }

    /// As [`Collector::committed`].
    pub fn committed(&mut self, mark: JournalMark, outbox: OutboxMark) {
        self.tell(CheckpointCommand::Committed(mark, outbox));
    }

    /// As [`Collector::durable`], once the outbox is synced too, if it is to be.
    pub fn durable(&mut self, tick: Tick, outbox: Option<Arc<dyn File>>) {
        self.tell(CheckpointCommand::Durable(tick, outbox));
    }

    /// As [`Collector::abandon`].
    pub fn abandon(&mut self) {
        self.tell(CheckpointCommand::Abandon);
    }

    /// As [`Collector::begun_again`].
    pub fn begun_again(&mut self, agent: AgentId, base: Option<Arc<Checkpoint>>) {
        self.tell(CheckpointCommand::BegunAgain(agent, base));
    }

    /// What has become of checkpoints since the last call.
    #[must_use]
    pub fn news(&self) -> Vec<CheckpointOutcome> {
        std::mem::take(&mut *lock(&self.shared.news))
    }

    /// Why the outbox could not be brought to the disk, once. That must not be tried again.
    #[must_use]
    pub fn outbox_failed(&self) -> Option<io::Error> {
        lock(&self.shared.outbox_failed).take()
    }

    /// Waits until all is done that was told. Nothing more is heard after it.
    pub fn finish(&mut self) {
        if let CheckpointWorker::Thread { told, thread } = &mut self.work {
            drop(told.take());
            if let Some(thread) = thread.take() {
                // A panic of the thread has been printed by its own hook.
                let _ = thread.join();
            }
        }
    }

    fn tell(&mut self, what: CheckpointCommand) {
        match &mut self.work {
            // A thread that is gone has panicked, which was printed; the run needs it only to be faster later.
            CheckpointWorker::Thread { told, .. } => {
                drop(told.as_ref().map(|told| told.send(what)))
            }
            CheckpointWorker::Inline(collector) => hear(collector, what, &self.shared),
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(mut collector: Collector, told: &Receiver<CheckpointCommand>, shared: &CheckpointQueue) {
    while let Ok(what) = told.recv() {
        hear(&mut collector, what, shared);
    }
}

fn hear(collector: &mut Collector, what: CheckpointCommand, shared: &CheckpointQueue) {
    let done = match what {
        CheckpointCommand::Begin {
            tick,
            machine,
            agents,
            is_full,
        } => collector
            .begin(tick, machine, agents, is_full)
            .map(|()| None),
        CheckpointCommand::State {
            tick,
            agent,
            payload,
        } => collector.state(tick, agent, &payload),
        CheckpointCommand::Committed(mark, outbox) => collector.committed(mark, outbox),
        CheckpointCommand::Durable(tick, outbox) => {
            if let Some(Err(source)) = outbox.map(|outbox| outbox.sync()) {
                *lock(&shared.outbox_failed) = Some(source);
                collector.abandon();
            }
            collector.durable(tick)
        }
        CheckpointCommand::Abandon => {
            collector.abandon();
            Ok(None)
        }
        CheckpointCommand::BegunAgain(agent, base) => {
            collector.begun_again(agent, base.as_deref());
            Ok(None)
        }
    };
    let news = match done {
        Ok(None) => None,
        Ok(Some(checkpoint)) => Some(CheckpointOutcome::Published(checkpoint)),
        Err(error) => Some(CheckpointOutcome::Failed(error)),
    };
    let trouble = collector.take_trouble().map(CheckpointOutcome::Failed);
    lock(&shared.news).extend(news.into_iter().chain(trouble));
    shared
        .needs_full
        .store(collector.needs_full(), Ordering::Relaxed);
    shared
        .is_making
        .store(collector.is_making(), Ordering::Relaxed);
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
