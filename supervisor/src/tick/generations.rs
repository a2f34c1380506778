//! Generations of language models, from the tick of the request to the tick that delivers the last delta.
//!
//! A generation grows by whole steps: at the end of a tick every running generation whose last delta was delivered goes
//! into a decode request, and its next delta is due in the next tick. So the progress of a generation is a function of
//! logical time, and an agent that steps seldom holds up only its own generations. A model runs `max_concurrent_generations` generations
//! at once; the others wait in the order of their requests, and their agents get their position in the queue.
//!
//! A decode request is complete (see [`shm_protocol::generation`]), so nothing here depends on what a host remembers.

mod answer;
mod decode_requests;
mod division;
mod saved;
mod scheduled_request;

pub(super) use saved::SavedGenerations;

use crate::tick::plan::RunPlan;
use crate::tick::violation::Violation;
use scheduled_request::ScheduledRequest;
use shm_protocol::generation::{Finish, Sequence};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Limit of the open generations of one agent. Further requests are answered with an error.
const MAX_OPEN: usize = limit::EFFECTS_PER_STEP;

/// Ticks from a decode request to its deltas.
const LATENCY_TICKS: u64 = 1;

/// One generation.
#[derive(Debug)]
struct Generation {
    model: ModelId,
    /// The version that runs it, up to its end; none if it was refused.
    version: Option<VersionId>,
    agent: AgentId,
    request: RequestId,
    /// The body of the request, as the agent sent it.
    body: Arc<[u8]>,
    /// Its delivered tokens.
    tokens: Vec<u32>,
    /// The last tick before it ends with [`Finish::Deadline`].
    deadline: Option<Tick>,
    /// True while it runs; otherwise it is queued.
    is_running: bool,
    /// The queue position that the agent got last.
    reported_position: Option<usize>,
    /// The delta that is on its way to the agent.
    delta: Option<InFlightDelta>,
}

/// A delta that was requested and not delivered.
#[derive(Debug)]
struct InFlightDelta {
    requested: Tick,
    /// The batch that answers it; none when it is answered without the engine.
    batch: Option<BatchId>,
    answer: Option<Arc<RequestResult>>,
    /// It crashes the engine; a verdict says so with the delta.
    abandoned: bool,
}

/// A decode request whose deltas are not all delivered.
#[derive(Debug)]
struct InFlightRequest {
    model: ModelId,
    version: VersionId,
    requested: Tick,
    payload: Arc<[u8]>,
    members: Vec<(AgentId, RequestId)>,
    /// Members whose delta is neither delivered nor dropped.
    undelivered: usize,
}

/// A delta at its delivery.
#[derive(Debug)]
pub(super) struct DeliveredDelta {
    pub(super) request: RequestId,
    pub(super) model: ModelId,
    pub(super) answer: Arc<RequestResult>,
    pub(super) batch: Option<BatchId>,
    /// The tick of the decode request that was abandoned, if it was.
    pub(super) abandoned: Option<Tick>,
}

/// All incomplete generations, in the order of their requests.
#[derive(Debug, Default)]
pub(super) struct Generations {
    open: Vec<Generation>,
    in_flight: BTreeMap<BatchId, InFlightRequest>,
}

/// True if a generation continues after this answer.
pub(super) fn continues(answer: &RequestResult) -> bool {
    answer::parse(answer).1
}

impl Generations {
    /// Adds a request of the tick that closes. A request to an unloaded model is refused.
    pub(super) fn add(
        &mut self,
        tick: Tick,
        (agent, request, model): (AgentId, RequestId, ModelId),
        version: Result<VersionId, String>,
        inputs: &[Tensor],
    ) {
        let mut generation = Generation {
            model,
            version: version.as_ref().ok().copied(),
            agent,
            request,
            body: inputs.first().map_or(&[][..], |tensor| &tensor.data).into(),
            tokens: Vec::new(),
            deadline: None,
            is_running: false,
            reported_position: None,
            delta: None,
        };
        let open = self
            .open
            .iter()
            .filter(|generation| generation.agent == agent)
            .count();
        let refused = match scheduled_request::parse(inputs) {
            Err(reason) => Some(Err(reason)),
            Ok(ScheduledRequest::Cancel(which)) => Some(self.cancel(tick, agent, which)),
            Ok(_) if open >= MAX_OPEN => Some(Err(format!(
                "there are {MAX_OPEN} texts open; wait for one of them or cancel it"
            ))),
            Ok(ScheduledRequest::Generate { deadline }) => {
                generation.deadline = deadline.map(|ticks| tick.plus(ticks));
                version.err().map(Err)
            }
        };
        generation.delta = refused.map(|answer| InFlightDelta::without_engine(tick, answer));
        self.open.push(generation);
    }

