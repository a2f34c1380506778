//! What goes into the machine and what comes out of it.

use super::batch::Batch;
use super::machine::RunEnd;
use crate::record::{AwaitedRecord, ResultRecord, TickRecord, Verdict};
use shm_protocol::agent_to_supervisor::{AwaitRequest, Outcome};
use shm_protocol::id::{BatchId, HostId, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, Step};
use shm_protocol::tensor::Tensor;
use std::sync::Arc;

/// What happened in the world.
#[derive(Debug)]
pub enum Input {
    /// All hosts are ready: open the first tick.
    Begin,
    /// A host answered steps of a tick.
    Outcomes {
        /// The host that answered.
        host: HostId,
        /// The tick it says it answered.
        tick: Tick,
        /// What it says.
        outcomes: Vec<Outcome>,
    },
    /// Agents of a host wait within their steps of a tick.
    Parked {
        /// The host.
        host: HostId,
        /// The tick it says they step in.
        tick: Tick,
        /// What they wait for.
        waits: Vec<AwaitRequest>,
    },
    /// The engine answered a batch: its outputs in the model's order, or why there are none.
    Answer {
        /// The batch.
        batch: BatchId,
        /// What the engine says.
        outputs: Result<Vec<Tensor>, String>,
    },
    /// The inference host is gone, and no batch is under way any more.
    EngineLost,
    /// The inference host has crashed while it worked on a batch.
    Crashed {
        /// The batch.
        batch: BatchId,
    },
    /// Replay: the results that the journal has for the open tick.
    Journaled(Vec<ResultRecord>),
    /// What agents waited for within their steps of the open tick, as a journal has it. Comes before they step.
    Awaited(Vec<AwaitedRecord>),
    /// The answer to [`Action::Proceed`].
    Proceed,
    /// Somebody asks the run to end after the open tick.
    Stop,
    /// It was decided from outside that the open tick goes another way.
    Verdict(Verdict),
    /// The tick that closes next is to be followed by [`Action::Checkpoint`].
    Checkpoint,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Let a host step these agents.
    Step {
        /// The host.
        host: HostId,
        /// The open tick.
        tick: Tick,
        /// The steps, in schedule order.
        steps: Vec<Step>,
    },
    /// Let a host go on with agents that wait within their steps.
    Answer {
        /// The host.
        host: HostId,
        /// The open tick.
        tick: Tick,
        /// What they waited for, in schedule order.
        answers: Vec<AwaitResult>,
    },
    /// Let the engine run a batch.
    Infer(Batch),
    /// The state of everything after this tick is to be kept: of the machine, which is here, and of the agents, before
    /// they take the steps that follow.
    Checkpoint {
        /// The tick.
        tick: Tick,
        /// For [`super::Machine::restore`].
        machine: Vec<u8>,
    },
    /// The tick is decided: journal it.
    Commit {
        /// The tick.
        tick: Tick,
        /// What is journaled.
        record: Arc<TickRecord>,
    },
    /// Nobody is due in the open tick: come back with [`Input::Proceed`]. One tick at a time, so that whoever wants to
    /// stop a run that only waits is heard.
    Proceed,
    /// The run is over; nothing comes after this.
    Finish(RunEnd),
}
