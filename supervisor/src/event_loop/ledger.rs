//! What the loop of a run needs of its journal and its checkpoints.

use crate::checkpoint::BaseState;
use crate::error::RunError;
use crate::journal::{JournalMark, JournalReader};
use crate::record::{AwaitedRecord, ResultRecord, TickRecord};
use crate::rundir::RunEvent;
use shm_protocol::id::{AgentId, HostId, Tick};
use std::ops::ControlFlow;

/// Where committed ticks go, and where they come from when a host must execute them again.
pub trait Ledger {
    /// Takes a committed tick, and says whether the run goes on.
    ///
    /// # Errors
    /// [`RunError`] ends the run; the tick does not count as committed.
    fn commit(&mut self, tick: Tick, record: &TickRecord) -> Result<ControlFlow<()>, RunError>;

    /// The inference results of the tick that is open now, if the ledger has them and not an engine.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn results(&mut self, _tick: Tick) -> Result<Vec<ResultRecord>, RunError> {
        Ok(Vec::new())
    }

    /// What agents wait for within their steps of that tick, if the ledger has it. Asked after [`Ledger::results`].
    fn awaited(&mut self) -> Vec<AwaitedRecord> {
        Vec::new()
    }

    /// The last tick that is as durable as the run promises.
    fn durable(&self) -> Tick {
        Tick(u64::MAX)
    }

    /// Called when the supervisor has nothing else to do.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn idle(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// Takes note of what happened around the run.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn event(&mut self, _event: RunEvent) -> Result<(), RunError> {
        Ok(())
    }

    /// An agent host of a run that goes on is back at work: what its agents began with, and ticks that it executed
    /// again.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn resumed(
        &mut self,
        _host: HostId,
        _checkpoint: Option<Tick>,
        _redone: u64,
    ) -> Result<(), RunError> {
        Ok(())
    }

    /// The committed ticks after a mark, or all of them.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn ticks_after(&mut self, mark: Option<&JournalMark>) -> Result<JournalReader, RunError>;

    /// The best state to begin these agents with: of the newest checkpoint that can be read and is not distrusted, or
    /// none.
    ///
    /// # Errors
    /// [`RunError`] ends the run.
    fn base(&mut self, _agents: &[AgentId]) -> Result<Option<BaseState>, RunError> {
        Ok(None)
    }

    /// Whether the state of all agents is to be captured after the tick that comes, and if so, whether in full.
    fn wants_snapshot(&mut self, _committed: Tick) -> bool {
        false
    }

    /// The state after a tick comes, of these agents. Says whether it must be given in full.
    fn snapshot_begun(&mut self, _tick: Tick, _machine: Vec<u8>, _agents: Vec<AgentId>) -> bool {
        false
    }

    /// A part of the state of an agent, as its host has sent it.
    fn snapshot_part(&mut self, _tick: Tick, _agent: AgentId, _payload: Vec<u8>) {}

    /// An agent has begun again with its state after this tick, or without any: what it says next of its state
    /// is told as a difference to that.
    fn begun_again(&mut self, _agent: AgentId, _base: Option<Tick>) {}
}
