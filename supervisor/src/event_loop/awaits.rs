//! Agents that wait within their steps: what they wait for on its way up, and
//! the answers on their way down.
//!
//! A step that is taken again is told the answers that it got before, and does
//! not wait for them. What it asks for must be what it asked for then.

use super::host_slot::HostStage;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::planted::{Bug, planted};
use crate::tick::{AwaitedRequest, Input};
use shm_protocol::agent_to_supervisor::{
    AWAIT_REQUESTS, AwaitRequest, AwaitRequests, Effect, Outcome, Status,
};
use shm_protocol::codec;
use shm_protocol::id::{AgentId, HostId, Tick};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AWAIT_RESULTS, AwaitResult, Step};

impl EventLoop<'_> {
    /// Lets a host go on with agents that wait. One that has not got the step yet gets the answers with it.
    pub(super) fn answer(
        &mut self,
        host: HostId,
        mut answers: Vec<AwaitResult>,
    ) -> Result<(), RunError> {
        let station = self.station(host);
        if !matches!(station.stage, HostStage::Serving) {
            return Ok(());
        }
        answers.retain(|answer| station.lacks(answer));
        station.answers.extend(answers);
        self.send_answers(host)
    }

    /// Sends the answers that wait for their turn: all of them, or the next one alone if that is to tell whose step it is
    /// that kills.
    pub(super) fn send_answers(&mut self, host: HostId) -> Result<(), RunError> {
        let station = self.station(host);
        let answers = station.next_answers();
        if answers.is_empty() {
            return Ok(());
        }
        station.expect_replies(answers.len());
        let tick = station.tick;
        let pushed = self.push_answers(host, tick, &answers);
        self.hosts.notify(host);
        self.handle_host_error(host, pushed)
    }

    /// Tells a host the answers that the steps of the open tick got before, if they are taken again.
    pub(super) fn push_known_answers(
        &mut self,
        host: HostId,
        tick: Tick,
        steps: &[Step],
    ) -> Result<(), LoopError> {
        if planted(Bug::ForgetAnswers) {
            return Ok(());
        }
        let known = |step: &Step| {
            let agent = step.agent;
            let answers = self.machine.answers(agent);
            (0..)
                .zip(answers)
                .map(move |(number, outcome)| AwaitResult {
                    agent,
                    number,
                    outcome: outcome.clone(),
                })
        };
        let answers: Vec<AwaitResult> = steps.iter().flat_map(known).collect();
        let told = answers
            .iter()
            .map(|answer| (answer.agent, answer.number as usize + 1));
        self.stations[host.index()].told.extend(told);
        self.push_answers(host, tick, &answers)
    }

    /// Puts answers into the ring of a host, in one record or, if they outgrow it, in halves.
    pub(super) fn push_answers(
        &mut self,
        host: HostId,
        tick: Tick,
        answers: &[AwaitResult],
    ) -> Result<(), LoopError> {
        if answers.is_empty() {
            return Ok(());
        }
        let encoded = codec::encode(&answers);
        if encoded.len() > self.hosts.most_payload_bytes(host) && answers.len() > 1 {
            let (front, back) = answers.split_at(answers.len() / 2);
            self.push_answers(host, tick, front)?;
            return self.push_answers(host, tick, back);
        }
        let header = RecordHeader::new(AWAIT_RESULTS, tick);
        let mut parts = std::iter::once(encoded.as_slice());
        self.push(host, &header, encoded.len(), &mut parts)
    }

    pub(super) fn on_await_requests(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        let AwaitRequests {
            requests: mut waits,
        } = self.expect(host, header, AWAIT_REQUESTS)?;
        let tick = header.tick;
        self.station(host).on_replies(waits.len());
        if self.station(host).is_restoring() {
            waits = self.compare_awaits(host, tick, waits)?;
        }
        if !waits.is_empty() {
            self.try_apply(Input::Parked { host, tick, waits })?;
        }
        Ok(self.send_steps(host)?)
    }

    /// Takes out the waits that are known already, and checks that they are the same again.
    fn compare_awaits(
        &mut self,
        host: HostId,
        tick: Tick,
        waits: Vec<AwaitRequest>,
    ) -> Result<Vec<AwaitRequest>, LoopError> {
        let mut fresh = Vec::new();
        for wait in waits {
            let agent = wait.agent;
            let awaiting = AwaitedRequest {
                model: wait.model,
                inputs: wait.inputs.clone(),
            };
            // A step whose outcome is known was told all answers, and waits no more.
            if let Some(known) = self.station(host).known.remove(&(tick, agent)) {
                let mut outcome = known.clone();
                outcome
                    .effects
                    .retain(|effect| AwaitedRequest::of(effect).is_some());
                outcome.effects.push(awaiting.effect());
                return self
                    .handle_difference(host, tick, known, outcome)
                    .map(|()| fresh);
            }
            match self.asked_before(host, tick, &wait) {
                None => fresh.push(wait),
                Some(asked) if asked == awaiting || planted(Bug::BelieveRedone) => {}
                Some(asked) => {
                    let (known, outcome) = (lone(agent, &asked), lone(agent, &awaiting));
                    return self
                        .handle_difference(host, tick, known, outcome)
                        .map(|()| fresh);
                }
            }
        }
        Ok(fresh)
    }

    /// What an agent has waited for in the place of the first wait of a step that is taken again.
    fn asked_before(
        &mut self,
        host: HostId,
        tick: Tick,
        wait: &AwaitRequest,
    ) -> Option<AwaitedRequest> {
        if tick != self.machine.tick() {
            return None;
        }
        let has_waited = self.station(host).repeating.get_mut(&wait.agent)?;
        if std::mem::replace(has_waited, true) {
            return None;
        }
        let asked = self.machine.asked(wait.agent);
        asked.get(wait.number as usize).cloned()
    }

    /// Checks that a step which is taken again has waited for the same as before.
    pub(super) fn compare_awaited(
        &mut self,
        host: HostId,
        tick: Tick,
        outcome: &Outcome,
    ) -> Result<(), LoopError> {
        let agent = outcome.agent;
        if tick != self.machine.tick() || self.station(host).repeating.remove(&agent).is_none() {
            return Ok(());
        }
        let mut known = outcome.clone();
        let mut asked = self.machine.asked(agent).iter();
        for effect in &mut known.effects {
            if AwaitedRequest::of(effect).is_some()
                && let Some(asked) = asked.next()
            {
                *effect = asked.effect();
            }
        }
        known.effects.extend(asked.map(AwaitedRequest::effect));
        if known == *outcome {
            return Ok(());
        }
        self.handle_difference(host, tick, known, outcome.clone())
    }
}

/// An outcome that has nothing but a wait, to be compared with another one.
fn lone(agent: AgentId, awaiting: &AwaitedRequest) -> Outcome {
    let effects: Vec<Effect> = vec![awaiting.effect()];
    Outcome {
        agent,
        status: Status::Completed,
        fuel_used: 0,
        effects,
    }
}
