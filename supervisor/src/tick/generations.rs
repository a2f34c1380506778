//! Texts that language models write, from the tick that asks for one to the
//! tick that delivers its last piece.
//!
//! A text grows by whole steps: at the end of a tick every text that is being
//! written and whose last piece was delivered goes into an order, and what the
//! engine makes of it is due in the next tick. So how far a text has come is a
//! function of logical time, and an agent that steps seldom holds up only its
//! own texts. A model writes `sequences` texts at once; the others wait in the
//! order in which they were asked for, and are told how many are before them.
//!
//! An order is whole (see [`shm_protocol::generation`]), so nothing here depends
//! on what a host remembers.

mod answer;
mod asked;
mod ordering;
mod saved;
mod search;

pub(super) use saved::SavedGenerations;

use crate::tick::plan::{PlannedGenerator, RunPlan};
use crate::tick::violation::Violation;
use asked::ScheduledRequest;
use shm_protocol::generation::{Finish, Sequence};
use shm_protocol::id::{AgentId, BatchId, ModelId, RequestId, Tick, VersionId};
use shm_protocol::limit;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most texts that one agent may have open. More are refused, which the agent is told.
const MAX_OPEN: usize = limit::EFFECTS_PER_STEP;

/// Ticks from an order to its pieces.
const LATENCY_TICKS: u64 = 1;

/// One text.
#[derive(Debug)]
struct Generation {
    model: ModelId,
    /// The version that writes it, up to its end; none if it was refused.
    version: Option<VersionId>,
    agent: AgentId,
    request: RequestId,
    /// The request as the agent wrote it.
    asked: Arc<[u8]>,
    /// Everything that was delivered of it.
    tokens: Vec<u32>,
    /// The last tick in which it is wanted.
    until: Option<Tick>,
    /// Whether it is being written; otherwise it waits.
    runs: bool,
    /// How many were before it when the agent was told last.
    told: Option<usize>,
    /// What is on its way to the agent.
    piece: Option<InFlightDelta>,
}

/// A piece that was ordered and not delivered.
#[derive(Debug)]
struct InFlightDelta {
    asked: Tick,
    /// The batch that answers it; none when the schedule has answered it.
    batch: Option<BatchId>,
    answer: Option<Arc<RequestResult>>,
    /// It crashes the engine, which is to be told by a verdict with the piece.
    abandoned: bool,
}

/// An order that is not delivered to all.
#[derive(Debug)]
struct InFlightRequest {
    model: ModelId,
    version: VersionId,
    asked: Tick,
    order: Arc<[u8]>,
    members: Vec<(AgentId, RequestId)>,
    /// Members whose piece is neither delivered nor forgotten.
    left: usize,
}

/// A piece that is delivered.
#[derive(Debug)]
pub(super) struct DeliveredDelta {
    pub(super) request: RequestId,
    pub(super) model: ModelId,
    pub(super) answer: Arc<RequestResult>,
    pub(super) batch: Option<BatchId>,
    /// The tick of the decode request that was abandoned, if it was.
    pub(super) abandoned: Option<Tick>,
}

/// All texts that are not complete, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(super) struct Generations {
    open: Vec<Generation>,
    writing: BTreeMap<BatchId, InFlightRequest>,
}

/// Whether a text goes on after this answer.
pub(super) fn goes_on(answer: &RequestResult) -> bool {
    answer::read(answer).1
}

