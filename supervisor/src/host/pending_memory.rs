//! Memory for an incarnation that is to come, created on a thread because it takes some milliseconds.

use super::spawn::IncarnationMemory;
use shm_protocol::id::Incarnation;
use shm_protocol::link::{LinkError, LinkSizes, SupervisorLink};
use std::thread::{self, JoinHandle};
use std::{io, panic};

/// Memory that is being created.
pub(super) struct PendingMemory {
    incarnation: Incarnation,
    thread: JoinHandle<Result<IncarnationMemory, LinkError>>,
}

impl PendingMemory {
    /// Starts the thread.
    pub(super) fn begin(
        incarnation: Incarnation,
        sizes: LinkSizes,
        may_fault: bool,
    ) -> io::Result<PendingMemory> {
        let thread = thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || SupervisorLink::create_with(sizes, incarnation, may_fault))?;
        Ok(PendingMemory {
            incarnation,
            thread,
        })
    }

    /// Whether [`PendingMemory::finish`] does not wait.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The memory, and the incarnation that it is for.
    pub(super) fn finish(self) -> Result<(Incarnation, IncarnationMemory), LinkError> {
        let memory = self.thread.join();
        let memory = memory.unwrap_or_else(|payload| panic::resume_unwind(payload))?;
        Ok((self.incarnation, memory))
    }
}
