//! Why an agent host cannot go on. None of it is the fault of an agent: what
//! agents do wrong is an outcome, which [`crate::serve`] reports.

pub use crate::agent::RestoreError;

use crate::limiter::MachineExhausted;
use shm_protocol::agent_to_supervisor::{Blame, Failure};
use shm_protocol::boot::{BadHostArguments, Extent};
use shm_protocol::codec::DecodeError;
use shm_protocol::host_process::BeginError;
use shm_protocol::id::{AgentId, Tick};
use shm_protocol::link::LinkError;
use shm_protocol::ring::{PushError, RingViolation};
use std::io;
use thiserror::Error;

/// Why an agent host cannot go on.
#[derive(Debug, Error)]
pub enum HostError {
    /// The process was not started as a host is.
    #[error(transparent)]
    Arguments(#[from] BadHostArguments),
    /// The first steps failed.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The rings cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The memory with the compiled components cannot be used.
    #[error("cannot map the compiled components: {0}")]
    Artifacts(io::Error),
    /// A compiled component is not where its extent says.
    #[error("agent {agent}: {extent:?} is outside of the {total} bytes of compiled components")]
    Extent {
        /// The agent.
        agent: AgentId,
        /// Where its component should be.
        extent: Extent,
        /// How many bytes there are.
        total: usize,
    },
    /// The engine cannot be set up, or refuses a compiled component.
    #[error("wasmtime refuses {what}: {reason}")]
    Engine {
        /// What it was given.
        what: String,
        /// What it said.
        reason: String,
    },
    /// A layer of confinement cannot be added.
    #[error("the process cannot confine itself further: {0}")]
    Confine(String),
    /// A command came before another that it needs.
    #[error("command {command} is out of order: {reason}")]
    Order {
        /// The command.
        command: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// The ring down holds something that a supervisor never writes.
    #[error(transparent)]
    Violation(#[from] RingViolation),
    /// The ring up does not take a record.
    #[error("an answer of tick {tick} cannot be sent: {source}")]
    Push {
        /// The tick.
        tick: Tick,
        /// What the ring said.
        source: PushError,
    },
    /// A record is not what its kind says.
    #[error("a record of tick {tick}: {source}")]
    Decode {
        /// The tick.
        tick: Tick,
        /// What the decoder said.
        source: DecodeError,
    },
    /// A record of a kind that only others get.
    #[error("an agent host takes no records of kind {0}")]
    Kind(u16),
    /// A record for an agent that this host does not have.
    #[error("a record of tick {tick} is for agent {agent}, which this host has not loaded")]
    NoSuchAgent {
        /// The agent.
        agent: AgentId,
        /// The tick.
        tick: Tick,
    },
    /// The supervisor asks something of an agent that is somewhere else in its steps.
    #[error("agent {agent} gets {what} out of turn")]
    OutOfTurn {
        /// The agent.
        agent: AgentId,
        /// What it gets.
        what: String,
    },
    /// An agent cannot be restored, or is used before it is.
    #[error("agent {agent} cannot be restored: {source}")]
    Restore {
        /// The agent.
        agent: AgentId,
        /// What is wrong.
        source: RestoreError,
    },
    /// The machine cannot give what the fleet file promises an agent.
    #[error(
        "agent {agent}: {reason}; free some memory, or lower memory_bytes or the number of agents"
    )]
    Machine {
        /// The agent.
        agent: AgentId,
        /// What was asked for.
        reason: String,
    },
}

impl HostError {
    /// The error that wasmtime's is, if it comes from the machine and not from the agent.
    pub(crate) fn of_machine(agent: AgentId, error: &wasmtime::Error) -> Option<HostError> {
        let of_machine = error.is::<MachineExhausted>()
            || error.is::<wasmtime::OutOfMemory>()
            || error.root_cause().is::<io::Error>()
            // The engine has no room for the stack of a step that may wait.
            || error.root_cause().is::<rustix::io::Errno>();
        of_machine.then(|| HostError::Machine {
            agent,
            reason: error.root_cause().to_string(),
        })
    }

    /// The kernel refuses something about the memory of an agent.
    pub(crate) fn of_memory(agent: AgentId, error: &io::Error) -> HostError {
        HostError::Machine {
            agent,
            reason: error.to_string(),
        }
    }

    /// The functions that the compiler has added to a component do not do what they are there for.
    pub(crate) fn variables(agent: AgentId, error: &wasmtime::Error) -> HostError {
        HostError::Engine {
            what: format!("to read or write the variables of agent {agent}"),
            reason: format!("{error:#}"),
        }
    }

    /// The error as the supervisor gets it.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        Failure {
            blame: self.blame(),
            message: format!("agent host: {self}"),
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            HostError::Machine { .. } => Blame::Machine,
            _ => Blame::Us,
        }
    }

    /// The exit code of a host that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.blame() {
            Blame::Input => 2,
            Blame::Demand => 3,
            Blame::Machine => 5,
            Blame::Us => 70,
        }
    }
}
