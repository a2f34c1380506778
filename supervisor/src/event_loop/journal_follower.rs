//! A machine that follows a journal: it takes every turn that the run took.

use crate::error::RunError;
use crate::journal::JournalEntry;
use crate::planted::{Bug, planted};
use crate::tick::{TickAction, TickInput, TickMachine};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{HostId, Tick};
use std::collections::BTreeMap;

/// A machine that follows a journal.
#[derive(Debug)]
pub(crate) struct JournalFollower {
    machine: TickMachine,
    /// The last tick that was read. Its outcomes go to the machine once the verdicts of the next tick are known,
    /// because they open that.
    pending: Option<JournalEntry>,
    actions: Vec<TickAction>,
}

impl JournalFollower {
    /// A machine that has not opened the tick which comes first.
    pub(crate) fn new(machine: TickMachine) -> JournalFollower {
        JournalFollower {
            machine,
            pending: None,
            actions: Vec::new(),
        }
    }

    /// The last tick that it has followed.
    pub(crate) fn tick(&self) -> Tick {
        match &self.pending {
            Some(entry) => entry.tick,
            None => self.machine.tick(),
        }
    }

    /// Follows one tick further. Gives what the machine asked for on the way, also of the tick before.
    ///
    /// # Errors
    /// When the journal has what the machine has not asked for.
    pub(crate) fn follow(
        &mut self,
        entry: JournalEntry,
    ) -> Result<std::vec::Drain<'_, TickAction>, RunError> {
        if !planted(Bug::ForgetVerdict) {
            self.machine
                .preload_verdicts(entry.tick, entry.record.verdicts.clone());
        }
        self.open_next()?;
        if !entry.record.results.is_empty() {
            self.apply(TickInput::Journaled(entry.record.results.clone()))?;
        }
        if !entry.record.awaited.is_empty() {
            self.apply(TickInput::Awaited(entry.record.awaited.clone()))?;
        }
        self.pending = Some(entry);
        Ok(self.actions.drain(..))
    }

    /// Ends the run after this tick, which is not before the last one followed.
    pub(crate) fn end_after(&mut self, until: Option<Tick>) {
        self.machine.end_after(until);
    }

    /// The machine with the tick open that comes after all that it has followed, and what it asks for in it. That tick
    /// is decided by nobody else, so an agent with so many abandoned requests is quarantined in it.
    ///
    /// # Errors
    /// When the journal has what the machine has not asked for.
    pub(crate) fn arrive(
        mut self,
        quarantine_after: u32,
    ) -> Result<(TickMachine, Vec<TickAction>), RunError> {
        if !planted(Bug::ForgetQuarantine) {
            self.machine.quarantine_after(quarantine_after);
        }
        self.open_next()?;
        let open = self.machine.tick();
        // What was committed needs no second commit. What was asked of the engine and not answered is known to the
        // machine.
        self.actions.retain(|action| match action {
            TickAction::Step { tick, .. } => *tick == open,
            TickAction::Proceed | TickAction::Finish(_) => true,
            TickAction::Answer { .. }
            | TickAction::Infer(_)
            | TickAction::Checkpoint { .. }
            | TickAction::Commit { .. } => false,
        });
        Ok((self.machine, self.actions))
    }

    /// Lets the machine close the pending tick as it was closed then, which opens the next one.
    fn open_next(&mut self) -> Result<(), RunError> {
        let Some(entry) = self.pending.take() else {
            return self.apply(TickInput::Begin);
        };
        let tick = entry.tick;
        if entry.record.outcomes.is_empty() {
            return self.apply(TickInput::Proceed);
        }
        let mut by_host: BTreeMap<HostId, Vec<Outcome>> = BTreeMap::new();
        for outcome in entry.record.outcomes {
            let host = self.machine.host_of(outcome.agent);
            by_host.entry(host).or_default().push(outcome);
        }
        for (host, outcomes) in by_host {
            self.apply(TickInput::Outcomes {
                host,
                tick,
                outcomes,
            })?;
        }
        Ok(())
    }

    fn apply(&mut self, input: TickInput) -> Result<(), RunError> {
        self.machine
            .apply(input, &mut self.actions)
            .map_err(RunError::Journaled)
    }
}
