//! What the loop knows of one host: where it is in its life, what it owes, and
//! what must be said to its next incarnation.

use super::reexecute::Reexecution;
use super::restart::{HostRestart, LoadProgress};
use super::send_queue::SendQueue;
use crate::planted::{Bug, planted};
use shm_protocol::agent_to_supervisor::Outcome;
use shm_protocol::id::{AgentId, Incarnation, Tick};
use shm_protocol::supervisor_to_agent::{AwaitResult, Step};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

/// Where a host is.
#[derive(Debug, Default)]
pub(super) enum HostStage {
    /// It works.
    #[default]
    Serving,
    /// It is started again at this time.
    Pausing(Duration),
    /// It was started and has not said that it is ready.
    Starting,
    /// It is being told what to load.
    Loading(LoadProgress),
    /// It executes committed ticks again.
    Reexecuting(Box<Reexecution>),
    /// It does not come back.
    Retired,
}

/// What the loop knows of one host.
#[derive(Debug, Default)]
pub(super) struct HostSlot {
    pub(super) stage: HostStage,
    pub(super) incarnation: Incarnation,
    pub(super) send_queue: SendQueue,
    /// Answers that it owes.
    pub(super) outstanding: usize,
    /// For how long it has owed something, and neither said anything nor reported progress.
    pub(super) silent: Duration,
    /// The reports of progress that were seen.
    pub(super) reports: u64,
    /// The deadline that was missed last, by its key, the tick in which that was, and how often it was.
    pub(super) missed: Option<(&'static str, Tick, u32)>,
    /// The tick of the steps.
    pub(super) tick: Tick,
    /// What was asked of it in that tick, in that order.
    pub(super) steps: Vec<Step>,
    /// How many of them were sent to this incarnation.
    pub(super) sent: usize,
    /// How many of them, from the first, have been answered before: they only bring its agents to where they were.
    pub(super) repeated: usize,
    /// One step at a time, of those that have not been answered before.
    pub(super) is_isolating: bool,
    /// Outcomes that are known already: they are compared, and not taken a second time.
    pub(super) known: BTreeMap<(Tick, AgentId), Outcome>,
    /// Answers for steps that were sent to this incarnation, which wait for their turn.
    pub(super) answers: VecDeque<AwaitResult>,
    /// How many answers agents were told with their steps, where there were any. The machine may still have to say that
    /// it has the last one.
    pub(super) told: BTreeMap<AgentId, usize>,
    /// Agents of which not the outcome is known, but what they have waited for in the open tick, and whether they have
    /// waited again.
    pub(super) repeating: BTreeMap<AgentId, bool>,
    /// How it comes back, if it was lost.
    pub(super) restart: Option<HostRestart>,
    /// Checkpoints are not used for it: an agent that began with one did something else than the journal says.
    pub(super) ignores_checkpoints: bool,
}

impl HostSlot {
    /// Takes note of steps of the open tick.
    pub(super) fn ask(&mut self, tick: Tick, steps: Vec<Step>) {
        if self.tick == tick {
            self.steps.extend(steps);
        } else {
            (self.tick, self.steps, self.sent) = (tick, steps, 0);
            (self.repeated, self.is_isolating) = (0, false);
            self.forget_answers();
        }
    }

    /// Another incarnation gets the steps of the open tick. Those that have been answered before come first, all at
    /// once: the tick may close before they are answered again, and then nobody asks for them any more.
    pub(super) fn ask_again(&mut self, has_answered: impl Fn(AgentId) -> bool) {
        self.steps.sort_by_key(|step| !has_answered(step.agent));
        let answered = |step: &&Step| has_answered(step.agent);
        self.repeated = self.steps.iter().take_while(answered).count();
        self.sent = 0;
    }

    /// Which of the steps are to be sent now.
    pub(super) fn next_steps(&self) -> Range<usize> {
        match (self.is_isolating, self.outstanding) {
            (true, _) if self.sent < self.repeated => self.sent..self.repeated,
            (true, 0) => self.sent..self.steps.len().min(self.sent + 1),
            (true, _) => self.sent..self.sent,
            (false, _) => self.sent..self.steps.len(),
        }
    }

