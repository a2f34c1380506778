//! Agents that wait within their steps: they are parked until the round is
//! answered, and then go on.

use crate::planted::{Bug, planted};
use crate::record::AwaitedRecord;
use crate::tick::action::Action;
use crate::tick::check::check_inputs;
use crate::tick::machine::{AgentPhase, AgentState, TickMachine};
use crate::tick::rounds::{AwaitedRequest, Round, StartedAwait};
use crate::tick::violation::Violation;
use shm_protocol::agent_to_supervisor::{AwaitRequest, Outcome};
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::{AwaitResult, RequestResult};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a step is answered that waits for something else than a journal says, where there is no engine to ask.
const NOT_IN_THE_JOURNAL: &str = "the journal has no answer to this";

impl TickMachine {
    /// Takes what agents wait for from the journal alone: there is no engine.
    #[must_use]
    pub fn without_engine(mut self) -> TickMachine {
        self.has_engine = false;
        self
    }

    /// What an agent has waited for in the open tick, in that order.
    #[must_use]
    pub fn asked(&self, agent: AgentId) -> &[AwaitedRequest] {
        let held = self.agents.get(agent.index());
        held.map_or(&[], |held| &held.waits.asked)
    }

    /// What it was answered. One less while it is parked.
    #[must_use]
    pub fn answers(&self, agent: AgentId) -> &[Arc<RequestResult>] {
        let held = self.agents.get(agent.index());
        held.map_or(&[], |held| &held.waits.answers)
    }

    /// Whether an agent waits within its step.
    #[must_use]
    pub fn is_parked(&self, agent: AgentId) -> bool {
        let held = self.agents.get(agent.index());
        held.is_some_and(|held| held.standing == AgentPhase::Parked)
    }

    pub(super) fn take_waits(
        &mut self,
        host: HostId,
        tick: Tick,
        waits: Vec<AwaitRequest>,
    ) -> Result<(), Violation> {
        let check = |machine: &TickMachine, wait: &AwaitRequest| machine.check_wait(host, wait);
        self.read_all((host, tick), &waits, |wait| wait.agent, check)?;
        for wait in waits {
            let held = &mut self.agents[wait.agent.index()];
            held.standing = AgentPhase::Parked;
            held.waits.asked.push(AwaitedRequest {
                model: wait.model,
                inputs: wait.inputs,
            });
            self.missing -= 1;
            self.parked += 1;
        }
        Ok(())
    }

    fn check_wait(&self, host: HostId, wait: &AwaitRequest) -> Result<(), Violation> {
        let (agent, tick, number) = (wait.agent, self.tick, wait.number);
        let held = self.asked_of(host, agent)?;
        let expected = held.waits.asked.len();
        if number as usize != expected || expected >= limit::ROUNDS_PER_TICK {
            let expected = u32::try_from(expected).expect("few");
            return Err(Violation::WaitOrder {
                agent,
                number,
                expected,
                tick,
            });
        }
        let awaiting = AwaitedRequest {
            model: wait.model,
            inputs: Arc::clone(&wait.inputs),
        };
        self.check_awaiting(agent, &awaiting)
    }

    fn check_awaiting(&self, agent: AgentId, awaiting: &AwaitedRequest) -> Result<(), Violation> {
        let (tick, model) = (self.tick, awaiting.model);
        let planned = self.plan.model(model);
        let planned = planned.ok_or(Violation::NoSuchModel { agent, model, tick })?;
        let fits = check_inputs(&planned.signature.inputs, &awaiting.inputs);
        fits.map_err(|reason| Violation::BadRequest {
            agent,
            tick,
            model: planned.name.clone(),
            reason,
        })
    }

    /// What an outcome says that its step has waited for must be what its host has parked it for, or answered out of what
    /// a journal has told.
    pub(super) fn check_waited(
        &self,
        held: &AgentState,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let (agent, tick) = (outcome.agent, self.tick);
        let mut waited = outcome.effects.iter().filter_map(AwaitedRequest::of);
        let asked = &held.waits.asked;
        for (awaiting, number) in asked.iter().zip(0..) {
            if waited.next().as_ref() != Some(awaiting) {
                return Err(Violation::OtherWait {
                    agent,
                    number,
                    tick,
                });
            }
        }
        let rest: Vec<AwaitedRequest> = waited.collect();
        if asked.len() + rest.len() > held.waits.told.len().max(asked.len()) {
            let number = u32::try_from(asked.len()).expect("few");
            return Err(Violation::OtherWait {
                agent,
                number,
                tick,
            });
        }
        rest.iter()
            .try_for_each(|awaiting| self.check_awaiting(agent, awaiting))
    }

    /// Takes in what agents waited for in the open tick, as a journal has it.
    pub(super) fn tell_awaited(&mut self, awaited: Vec<AwaitedRecord>) {
        for record in awaited {
            if let Some(held) = self.agents.get_mut(record.agent.index()) {
                held.waits.told.push(record.outcome);
            }
        }
    }

    /// Everybody who is due is done or waits.
    pub(super) fn begin_round(&mut self, actions: &mut Vec<Action>) {
        let mut parked: Vec<AgentId> = self.plan.order().to_vec();
        parked.retain(|agent| self.is_parked(*agent));
        if planted(Bug::RoundInArrivalOrder) {
            parked.sort_by_key(|agent| self.agents[agent.index()].read);
        }
        let begun = parked.into_iter().map(|agent| {
            let waits = &self.agents[agent.index()].waits;
            let number = waits.answers.len();
            let known = waits.told.get(number).cloned();
            let known = known.or_else(|| self.requests.foretold_wait(self.tick, agent, number));
            let unknown: Option<Arc<RequestResult>> =
                (!self.has_engine).then(|| Arc::new(Err(NOT_IN_THE_JOURNAL.to_owned())));
            StartedAwait {
                agent,
                asked: waits.asked[number].clone(),
                answer: known.or(unknown),
            }
        });
        let begun = begun.collect();
        let next = &mut self.requests.next_batch;
        let round = Round::begin(&self.plan, self.tick, begun, next);
        actions.extend(round.running().cloned().map(Action::Infer));
        self.round = Some(round);
    }

    /// Everything that was waited for is answered: the agents go on.
    pub(super) fn end_round(&mut self, round: Round, actions: &mut Vec<Action>) {
        let mut answers: BTreeMap<HostId, Vec<AwaitResult>> = BTreeMap::new();
        for (agent, answer) in round.end() {
            // Who was given up meanwhile goes nowhere.
            if !self.is_parked(agent) {
                continue;
            }
            let held = &mut self.agents[agent.index()];
            let number = u32::try_from(held.waits.answers.len()).expect("few");
            let outcome = held.waits.answer(answer, self.plan.step_bytes());
            held.standing = AgentPhase::Asked;
            self.parked -= 1;
            self.missing += 1;
            let host = self.plan.agent(agent).host;
            answers.entry(host).or_default().push(AwaitResult {
                agent,
                number,
                outcome,
            });
        }
        let tick = self.tick;
        let action = |(host, answers)| Action::Answer {
            host,
            tick,
            answers,
        };
        actions.extend(answers.into_iter().map(action));
    }
}
