//! Inputs and actions of the tick machine.

use super::batch::InferenceBatch;
use super::run_end::RunEnd;
use crate::record::{AwaitedRecord, ResultRecord, TickRecord, Verdict};
use shm_protocol::agent_to_supervisor::{AwaitRequest, Outcome};
use shm_protocol::id::{BatchId, HostId, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, Step};
use shm_protocol::tensor::Tensor;
use std::sync::Arc;

/// An input of the machine: an event of the real world, or a part of a journal.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names of these fields suffice")]
pub enum TickInput {
    /// All hosts are ready: open the first tick.
    Begin,
    /// A host answered steps of a tick.
    Outcomes {
        /// The host that answered.
        host: HostId,
        /// The tick that it answers.
        tick: Tick,
        /// Their outcomes.
        outcomes: Vec<Outcome>,
    },
    /// Agents of a host await answers within their steps of a tick.
    Parked {
        host: HostId,
        /// The tick of their steps.
        tick: Tick,
        /// The requests.
        awaits: Vec<AwaitRequest>,
    },
    /// The engine answered a batch: its outputs in the model's order, or the reason for which there are none.
    Answer {
        batch: BatchId,
        /// The outputs or the error.
        outputs: Result<Vec<Tensor>, String>,
    },
    /// The inference host is lost, and no batch is in flight any more.
    EngineLost,
    /// The inference host has crashed while it worked on a batch.
    Crashed { batch: BatchId },
    /// Replay: the results that the journal has for the open tick.
    Journaled(Vec<ResultRecord>),
    /// Replay: the answers that the journal has for awaits within the steps of the open tick. It comes before the
    /// steps.
    Awaited(Vec<AwaitedRecord>),
    /// The answer to [`TickAction::Proceed`].
    Proceed,
    /// A stop is requested: the run ends after the open tick.
    Stop,
    /// A verdict on the open tick, decided outside of the machine.
    Verdict(Verdict),
    /// A checkpoint is requested: [`TickAction::Checkpoint`] follows the tick that closes next.
    Checkpoint,
}

/// An action for the event loop. Actions are performed in their order.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names of these fields suffice")]
pub enum TickAction {
    /// Let a host step these agents.
    Step {
        host: HostId,
        /// The open tick.
        tick: Tick,
        /// The steps, in schedule order.
        steps: Vec<Step>,
    },
    /// Answer the awaits of agents of a host.
    Answer {
        host: HostId,
        /// The open tick.
        tick: Tick,
        /// The answers, in schedule order.
        answers: Vec<AwaitResult>,
    },
    /// Let the engine run a batch.
    Infer(InferenceBatch),
    /// Save the state after this tick: that of the machine, which is here, and that of the agents, before the steps
    /// that follow.
    Checkpoint {
        tick: Tick,
        /// The state for [`super::TickMachine::restore`].
        machine: Vec<u8>,
    },
    /// The tick is decided: journal it.
    Commit { tick: Tick, record: Arc<TickRecord> },
    /// No agent is due in the open tick: come back with [`TickInput::Proceed`]. One tick at a time, so that an idle run
    /// can be stopped.
    Proceed,
    /// The run is over; nothing comes after this.
    Finish(RunEnd),
}