    /// Takes out the answers that are to be sent now. They come after all steps.
    pub(super) fn next_answers(&mut self) -> Vec<AwaitResult> {
        let count = match (self.is_isolating, self.outstanding) {
            (true, 0) => self.answers.len().min(1),
            (true, _) => 0,
            (false, _) => self.answers.len(),
        };
        self.answers.drain(..count).collect()
    }

    /// Whether an answer is for a step that this incarnation has, and was not told with it.
    pub(super) fn lacks(&self, answer: &AwaitResult) -> bool {
        let has_step = |step: &Step| step.agent == answer.agent;
        let told = self.told.get(&answer.agent).copied().unwrap_or(0);
        self.steps[..self.sent].iter().any(has_step) && answer.number as usize >= told
    }

    /// Whether something is known of its agents that has not come again.
    pub(super) fn is_restoring(&self) -> bool {
        !self.known.is_empty() || !self.repeating.is_empty()
    }

    /// Takes note of a deadline that was missed in a tick.
    pub(super) fn miss(&mut self, key: &'static str, tick: Tick) {
        self.missed = Some((key, tick, self.misses(key, tick) + 1));
    }

    /// How often a deadline was missed in a tick.
    pub(super) fn misses(&self, key: &'static str, tick: Tick) -> u32 {
        let same = self
            .missed
            .filter(|(missed, of, _)| (*missed, *of) == (key, tick));
        same.map_or(0, |(_, _, misses)| misses)
    }

    pub(super) fn expect_replies(&mut self, answers: usize) {
        if self.outstanding == 0 {
            self.silent = Duration::ZERO;
        }
        self.outstanding += answers;
    }

    pub(super) fn on_replies(&mut self, answers: usize) {
        self.outstanding = self.outstanding.saturating_sub(answers);
        self.silent = Duration::ZERO;
    }

    /// Nothing is asked of it in the open tick.
    pub(super) fn ask_nothing(&mut self) {
        self.steps.clear();
        self.forget_answers();
        (self.sent, self.repeated) = (0, 0);
    }

    fn forget_answers(&mut self) {
        self.answers.clear();
        self.told.clear();
    }

    /// Forgets what belongs to an incarnation that is gone.
    pub(super) fn reset_after_crash(&mut self) {
        if !planted(Bug::SendWhatWasForTheDead) {
            self.send_queue = SendQueue::default();
        }
        (self.outstanding, self.silent, self.reports) = (0, Duration::ZERO, 0);
        (self.sent, self.repeated) = (0, 0);
        self.forget_answers();
        self.known.clear();
        self.repeating.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn step(agent: u32) -> Step {
        Step {
            agent: AgentId(agent),
            events: Vec::new(),
        }
    }

    #[test]
    fn steps_that_were_answered_before_are_not_held_back_by_care() {
        let mut station = HostSlot::default();
        station.ask(Tick(1), (0..4).map(step).collect());
        station.is_isolating = true;
        station.ask_again(|agent| agent.0 % 2 == 1);
        let order: Vec<u32> = station.steps.iter().map(|step| step.agent.0).collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(station.next_steps(), 0..2);
        (station.sent, station.outstanding) = (2, 2);
        assert_eq!(station.next_steps(), 2..2);
        station.outstanding = 0;
        assert_eq!(station.next_steps(), 2..3);
        station.ask(Tick(2), (0..4).map(step).collect());
        assert_eq!(station.next_steps(), 0..4);
    }

    #[test]
    fn what_was_told_with_a_step_is_not_lacking() {
        let answer = |agent, number| AwaitResult {
            agent: AgentId(agent),
            number,
            outcome: Arc::new(Err("no".to_owned())),
        };
        let mut station = HostSlot::default();
        station.ask(Tick(1), (0..3).map(step).collect());
        station.sent = 2;
        station.told.insert(AgentId(1), 3);
        assert!(station.lacks(&answer(0, 0)));
        assert!(!station.lacks(&answer(1, 2)), "it came with the step");
        assert!(station.lacks(&answer(1, 3)));
        assert!(
            !station.lacks(&answer(2, 0)),
            "it will come with the step, which is not sent"
        );
        station.reset_after_crash();
        (station.sent, station.stage) = (3, HostStage::Serving);
        assert!(
            station.lacks(&answer(1, 0)),
            "another incarnation was told nothing"
        );
    }
}
