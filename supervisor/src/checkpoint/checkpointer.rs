//! Makes checkpoints beside the ticks: the event loop only passes records on.

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

/// Commands of the event loop.
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
    AgentRestarted(AgentId, Option<Arc<Checkpoint>>),
}

/// The outcome of a checkpoint.
#[derive(Debug)]
pub enum CheckpointOutcome {
    /// A checkpoint was published.
    Published(Arc<Checkpoint>),
    /// A checkpoint failed.
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
        commands: Option<Sender<CheckpointCommand>>,
        thread: Option<JoinHandle<()>>,
    },
    /// Within every call, for simulations without threads.
    Inline(Box<Collector>),
}

#[derive(Debug, Default)]
struct CheckpointQueue {
    is_pending: AtomicBool,
    needs_full: AtomicBool,
    outcomes: Mutex<Vec<CheckpointOutcome>>,
    outbox_error: Mutex<Option<io::Error>>,
}

impl Checkpointer {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn start(collector: Collector) -> io::Result<Checkpointer> {
        let shared = Arc::new(CheckpointQueue::default());
        let (commands, receiver) = mpsc::channel();
        let thread_queue = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || run(collector, &receiver, &thread_queue))?;
        Ok(Checkpointer {
            work: CheckpointWorker::Thread {
                commands: Some(commands),
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

    /// True while a checkpoint is being made: no other may begin.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        // Relaxed: it decides only whether another one is begun now or a tick later.
        self.shared.is_pending.load(Ordering::Relaxed)
    }

    /// As [`Collector::begin`]. True if the full state is needed.
    pub fn begin(&mut self, tick: Tick, machine: Vec<u8>, agents: Vec<AgentId>) -> bool {
        let is_full = self.shared.needs_full.load(Ordering::Relaxed);
        self.shared.is_pending.store(true, Ordering::Relaxed);
        self.send(CheckpointCommand::Begin {
            tick,
            machine,
            agents,
            is_full,
        });
        is_full
    }

    /// As [`Collector::state`].
    pub fn state(&mut self, tick: Tick, agent: AgentId, payload: Vec<u8>) {
        self.send(CheckpointCommand::State {
            tick,
            agent,
            payload,
        });
    }

    /// As [`Collector::committed`].
    pub fn committed(&mut self, mark: JournalMark, outbox: OutboxMark) {
        self.send(CheckpointCommand::Committed(mark, outbox));
    }

    /// As [`Collector::durable`], once the outbox is synced too, if it is to be.
    pub fn durable(&mut self, tick: Tick, outbox: Option<Arc<dyn File>>) {
        self.send(CheckpointCommand::Durable(tick, outbox));
    }

    /// As [`Collector::abandon`].
    pub fn abandon(&mut self) {
        self.send(CheckpointCommand::Abandon);
    }

    /// As [`Collector::begun_again`].
    pub fn agent_restarted(&mut self, agent: AgentId, base: Option<Arc<Checkpoint>>) {
        self.send(CheckpointCommand::AgentRestarted(agent, base));
    }

    /// The outcomes since the last call.
    #[must_use]
    pub fn take_outcomes(&self) -> Vec<CheckpointOutcome> {
        std::mem::take(&mut *lock(&self.shared.outcomes))
    }

    /// The error of a failed sync of the outbox, once. The sync must not be tried again.
    #[must_use]
    pub fn take_outbox_error(&self) -> Option<io::Error> {
        lock(&self.shared.outbox_error).take()
    }

    /// Waits until all commands are done. Later commands are ignored.
    pub fn finish(&mut self) {
        if let CheckpointWorker::Thread { commands, thread } = &mut self.work {
            drop(commands.take());
            if let Some(thread) = thread.take() {
                // A panic of the thread has been printed by its own hook.
                let _ = thread.join();
            }
        }
    }

    fn send(&mut self, command: CheckpointCommand) {
        match &mut self.work {
            // A thread that has ended has panicked, which was printed; the run needs checkpoints only to recover
            // faster.
            CheckpointWorker::Thread { commands, .. } => {
                drop(commands.as_ref().map(|commands| commands.send(command)))
            }
            CheckpointWorker::Inline(collector) => handle(collector, command, &self.shared),
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(mut collector: Collector, commands: &Receiver<CheckpointCommand>, shared: &CheckpointQueue) {
    while let Ok(command) = commands.recv() {
        handle(&mut collector, command, shared);
    }
}

fn handle(collector: &mut Collector, command: CheckpointCommand, shared: &CheckpointQueue) {
    let result = match command {
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
                *lock(&shared.outbox_error) = Some(source);
                collector.abandon();
            }
            collector.durable(tick)
        }
        CheckpointCommand::Abandon => {
            collector.abandon();
            Ok(None)
        }
        CheckpointCommand::AgentRestarted(agent, base) => {
            collector.agent_restarted(agent, base.as_deref());
            Ok(None)
        }
    };
    let outcome = match result {
        Ok(None) => None,
        Ok(Some(checkpoint)) => Some(CheckpointOutcome::Published(checkpoint)),
        Err(error) => Some(CheckpointOutcome::Failed(error)),
    };
    let cleanup_error = collector
        .take_cleanup_error()
        .map(CheckpointOutcome::Failed);
    lock(&shared.outcomes).extend(outcome.into_iter().chain(cleanup_error));
    shared
        .needs_full
        .store(collector.needs_full(), Ordering::Relaxed);
    shared
        .is_pending
        .store(collector.is_pending(), Ordering::Relaxed);
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
