//! The errors that end an agent host. Faults of agents are none of them: they are outcomes, which [`crate::serve`]
//! reports.

use crate::limiter::MachineExhausted;
use shm_protocol::agent_state::PAGE_BYTES;
use shm_protocol::agent_to_supervisor::{Blame, Failure};
use shm_protocol::boot::{BadHostArguments, Extent};
use shm_protocol::codec::DecodeError;
use shm_protocol::host_process::BeginError;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::link::LinkError;
use shm_protocol::ring::{PushError, RecordHeader, RingViolation};
use std::io;
use thiserror::Error;

/// An error that ends an agent host.
#[derive(Debug, Error)]
pub enum AgentHostError {
    /// The process was not started in the way in which a supervisor starts a host.
    #[error(transparent)]
    Arguments(#[from] BadHostArguments),
    /// The process could not attach to its supervisor.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The rings cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The memory with the compiled components cannot be used.
    #[error("cannot map the compiled components: {0}")]
    Artifacts(io::Error),
    /// The extent of a compiled component exceeds the artifact memory.
    #[error("agent {agent}: {extent:?} is outside of the {total} bytes of compiled components")]
    Extent {
        /// The agent.
        agent: AgentId,
        /// Position of its component.
        extent: Extent,
        /// Bytes of the artifact memory.
        total: usize,
    },
    /// The engine cannot be set up, or refuses a compiled component.
    #[error("wasmtime refuses {what}: {reason}")]
    Engine {
        /// The refused operation.
        what: String,
        /// The engine's message.
        reason: String,
    },
    /// A layer of confinement cannot be added.
    #[error("cannot add the filter against new machine code: {0}")]
    Confine(String),
    /// A command came before one that it depends on.
    #[error("command {command} is out of order: {reason}")]
    Order {
        /// The command.
        command: &'static str,
        /// The violated order.
        reason: &'static str,
    },
    /// The ring down holds data that a supervisor never writes.
    #[error(transparent)]
    Violation(#[from] RingViolation),
    /// The ring up does not take a record.
    #[error("a record of tick {tick} cannot be sent: {source}")]
    Push {
        /// The tick.
        tick: Tick,
        /// The ring's error.
        source: PushError,
    },
    /// A record cannot be decoded.
    #[error("a record of tick {tick} cannot be decoded: {source}")]
    Decode {
        /// The tick.
        tick: Tick,
        /// The decoder's error.
        source: DecodeError,
    },
    /// A record of a kind that agent hosts do not handle.
    #[error("an agent host handles no records of kind {0}")]
    Kind(u16),
    /// A record for an agent that this host does not have.
    #[error("a record of tick {tick} is for agent {agent}, which this host has not loaded")]
    NoSuchAgent {
        /// The agent.
        agent: AgentId,
        /// The tick.
        tick: Tick,
    },
    /// The supervisor sent something that does not fit the progress of an agent's step.
    #[error("agent {agent} gets {what} out of turn")]
    OutOfTurn {
        /// The agent.
        agent: AgentId,
        /// The message of the supervisor.
        what: String,
    },
    /// An agent cannot be restored, or is used before it is restored.
    #[error("agent {agent} cannot be restored: {source}")]
    Restore {
        /// The agent.
        agent: AgentId,
        /// The reason.
        source: RestoreError,
    },
    /// The machine does not provide what the fleet file grants an agent.
    #[error(
        "agent {agent}: {reason}; free some memory, or lower memory_bytes or the number of agents"
    )]
    Machine {
        /// The agent.
        agent: AgentId,
        /// The failed operation.
        reason: String,
    },
}

/// Records that cannot be restored to the state of an agent.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// No state of this agent can have been captured.
    #[error("its state cannot be captured: {reason}")]
    Opaque {
        /// The reason.
        reason: String,
    },
    /// The agent was not loaded to be restored, or is restored already.
    #[error("it expects no state")]
    Unexpected,
    /// A step or snapshot of an agent that is not restored yet.
    #[error("{what} comes before the last record of its state")]
    TooEarly {
        /// The request.
        what: String,
    },
    /// The records belong to more than one state.
    #[error("its records belong to different states")]
    Mixed,
    /// The recorded size of its memory is not possible.
    #[error(
        "its recorded memory of {memory_bytes} bytes is not possible; the limit is {max_bytes} bytes in pages of 64 KiB"
    )]
    MemoryBytes {
        /// The recorded size.
        memory_bytes: u64,
        /// The limit in the fleet file.
        max_bytes: u64,
    },
    /// The number of recorded globals is not that of the component.
    #[error("its record has {given} globals, and its component has {declared}")]
    Globals {
        /// Globals in the record.
        given: usize,
        /// Globals of the component.
        declared: u32,
    },
    /// A page is beyond the end of the memory.
    #[error("its page {index} is outside of its memory of {memory_bytes} bytes")]
    PageOutside {
        /// The page.
        index: u32,
        /// The size of the memory; zero without an instance.
        memory_bytes: usize,
    },
    /// A page is neither complete nor empty.
    #[error(
        "its page {index} has {bytes} bytes, where a page has {PAGE_BYTES} or, if all are zero, none"
    )]
    PageBytes {
        /// The page.
        index: u32,
        /// Bytes of the page.
        bytes: usize,
    },
    /// A page comes twice, or before one with a smaller number.
    #[error("its page {index} is out of order")]
    PageOrder {
        /// The page.
        index: u32,
    },
    /// The instance cannot be made.
    #[error("its component cannot be instantiated: {reason}")]
    Instance {
        /// The engine's message.
        reason: String,
    },
}

impl AgentHostError {
    /// The error of the machine behind an error of wasmtime. `None` if the error is the agent's.
    pub(crate) fn of_machine(agent: AgentId, error: &wasmtime::Error) -> Option<AgentHostError> {
        let of_machine = error.is::<MachineExhausted>()
            || error.is::<wasmtime::OutOfMemory>()
            || error.root_cause().is::<io::Error>()
            // The engine has no memory for the stack of a step that can await.
            || crate::sys::is_kernel_error(error);
        of_machine.then(|| AgentHostError::Machine {
            agent,
            reason: error.root_cause().to_string(),
        })
    }

    /// The kernel refuses an operation on the memory of an agent.
    pub(crate) fn of_memory(agent: AgentId, error: &io::Error) -> AgentHostError {
        AgentHostError::Machine {
            agent,
            reason: error.to_string(),
        }
    }

    /// The functions that the compiler has added to a component do not work.
    pub(crate) fn globals(agent: AgentId, error: &wasmtime::Error) -> AgentHostError {
        AgentHostError::Engine {
            what: format!("to read or write the globals of agent {agent}"),
            reason: format!("{error:#}"),
        }
    }

    /// The conversion of the ring's error for a record with this header.
    pub(crate) fn push(header: &RecordHeader) -> impl FnOnce(PushError) -> AgentHostError + use<> {
        let tick = header.tick;
        move |source| AgentHostError::Push { tick, source }
    }

    /// The error as a message to the supervisor.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        Failure {
            blame: self.blame(),
            message: format!("agent host: {self}"),
        }
    }

    /// The party at fault.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            AgentHostError::Machine { .. } => Blame::Machine,
            _ => Blame::Us,
        }
    }

    /// Exit code of a host that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.blame().exit_code()
    }
}
