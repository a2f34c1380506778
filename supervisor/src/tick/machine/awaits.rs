//! Awaits within steps: the agents are parked until the round is answered, and then continue.

use crate::planted::{Bug, planted};
use crate::record::AwaitedRecord;
use crate::tick::action::TickAction;
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

/// The answer to an await that the journal does not have, where there is no engine.
const NOT_IN_THE_JOURNAL: &str = "the journal has no answer to this";

impl TickMachine {
    /// Answers awaits from the journal alone: there is no engine.
    #[must_use]
    pub fn without_engine(mut self) -> TickMachine {
        self.has_engine = false;
        self
    }

    /// The awaited requests of an agent in the open tick, in their order.
    #[must_use]
    pub fn awaited_requests(&self, agent: AgentId) -> &[AwaitedRequest] {
        let held = self.agents.get(agent.index());
        held.map_or(&[], |held| &held.awaits.requests)
    }

    /// The answers to the awaits of an agent in the open tick; one less than its requests while it is parked.
    #[must_use]
    pub fn await_answers(&self, agent: AgentId) -> &[Arc<RequestResult>] {
        let held = self.agents.get(agent.index());
        held.map_or(&[], |held| &held.awaits.answers)
    }

    /// True if an agent awaits an answer within its step.
    #[must_use]
    pub fn is_parked(&self, agent: AgentId) -> bool {
        let held = self.agents.get(agent.index());
        held.is_some_and(|held| held.phase == AgentPhase::Parked)
    }

    pub(super) fn accept_awaits(
        &mut self,
        host: HostId,
        tick: Tick,
        awaits: Vec<AwaitRequest>,
    ) -> Result<(), Violation> {
        let check = |machine: &TickMachine, wait: &AwaitRequest| machine.check_await(host, wait);
        self.check_record((host, tick), &awaits, |wait| wait.agent, check)?;
        for wait in awaits {
            let held = &mut self.agents[wait.agent.index()];
            held.phase = AgentPhase::Parked;
            held.awaits.requests.push(AwaitedRequest {
                model: wait.model,
                inputs: wait.inputs,
            });
            self.missing -= 1;
            self.parked += 1;
        }
        Ok(())
    }

    fn check_await(&self, host: HostId, request: &AwaitRequest) -> Result<(), Violation> {
        let (agent, tick, number) = (request.agent, self.tick, request.number);
        let held = self.stepping_agent(host, agent)?;
        let expected = held.awaits.requests.len();
        if number as usize != expected || expected >= limit::ROUNDS_PER_TICK {
            let expected = u32::try_from(expected).expect("few");
            return Err(Violation::AwaitOrder {
                agent,
                number,
                expected,
                tick,
            });
        }
        let request = AwaitedRequest {
            model: request.model,
            inputs: Arc::clone(&request.inputs),
        };
        self.check_awaited_request(agent, &request)
    }

    fn check_awaited_request(
        &self,
        agent: AgentId,
        request: &AwaitedRequest,
    ) -> Result<(), Violation> {
        let (tick, model) = (self.tick, request.model);
        let planned = self.plan.model(model);
        let planned = planned.ok_or(Violation::NoSuchModel { agent, model, tick })?;
        let fits = check_inputs(&planned.signature.inputs, &request.inputs);
        fits.map_err(|reason| Violation::BadRequest {
            agent,
            tick,
            model: planned.name.clone(),
            reason,
        })
    }

    /// Checks that the awaits in an outcome are those for which its host parked the step, or that a journal has
    /// answered.
    pub(super) fn check_awaited_effects(
        &self,
        held: &AgentState,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let (agent, tick) = (outcome.agent, self.tick);
        let mut waited = outcome.effects.iter().filter_map(AwaitedRequest::of);
        let requests = &held.awaits.requests;
        for (request, number) in requests.iter().zip(0..) {
            if waited.next().as_ref() != Some(request) {
                return Err(Violation::AwaitMismatch {
                    agent,
                    number,
                    tick,
                });
            }
        }
        let rest: Vec<AwaitedRequest> = waited.collect();
        if requests.len() + rest.len() > held.awaits.recorded.len().max(requests.len()) {
            let number = u32::try_from(requests.len()).expect("few");
            return Err(Violation::AwaitMismatch {
                agent,
                number,
                tick,
            });
        }
        rest.iter()
            .try_for_each(|request| self.check_awaited_request(agent, request))
    }

    /// Preloads the recorded answers to awaits of the open tick.
    pub(super) fn preload_awaited(&mut self, awaited: Vec<AwaitedRecord>) {
        for record in awaited {
            if let Some(held) = self.agents.get_mut(record.agent.index()) {
                held.awaits.recorded.push(record.outcome);
            }
        }
    }

    /// Begins a round: every due agent is done or parked.
    pub(super) fn begin_round(&mut self, actions: &mut Vec<TickAction>) {
        let mut parked: Vec<AgentId> = self.plan.order().to_vec();
        parked.retain(|agent| self.is_parked(*agent));
        if planted(Bug::RoundInArrivalOrder) {
            parked.sort_by_key(|agent| self.agents[agent.index()].last_record_read);
        }
        let started = parked.into_iter().map(|agent| {
            let awaits = &self.agents[agent.index()].awaits;
            let number = awaits.answers.len();
            let recorded = awaits.recorded.get(number).cloned();
            let recorded =
                recorded.or_else(|| self.requests.recorded_await(self.tick, agent, number));
            let unknown: Option<Arc<RequestResult>> =
                (!self.has_engine).then(|| Arc::new(Err(NOT_IN_THE_JOURNAL.to_owned())));
            StartedAwait {
                agent,
                request: awaits.requests[number].clone(),
                answer: recorded.or(unknown),
            }
        });
        let started = started.collect();
        let next = &mut self.requests.next_batch;
        let round = Round::begin(&self.plan, self.tick, started, next);
        actions.extend(round.running().cloned().map(TickAction::Infer));
        self.round = Some(round);
    }

    /// Ends a round: all awaits are answered, and the agents continue.
    pub(super) fn end_round(&mut self, round: Round, actions: &mut Vec<TickAction>) {
        let mut answers: BTreeMap<HostId, Vec<AwaitResult>> = BTreeMap::new();
        for (agent, answer) in round.end() {
            // An agent that was quarantined meanwhile stays halted.
            if !self.is_parked(agent) {
                continue;
            }
            let held = &mut self.agents[agent.index()];
            let number = u32::try_from(held.awaits.answers.len()).expect("few");
            let outcome = held.awaits.answer(answer, self.plan.max_step_bytes());
            held.phase = AgentPhase::Stepping;
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
        let action = |(host, answers)| TickAction::Answer {
            host,
            tick,
            answers,
        };
        actions.extend(answers.into_iter().map(action));
    }
}