impl Generations {
    /// Takes in a request of the tick that closes. What is asked of a model that is not loaded is refused.
    pub(super) fn ask(
        &mut self,
        tick: Tick,
        (agent, request, model): (AgentId, RequestId, ModelId),
        version: Result<VersionId, String>,
        inputs: &[Tensor],
    ) {
        let mut text = Generation {
            model,
            version: version.as_ref().ok().copied(),
            agent,
            request,
            asked: inputs.first().map_or(&[][..], |tensor| &tensor.data).into(),
            tokens: Vec::new(),
            until: None,
            runs: false,
            told: None,
            piece: None,
        };
        let open = self.open.iter().filter(|text| text.agent == agent).count();
        let refused = match asked::read(inputs) {
            Err(reason) => Some(Err(reason)),
            Ok(ScheduledRequest::Cancel(which)) => Some(self.cancel(tick, agent, which)),
            Ok(_) if open >= MAX_OPEN => Some(Err(format!(
                "there are {MAX_OPEN} texts open; wait for one of them or cancel it"
            ))),
            Ok(ScheduledRequest::Text { deadline }) => {
                text.until = deadline.map(|ticks| tick.plus(ticks));
                version.err().map(Err)
            }
        };
        text.piece = refused.map(|answer| InFlightDelta::said(tick, answer));
        self.open.push(text);
    }

    /// Ends a text of the agent. Gives what the request to do so is answered.
    fn cancel(&mut self, tick: Tick, agent: AgentId, which: RequestId) -> RequestResult {
        let mut texts = self.open.iter_mut();
        match texts.find(|text| text.agent == agent && text.request == which) {
            // Its agent steps, so all that was due has reached it, and what follows was not ordered yet.
            Some(text) if text.piece.is_none() => {
                text.runs = false;
                text.piece = Some(InFlightDelta::said(tick, answer::ended(Finish::Cancelled)));
                answer::ended(Finish::EndOfText)
            }
            _ => Err(format!("request {which} is no text that is being written")),
        }
    }

