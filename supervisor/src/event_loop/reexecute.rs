//! The committed ticks once more, for the agents of one host: a second machine
//! follows the journal and asks for the very steps that were asked for then.

use super::journal_follower::JournalFollower;
use crate::checkpoint::BaseState;
use crate::error::RunError;
use crate::journal::{JournalEntry, JournalMark, JournalReader};
use crate::planted::{Bug, planted};
use crate::tick::{RunPlan, TickAction, TickMachine};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, Step};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Follows the journal for one host.
#[derive(Debug)]
pub(super) struct Reexecution {
    host: HostId,
    /// For each agent that comes back, the last tick that its state contains.
    agents: BTreeMap<AgentId, Tick>,
    follower: JournalFollower,
    reader: JournalReader,
    mark: Option<JournalMark>,
}

/// A tick to execute again.
pub(super) struct PastTick {
    pub(super) tick: Tick,
    pub(super) steps: Vec<Step>,
    /// What they waited for was answered so.
    pub(super) answers: Vec<AwaitResult>,
    /// What they came to then.
    pub(super) outcomes: Vec<Outcome>,
}

impl Reexecution {
    /// Follows the journal from a state, or from its beginning.
    pub(super) fn new(
        host: HostId,
        plan: RunPlan,
        base: Option<&BaseState>,
        agents: BTreeMap<AgentId, Tick>,
        reader: JournalReader,
    ) -> Result<Reexecution, RunError> {
        let machine = match base {
            Some(base) => TickMachine::restore(plan, None, &base.machine)?,
            None => TickMachine::new(plan, None),
        };
        Ok(Reexecution {
            host,
            agents,
            follower: JournalFollower::new(machine),
            reader,
            mark: base.map(|base| base.mark),
        })
    }

    /// The last tick that was read.
    pub(super) fn tick(&self) -> Tick {
        self.follower.tick()
    }

    /// Where to read on, when the journal has grown.
    pub(super) fn mark(&self) -> Option<&JournalMark> {
        self.mark.as_ref()
    }

    /// Reads on from here.
    pub(super) fn read_from(&mut self, reader: JournalReader) {
        self.reader = reader;
    }

    /// The next committed tick; none when the reader has come to its end.
    pub(super) fn next(&mut self) -> Result<Option<PastTick>, RunError> {
        let Some(entry) = self.reader.next_tick()? else {
            return Ok(None);
        };
        self.mark = Some(self.reader.mark());
        let (outcomes, answers) = (self.outcomes(&entry), self.answers(&entry));
        let tick = entry.tick;
        let actions = self.follower.follow(entry)?;
        let mut steps = Vec::new();
        for action in actions {
            match action {
                TickAction::Step {
                    host,
                    tick: of,
                    steps: asked,
                } if host == self.host && of == tick => steps.extend(asked),
                _ => {}
            }
        }
        steps.retain(|step| self.is_wanted(step.agent, tick));
        Ok(Some(PastTick {
            tick,
            steps,
            answers,
            outcomes,
        }))
    }

    fn answers(&self, entry: &JournalEntry) -> Vec<AwaitResult> {
        let mut numbers: BTreeMap<AgentId, u32> = BTreeMap::new();
        let awaited = entry.record.awaited.iter().map(|record| {
            let next = numbers.entry(record.agent).or_default();
            AwaitResult {
                agent: record.agent,
                number: std::mem::replace(next, *next + 1),
                outcome: Arc::clone(&record.outcome),
            }
        });
        awaited
            .filter(|answer| self.is_wanted(answer.agent, entry.tick))
            .collect()
    }

    fn outcomes(&self, entry: &JournalEntry) -> Vec<Outcome> {
        let outcomes = entry.record.outcomes.iter();
        outcomes
            .filter(|outcome| self.is_wanted(outcome.agent, entry.tick))
            .cloned()
            .collect()
    }

    /// Whether an agent comes back with a state that does not contain this tick.
    fn is_wanted(&self, agent: AgentId, tick: Tick) -> bool {
        self.agents.get(&agent).is_some_and(|contained| match () {
            () if planted(Bug::RedoOneLess) => tick > contained.next(),
            () if planted(Bug::RedoOneMore) => tick >= *contained,
            () => tick > *contained,
        })
    }
}
