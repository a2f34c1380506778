//! Counts of each agent over a whole run.

use crate::journal::{JournalEntry, JournalError, JournalReader};
use crate::record::RunHeader;
use shm_protocol::agent_to_supervisor::{Effect, Outcome, Status};
use std::fmt;

/// Counts of each agent over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// One for each agent, by [`shm_protocol::id::AgentId`].
    pub agents: Vec<AgentSummary>,
    /// Number of ticks.
    pub ticks: u64,
}

/// Counts of one agent over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSummary {
    /// Name of the agent.
    pub name: String,
    /// Steps.
    pub steps: u64,
    /// Fuel that the steps used.
    pub fuel_used: u64,
    /// Messages sent.
    pub messages: u64,
    /// Inference requests, with those that a step awaited.
    pub requests: u64,
    /// Outputs to the outbox.
    pub emits: u64,
    /// Steps that did not complete.
    pub failures: u64,
    /// Messages to the agent that were dropped.
    pub dropped: u64,
}

impl RunSummary {
    /// Counts over a journal from where the reader stands to its end.
    ///
    /// # Errors
    /// When the journal is damaged.
    pub fn read(
        header: &RunHeader,
        reader: &mut JournalReader,
    ) -> Result<RunSummary, JournalError> {
        let named = |name: &String| AgentSummary {
            name: name.clone(),
            ..AgentSummary::default()
        };
        let agents = header
            .agents
            .iter()
            .map(|agent| named(&agent.name))
            .collect();
        let mut summary = RunSummary { agents, ticks: 0 };
        while let Some(entry) = reader.next_tick()? {
            summary.add(&entry);
        }
        Ok(summary)
    }

    fn add(&mut self, entry: &JournalEntry) {
        self.ticks += 1;
        for outcome in &entry.record.outcomes {
            self.agents[outcome.agent.index()].add(outcome);
        }
        for dropped in &entry.record.dropped {
            self.agents[dropped.receiver.index()].dropped += dropped.messages;
        }
    }
}

impl AgentSummary {
    fn add(&mut self, outcome: &Outcome) {
        self.steps += 1;
        self.fuel_used = self.fuel_used.saturating_add(outcome.fuel_used);
        self.failures += u64::from(outcome.status != Status::Completed);
        for effect in &outcome.effects {
            match effect {
                Effect::Send { .. } => self.messages += 1,
                Effect::Submit { .. } | Effect::Infer { .. } => self.requests += 1,
                Effect::Emit { .. } => self.emits += 1,
                Effect::Log(_) | Effect::Finish { .. } => {}
            }
        }
    }
}

impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .agents
            .iter()
            .map(|agent| agent.name.chars().count())
            .max()
            .unwrap_or(0)
            .max("agent".len());
        writeln!(f, "{} ticks", self.ticks)?;
        writeln!(
            f,
            "{:width$} {:>9} {:>15} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "agent", "steps", "fuel", "messages", "requests", "emits", "failures", "dropped"
        )?;
        for agent in &self.agents {
            let AgentSummary {
                name,
                steps,
                fuel_used,
                messages,
                requests,
                emits,
                failures,
                dropped,
            } = agent;
            writeln!(
                f,
                "{name:width$} {steps:>9} {fuel_used:>15} {messages:>9} {requests:>9} {emits:>9} {failures:>9} {dropped:>9}"
            )?;
        }
        Ok(())
    }
}
