//! The slots of all hosts, and what is sent down to them: steps, and the results of what agents await.
//!
//! A step that is taken again is told the results that it got before, and does not await them again.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slot::{HostSlot, HostStage};
use crate::error::RunError;
use crate::planted::{Bug, planted};
use crate::rundir::RunEvent;
use bincode::Encode;
use shm_protocol::codec;
use shm_protocol::fault::FaultPoint;
use shm_protocol::id::{HostId, Incarnation, Tick};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_agent::{AWAIT_RESULTS, AwaitResult, STEPS, Step};

/// The slots of all hosts, by the number of the host.
#[derive(Debug)]
pub(super) struct HostSlots {
    slots: Vec<HostSlot>,
    encoded: Vec<u8>,
}

impl HostSlots {
    /// Slots of so many hosts, which were started one after the other.
    pub(super) fn new(count: usize) -> HostSlots {
        let slot = |number| HostSlot {
            incarnation: Incarnation(number),
            ..HostSlot::default()
        };
        HostSlots {
            slots: (1..).take(count).map(slot).collect(),
            encoded: Vec::new(),
        }
    }

    pub(super) fn get(&self, host: HostId) -> &HostSlot {
        &self.slots[host.index()]
    }

    pub(super) fn get_mut(&mut self, host: HostId) -> &mut HostSlot {
        &mut self.slots[host.index()]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (HostId, &mut HostSlot)> {
        let numbered = self.slots.iter_mut().enumerate();
        numbered.map(|(number, slot)| (HostId::from_index(number), slot))
    }

    pub(super) fn is_serving(&self, host: HostId) -> bool {
        matches!(self.get(host).stage, HostStage::Serving)
    }

    /// Whether every host that is to serve does, and has nothing to repeat.
    pub(super) fn all_serve(&self) -> bool {
        self.slots.iter().all(|slot| {
            matches!(slot.stage, HostStage::Serving | HostStage::Retired) && !slot.is_restoring()
        })
    }

    /// When the next host is started whose pause is under way.
    pub(super) fn next_start(&self) -> Option<std::time::Duration> {
        let pauses = self.slots.iter().filter_map(|slot| match slot.stage {
            HostStage::Pausing(until) => Some(until),
            _ => None,
        });
        pauses.min()
    }

    /// Puts a record into the ring of a host whose payload is these parts one after the other, or lets it wait for room.
    pub(super) fn push(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        header: &RecordHeader,
        bytes: usize,
        parts: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<(), LoopError> {
        let queue = &mut self.slots[host.index()].send_queue;
        Ok(queue.push(context.hosts, host, header, bytes, parts)?)
    }

    /// As [`HostSlots::push`], with a payload in one piece.
    pub(super) fn push_bytes(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        header: &RecordHeader,
        payload: &[u8],
    ) -> Result<(), LoopError> {
        let mut parts = std::iter::once(payload);
        self.push(context, host, header, payload.len(), &mut parts)
    }

    /// Publishes what waits for room in the ring of a host. Gives whether some of it still does.
    pub(super) fn flush(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<bool, LoopError> {
        let slot = self.get_mut(host);
        if slot.send_queue.is_empty() {
            return Ok(false);
        }
        if slot.send_queue.flush(context.hosts, host)? {
            slot.silent = std::time::Duration::ZERO;
        }
        Ok(!slot.send_queue.is_empty())
    }

    /// Sends what was asked of a host in the open tick and was not sent to this incarnation: all of it, or the next
    /// step or result alone if that is to tell which one it is that kills.
    pub(super) fn send_steps(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<(), LoopError> {
        if !self.is_serving(host) {
            return Ok(());
        }
        let slot = self.get_mut(host);
        let range = slot.next_steps();
        if range.is_empty() {
            return self.send_await_results(context, host);
        }
        slot.sent = range.end;
        let (tick, steps) = (slot.tick, std::mem::take(&mut slot.steps));
        let pushed = self
            .push_known_results(context, host, tick, &steps[range.clone()])
            .and_then(|()| self.push_steps(context, host, tick, &steps[range]));
        self.get_mut(host).steps = steps;
        pushed?;
        context.pass(FaultPoint::AfterStepsSent);
        Ok(())
    }

    /// Puts steps into the ring of a host.
    pub(super) fn push_steps(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        tick: Tick,
        steps: &[Step],
    ) -> Result<(), LoopError> {
        self.push_list(context, host, &RecordHeader::new(STEPS, tick), steps)?;
        self.get_mut(host).expect_replies(steps.len());
        context.hosts.notify(host);
        Ok(())
    }

    /// Puts a list into the ring of a host. One record serves the usual case; a list that outgrows it is sent in halves.
    fn push_list<T: Encode>(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        header: &RecordHeader,
        list: &[T],
    ) -> Result<(), LoopError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        codec::encode_into(&list, &mut encoded);
        let is_too_large = encoded.len() > context.hosts.most_payload_bytes(host) && list.len() > 1;
        let pushed = match is_too_large {
            true => Ok(()),
            false => self.push_bytes(context, host, header, &encoded),
        };
        self.encoded = encoded;
        if is_too_large {
            let (front, back) = list.split_at(list.len() / 2);
            self.push_list(context, host, header, front)?;
            return self.push_list(context, host, header, back);
        }
        pushed
    }

    /// Lets a host go on with agents that await these results. One that has not got the step yet gets them with it.
    pub(super) fn answer(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        mut results: Vec<AwaitResult>,
    ) -> Result<(), LoopError> {
        if !self.is_serving(host) {
            return Ok(());
        }
        let slot = self.get_mut(host);
        results.retain(|result| slot.lacks(result));
        slot.answers.extend(results);
        self.send_await_results(context, host)
    }

    /// Sends the results that wait for their turn: all of them, or the next one alone if that is to tell whose step it
    /// is that kills.
    fn send_await_results(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<(), LoopError> {
        let slot = self.get_mut(host);
        let results = slot.next_answers();
        if results.is_empty() {
            return Ok(());
        }
        slot.expect_replies(results.len());
        let tick = slot.tick;
        let pushed = self.push_await_results(context, host, tick, &results);
        context.hosts.notify(host);
        pushed
    }

    /// Tells a host the results that the steps of the open tick got before, if they are taken again.
    fn push_known_results(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        tick: Tick,
        steps: &[Step],
    ) -> Result<(), LoopError> {
        if planted(Bug::ForgetAnswers) {
            return Ok(());
        }
        let machine = &context.machine;
        let known = |step: &Step| {
            let agent = step.agent;
            let results = machine.await_answers(agent);
            (0..)
                .zip(results)
                .map(move |(number, outcome)| AwaitResult {
                    agent,
                    number,
                    outcome: outcome.clone(),
                })
        };
        let results: Vec<AwaitResult> = steps.iter().flat_map(known).collect();
        let told = results
            .iter()
            .map(|result| (result.agent, result.number as usize + 1));
        self.slots[host.index()].told.extend(told);
        self.push_await_results(context, host, tick, &results)
    }

    /// Puts results into the ring of a host.
    pub(super) fn push_await_results(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
        tick: Tick,
        results: &[AwaitResult],
    ) -> Result<(), LoopError> {
        match results {
            [] => Ok(()),
            results => self.push_list(
                context,
                host,
                &RecordHeader::new(AWAIT_RESULTS, tick),
                results,
            ),
        }
    }

    /// Ends the restart of a host that serves and for which everything that was known has come again as it was.
    pub(super) fn finish_restart(
        &mut self,
        context: &mut RunContext<'_>,
        host: HostId,
    ) -> Result<(), RunError> {
        let slot = self.get_mut(host);
        if !matches!(slot.stage, HostStage::Serving) || slot.is_restoring() {
            return Ok(());
        }
        slot.ignores_checkpoints = false;
        let incarnation = slot.incarnation;
        let Some(restart) = slot.restart.take() else {
            return Ok(());
        };
        if restart.is_planned {
            return Ok(());
        }
        if restart.is_resume {
            let (checkpoint, reexecuted) = (restart.base, restart.reexecuted);
            return context.ledger.resumed(host, checkpoint, reexecuted);
        }
        let now = context.hosts.clock();
        context.ledger.event(RunEvent::HostRestarted {
            host,
            role: context.role(host),
            incarnation,
            tick: context.machine.tick(),
            checkpoint: restart.base.map(|tick| tick.0),
            reexecuted: restart.reexecuted,
            ms: now.saturating_sub(restart.lost_at).as_secs_f64() * 1e3,
            cause: restart.cause,
        })
    }
}