    /// The versions that write texts which are not complete.
    pub(super) fn writers(&self) -> impl Iterator<Item = VersionId> + '_ {
        self.open.iter().filter_map(|text| text.version)
    }

    /// Who waits for a batch, if it is an order.
    pub(super) fn members(&self, batch: BatchId) -> Option<&[(AgentId, RequestId)]> {
        Some(&self.writing.get(&batch)?.members)
    }

    /// Whether somebody waits for what the engine makes of an order.
    pub(super) fn wants(&self, batch: BatchId) -> bool {
        let mut pieces = self.open.iter().filter_map(|text| text.piece.as_ref());
        pieces.any(|piece| piece.batch == Some(batch))
    }

    /// Takes in what the engine made of an order, but for what is known of a text by the tick in which it was ordered.
    /// Gives the agents that it answers.
    pub(super) fn answer(
        &mut self,
        plan: &RunPlan,
        batch: BatchId,
        outputs: RequestResult,
        known: impl Fn((AgentId, RequestId), Tick) -> Option<Arc<RequestResult>>,
    ) -> Result<Vec<AgentId>, Violation> {
        let Some(writing) = self.writing.get(&batch) else {
            // Its texts were forgotten meanwhile.
            return Ok(Vec::new());
        };
        let planned = plan.model(writing.model);
        let planned = planned.and_then(|planned| Some((planned, planned.generator.as_ref()?)));
        let (planned, generator) = planned.expect("an order has a language model");
        let count = writing.members.len();
        let answers: Vec<RequestResult> = match outputs {
            Err(reason) => vec![Err(reason); count],
            Ok(outputs) => answer::pieces(&outputs, count, generator.how.tokens_per_tick)
                .map_err(|reason| Violation::BadAnswer {
                    batch,
                    model: planned.name.clone(),
                    reason,
                })?
                .into_iter()
                .map(|piece| piece.and_then(|piece| answer::of_piece(&piece)))
                .collect(),
        };
        let (members, asked) = (writing.members.clone(), writing.asked);
        let mut agents = Vec::with_capacity(count);
        for (member, answer) in members.into_iter().zip(answers) {
            if let Some(piece) = self.piece_of(member)
                && piece.batch == Some(batch)
            {
                let known = known(member, asked);
                piece.answer = Some(known.unwrap_or_else(|| Arc::new(answer)));
                agents.push(member.0);
            }
        }
        Ok(agents)
    }

    /// Whether an agent has pieces due in a tick that have not come yet.
    pub(super) fn waits(&self, agent: AgentId, tick: Tick) -> bool {
        let late = |text: &Generation| {
            let piece = text.piece.as_ref();
            text.agent == agent
                && piece.is_some_and(|piece| piece.due() <= tick && piece.answer.is_none())
        };
        self.open.iter().any(late)
    }

    /// Takes the pieces that are due for an agent, each after `within` has seen to it that it fits the step.
    pub(super) fn take(
        &mut self,
        agent: AgentId,
        tick: Tick,
        mut within: impl FnMut(Arc<RequestResult>) -> Arc<RequestResult>,
    ) -> Vec<DeliveredDelta> {
        let (mut delivered, writing) = (Vec::new(), &mut self.writing);
        self.open.retain_mut(|text| {
            let is_due = |piece: &mut InFlightDelta| text.agent == agent && piece.due() <= tick;
            let Some(piece) = text.piece.take_if(is_due) else {
                return true;
            };
            let answer = piece
                .answer
                .expect("a step is only taken up when its pieces are there");
            let answer = within(answer);
            let (tokens, goes_on) = answer::read(&answer);
            text.tokens.extend(tokens);
            if let Some(batch) = piece.batch {
                settle(writing, batch);
            }
            delivered.push(DeliveredDelta {
                request: text.request,
                model: text.model,
                answer,
                batch: piece.batch,
                abandoned: piece.abandoned.then_some(piece.asked),
            });
            goes_on
        });
        delivered
    }

    /// Takes in a piece from the journal. Whether there is a text that waits for it.
    pub(super) fn journaled(
        &mut self,
        tick: Tick,
        (agent, request, model): (AgentId, RequestId, ModelId),
        answer: &Arc<RequestResult>,
    ) -> bool {
        let text = self
            .open
            .iter_mut()
            .find(|text| (text.agent, text.request, text.model) == (agent, request, model));
        let piece = text.and_then(|text| text.piece.as_mut());
        let wanted = piece.filter(|piece| {
            // What the schedule has said is answered, and the journal says the same.
            piece.due() <= tick && piece.answer.as_ref().is_none_or(|said| said == answer)
        });
        wanted
            .map(|piece| piece.answer = Some(Arc::clone(answer)))
            .is_some()
    }

    /// Forgets the texts of an agent that takes no further steps; others get their place.
    pub(super) fn forget(&mut self, agent: AgentId) {
        let writing = &mut self.writing;
        self.open.retain(|text| {
            let is_kept = text.agent != agent;
            if let Some(batch) = text.piece.as_ref().and_then(|piece| piece.batch)
                && !is_kept
            {
                settle(writing, batch);
            }
            is_kept
        });
    }

    fn piece_of(&mut self, (agent, request): (AgentId, RequestId)) -> Option<&mut InFlightDelta> {
        let mut texts = self.open.iter_mut();
        let text = texts.find(|text| text.agent == agent && text.request == request)?;
        text.piece.as_mut()
    }
}

impl Generation {
    fn sequence(&self, generator: &PlannedGenerator) -> Sequence {
        Sequence {
            seed: generator.seed,
            agent: self.agent,
            request: self.request,
            asked: self.asked.to_vec(),
            tokens: self.tokens.clone(),
        }
    }
}

impl InFlightDelta {
    /// What the schedule says by itself.
    fn said(asked: Tick, answer: RequestResult) -> InFlightDelta {
        InFlightDelta {
            asked,
            batch: None,
            answer: Some(Arc::new(answer)),
            abandoned: false,
        }
    }

    fn due(&self) -> Tick {
        self.asked.plus(LATENCY_TICKS)
    }

    /// Whether it is known to be the last of its text.
    fn ends(&self) -> bool {
        let answer = self.answer.as_deref();
        answer.is_some_and(|answer| !answer::read(answer).1)
    }
}

/// One member of a batch needs it no longer; a batch that nobody needs is forgotten.
fn settle(writing: &mut BTreeMap<BatchId, InFlightRequest>, batch: BatchId) {
    if let Some(held) = writing.get_mut(&batch) {
        held.left -= 1;
        if held.left == 0 {
            writing.remove(&batch);
        }
    }
}
