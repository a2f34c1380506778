//! Batches that the inference host was asked to run, and the answer that it is in the middle of.

use super::context::RunContext;
use super::error::LoopError;
use super::host_slots::HostSlots;
use super::loaded_models::LoadedModels;
use crate::host::{HostSetError, batch_messages};
use crate::planted::{Bug, planted};
use crate::tick::{InferenceBatch, TickInput};
use shm_protocol::fault::FaultPoint;
use shm_protocol::generation;
use shm_protocol::id::{BatchId, HostId};
use shm_protocol::inference_to_supervisor::{BATCH_FAILED, BatchFailed, OUTPUT};
use shm_protocol::ring::RecordHeader;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;

/// Batches that the inference host was asked to run.
#[derive(Debug, Default)]
pub(super) struct InFlightBatches {
    /// Outputs that each of them will have.
    running: BTreeMap<BatchId, usize>,
    /// The batch of the outputs that have come.
    batch: BatchId,
    outputs: Vec<Tensor>,
    /// Batches wait for others, because the engine has crashed over one of them.
    holds_back: bool,
}

/// What a record of the inference host has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchProgress {
    /// More outputs of the batch are to come.
    Incomplete,
    /// The batch is answered; the engine had crashed over it so many times before.
    Answered { crashes: u32 },
}

impl InFlightBatches {
    /// The engine is gone, and half an answer with it.
    pub(super) fn reset_after_crash(&mut self) {
        self.running.clear();
        if !planted(Bug::KeepHalfAnswer) {
            self.outputs.clear();
        }
    }

    /// The batch that the engine works on: it answers them in the order of their numbers.
    pub(super) fn first(&self) -> Option<BatchId> {
        self.running.keys().next().copied()
    }

    /// Whether batches wait until others are answered.
    pub(super) fn holds_back(&self) -> bool {
        self.holds_back
    }

    /// Submits a batch that the machine asks for now.
    pub(super) fn submit(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        models: &mut LoadedModels,
        host: HostId,
        batch: &InferenceBatch,
    ) -> Result<(), LoopError> {
        // While the host restarts, and where all open batches were just submitted, it is one of them.
        if !slots.is_serving(host) || self.running.contains_key(&batch.id) {
            return Ok(());
        }
        if context.machine.is_searching() || self.holds_back {
            return self.submit_open(context, slots, models, host);
        }
        self.push(context, slots, models, host, batch)
    }

    /// Submits every batch that was not answered, as it was submitted before. While it is not known which of them crashes
    /// the engine, one at a time.
    pub(super) fn submit_open(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        models: &mut LoadedModels,
        host: HostId,
    ) -> Result<(), LoopError> {
        self.holds_back = context.machine.is_searching();
        let at_once = match (self.holds_back, self.running.is_empty()) {
            (false, _) => usize::MAX,
            (true, true) => 1,
            (true, false) => 0,
        };
        let open = context.machine.running();
        let open = open.filter(|batch| !self.running.contains_key(&batch.id));
        let mut batches: Vec<InferenceBatch> = open.take(at_once).cloned().collect();
        if planted(Bug::OtherComposition) {
            batches.iter_mut().for_each(|batch| batch.members.reverse());
        }
        if planted(Bug::AskNewestVersion) {
            let newest = context.machine.tick();
            for batch in &mut batches {
                let timeline = context.machine.timeline(batch.model);
                let version = timeline.and_then(|timeline| timeline.at(newest).version);
                batch.version = version.unwrap_or(batch.version);
            }
        }
        for batch in &batches {
            if slots.is_serving(host) {
                self.push(context, slots, models, host, batch)?;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        models: &mut LoadedModels,
        host: HostId,
        batch: &InferenceBatch,
    ) -> Result<(), LoopError> {
        let model = &context.header.models[batch.model.index()];
        let outputs = match model.settings.generator {
            None => model.signature.outputs.len(),
            Some(_) => generation::wire_signature().outputs.len(),
        };
        if !models.has(batch.version) {
            models.load(context, slots, host, batch.version)?;
        }
        self.running.insert(batch.id, outputs);
        let (id, tick) = (batch.id, batch.tick);
        let inputs = u32::try_from(batch.inputs.len()).expect("at most limit::TENSORS");
        let (header, head) = batch_messages::head(id, tick, (batch.version, batch.model), inputs);
        slots.push_bytes(context, host, &header, &head)?;
        for (position, (dtype, shape)) in batch.inputs.iter().enumerate() {
            let header = batch_messages::input(id, tick, position, *dtype, *shape);
            let bytes = shape
                .bytes(*dtype)
                .expect("checked when the request came in");
            let mut parts = batch.input_parts(position);
            slots.push(context, host, &header, bytes, &mut parts)?;
        }
        slots.get_mut(host).expect_replies(1);
        context.hosts.notify(host);
        Ok(())
    }

    /// Takes a record of the inference host that is about a batch.
    pub(super) fn on_record(
        &mut self,
        context: &mut RunContext<'_>,
        slots: &mut HostSlots,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<BatchProgress, LoopError> {
        let batch = BatchId(header.correlation);
        let out_of_place = HostSetError::UnexpectedRecord {
            kind: context.hosts.kind(host),
            host,
            record: header.kind,
        };
        slots.get_mut(host).on_replies(0);
        context.pass(FaultPoint::AnswerReceived);
        let (batch, outputs) = match (header.kind, header.tensor) {
            (OUTPUT, Some((dtype, shape))) => {
                let Some(wanted) = self.running.get(&batch).copied() else {
                    return Err(out_of_place.into());
                };
                let is_next = header.subject as usize == self.outputs.len();
                if !is_next || (!self.outputs.is_empty() && self.batch != batch) {
                    return Err(out_of_place.into());
                }
                self.batch = batch;
                self.outputs.push(Tensor {
                    dtype,
                    shape,
                    data: context.hosts.take_payload(),
                });
                if self.outputs.len() < wanted {
                    return Ok(BatchProgress::Incomplete);
                }
                (batch, Ok(std::mem::take(&mut self.outputs)))
            }
            (OUTPUT, None) => return Err(out_of_place.into()),
            _ => {
                let failed: BatchFailed = context.decode(host, header, BATCH_FAILED)?;
                self.outputs.clear();
                (failed.batch, Err(failed.message))
            }
        };
        let crashes = context.machine.crashes(batch);
        context.apply(TickInput::Answer { batch, outputs })?;
        self.running.remove(&batch);
        Ok(BatchProgress::Answered { crashes })
    }
}