    /// Cancels a generation of the agent. Gives the answer to the cancel request.
    fn cancel(&mut self, tick: Tick, agent: AgentId, which: RequestId) -> RequestResult {
        let mut generations = self.open.iter_mut();
        match generations
            .find(|generation| generation.agent == agent && generation.request == which)
        {
            // Its agent steps, so every due delta has reached it, and the next one was not requested yet.
            Some(generation) if generation.delta.is_none() => {
                generation.is_running = false;
                generation.delta = Some(InFlightDelta::without_engine(
                    tick,
                    answer::ended(Finish::Cancelled),
                ));
                answer::ended(Finish::EndOfText)
            }
            _ => Err(format!("request {which} is no text that is being written")),
        }
    }

    /// The versions with incomplete generations.
    pub(super) fn active_versions(&self) -> impl Iterator<Item = VersionId> + '_ {
        self.open.iter().filter_map(|generation| generation.version)
    }

    /// The members of a batch, if it is a decode request.
    pub(super) fn members(&self, batch: BatchId) -> Option<&[(AgentId, RequestId)]> {
        Some(&self.in_flight.get(&batch)?.members)
    }

    /// True if a delta of a decode request is awaited.
    pub(super) fn awaits(&self, batch: BatchId) -> bool {
        let mut deltas = self
            .open
            .iter()
            .filter_map(|generation| generation.delta.as_ref());
        deltas.any(|delta| delta.batch == Some(batch))
    }

    /// Applies the answer to a decode request. `recorded` gives recorded deltas by the tick of the request, which replace
    /// those of the engine. Gives the agents that are answered.
    pub(super) fn answer(
        &mut self,
        plan: &RunPlan,
        batch: BatchId,
        outputs: RequestResult,
        recorded: impl Fn((AgentId, RequestId), Tick) -> Option<Arc<RequestResult>>,
    ) -> Result<Vec<AgentId>, Violation> {
        let Some(in_flight) = self.in_flight.get(&batch) else {
            // Its generations were dropped meanwhile.
            return Ok(Vec::new());
        };
        let planned = plan.model(in_flight.model);
        let planned = planned.and_then(|planned| Some((planned, planned.settings.generator?)));
        let (planned, generator) = planned.expect("an order has a language model");
        let count = in_flight.members.len();
        let answers: Vec<RequestResult> = match outputs {
            Err(reason) => vec![Err(reason); count],
            Ok(outputs) => answer::parse_deltas(&outputs, count, generator.tokens_per_tick)
                .map_err(|reason| Violation::BadAnswer {
                    batch,
                    model: planned.name.clone(),
                    reason,
                })?
                .into_iter()
                .map(|delta| delta.and_then(|delta| answer::of_delta(&delta)))
                .collect(),
        };
        let (members, requested) = (in_flight.members.clone(), in_flight.requested);
        let mut agents = Vec::with_capacity(count);
        for (member, answer) in members.into_iter().zip(answers) {
            if let Some(delta) = self.delta_of(member)
                && delta.batch == Some(batch)
            {
                let recorded = recorded(member, requested);
                delta.answer = Some(recorded.unwrap_or_else(|| Arc::new(answer)));
                agents.push(member.0);
            }
        }
        Ok(agents)
    }

    /// True if an agent has due deltas that have not come yet.
    pub(super) fn is_awaiting(&self, agent: AgentId, tick: Tick) -> bool {
        let late = |generation: &Generation| {
            let delta = generation.delta.as_ref();
            generation.agent == agent
                && delta.is_some_and(|delta| delta.due() <= tick && delta.answer.is_none())
        };
        self.open.iter().any(late)
    }

    /// Takes the due deltas of an agent, each limited by `bound` so that it fits the step.
    pub(super) fn take(
        &mut self,
        agent: AgentId,
        tick: Tick,
        mut bound: impl FnMut(Arc<RequestResult>) -> Arc<RequestResult>,
    ) -> Vec<DeliveredDelta> {
        let (mut delivered, in_flight) = (Vec::new(), &mut self.in_flight);
        self.open.retain_mut(|generation| {
            let is_due =
                |delta: &mut InFlightDelta| generation.agent == agent && delta.due() <= tick;
            let Some(delta) = generation.delta.take_if(is_due) else {
                return true;
            };
            let answer = delta
                .answer
                .expect("a step is only taken up when its pieces are there");
            let answer = bound(answer);
            let (tokens, continues) = answer::parse(&answer);
            generation.tokens.extend(tokens);
            if let Some(batch) = delta.batch {
                release_member(in_flight, batch);
            }
            delivered.push(DeliveredDelta {
                request: generation.request,
                model: generation.model,
                answer,
                batch: delta.batch,
                abandoned: delta.abandoned.then_some(delta.requested),
            });
            continues
        });
        delivered
    }

    /// Applies a delta from the journal. False if no generation awaits it.
    pub(super) fn accept_journaled(
        &mut self,
        tick: Tick,
        (agent, request, model): (AgentId, RequestId, ModelId),
        answer: &Arc<RequestResult>,
    ) -> bool {
        let generation = self.open.iter_mut().find(|generation| {
            (generation.agent, generation.request, generation.model) == (agent, request, model)
        });
        let delta = generation.and_then(|generation| generation.delta.as_mut());
        let wanted = delta.filter(|delta| {
            // A delta that was answered without the engine is the same in the journal.
            delta.due() <= tick && delta.answer.as_ref().is_none_or(|said| said == answer)
        });
        wanted
            .map(|delta| delta.answer = Some(Arc::clone(answer)))
            .is_some()
    }

    /// Drops the generations of an agent that takes no further steps; queued ones take their place.
    pub(super) fn forget(&mut self, agent: AgentId) {
        let in_flight = &mut self.in_flight;
        self.open.retain(|generation| {
            let is_kept = generation.agent != agent;
            if let Some(batch) = generation.delta.as_ref().and_then(|delta| delta.batch)
                && !is_kept
            {
                release_member(in_flight, batch);
            }
            is_kept
        });
    }

    fn delta_of(&mut self, (agent, request): (AgentId, RequestId)) -> Option<&mut InFlightDelta> {
        let mut generations = self.open.iter_mut();
        let generation = generations
            .find(|generation| generation.agent == agent && generation.request == request)?;
        generation.delta.as_mut()
    }
}

impl Generation {
    fn sequence(&self, seed: u64) -> Sequence {
        Sequence {
            seed,
            agent: self.agent,
            request: self.request,
            asked: self.body.to_vec(),
            tokens: self.tokens.clone(),
        }
    }
}

impl InFlightDelta {
    /// A delta that is answered without the engine.
    fn without_engine(requested: Tick, answer: RequestResult) -> InFlightDelta {
        InFlightDelta {
            requested,
            batch: None,
            answer: Some(Arc::new(answer)),
            abandoned: false,
        }
    }

    fn due(&self) -> Tick {
        self.requested.plus(LATENCY_TICKS)
    }

    /// True if it is known to be the last of its generation.
    fn is_last(&self) -> bool {
        let answer = self.answer.as_deref();
        answer.is_some_and(|answer| !answer::parse(answer).1)
    }
}

/// One member of a batch needs it no longer; a batch without such members is dropped.
fn release_member(in_flight: &mut BTreeMap<BatchId, InFlightRequest>, batch: BatchId) {
    if let Some(held) = in_flight.get_mut(&batch) {
        held.undelivered -= 1;
        if held.undelivered == 0 {
            in_flight.remove(&batch);
        }
    }
}
