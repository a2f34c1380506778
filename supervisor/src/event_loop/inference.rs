//! Batches on their way to the engine, and its answers.

use super::host_slot::HostStage;
use super::{EventLoop, LoopError};
use crate::error::RunError;
use crate::host::{HostSetError, batch_messages};
use crate::planted::{Bug, planted};
use crate::tick::{Batch, Input};
use shm_protocol::fault::FaultPoint;
use shm_protocol::generation;
use shm_protocol::id::{BatchId, HostId};
use shm_protocol::inference_to_supervisor::{BATCH_FAILED, BatchFailed, MODEL_LOADED, OUTPUT};
use shm_protocol::ring::RecordHeader;
use shm_protocol::tensor::Tensor;
use std::collections::BTreeMap;

/// What the engine has been asked, and what it is in the middle of answering.
#[derive(Debug, Default)]
pub(super) struct InFlightBatches {
    /// Outputs that each running batch will have.
    running: BTreeMap<BatchId, usize>,
    batch: BatchId,
    outputs: Vec<Tensor>,
    /// Batches wait for others, because the engine has crashed over one of them.
    holds_back: bool,
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
}

impl EventLoop<'_> {
    pub(super) fn infer(&mut self, batch: &Batch) -> Result<(), RunError> {
        let Some(host) = self.hosts.inference_host() else {
            // A replay takes the results from the journal.
            return Ok(());
        };
        if !matches!(self.station(host).stage, HostStage::Serving) {
            // It is submitted with all others once the engine is back.
            return Ok(());
        }
        if self.answering.running.contains_key(&batch.id) {
            // It was submitted with all that were open.
            return Ok(());
        }
        if self.machine.is_searching() || self.answering.holds_back {
            return self.submit_open();
        }
        let pushed = self.push_batch(host, batch);
        self.handle_host_error(host, pushed)
    }

    /// Submits every batch that was not answered, as it was submitted before. While it is not known which of them crashes
    /// the engine, one at a time.
    pub(super) fn submit_open(&mut self) -> Result<(), RunError> {
        let Some(host) = self.hosts.inference_host() else {
            return Ok(());
        };
        let under_way = &self.answering.running;
        self.answering.holds_back = self.machine.is_searching();
        let at_once = match (self.answering.holds_back, under_way.is_empty()) {
            (false, _) => usize::MAX,
            (true, true) => 1,
            (true, false) => 0,
        };
        let open = self.machine.running();
        let open = open.filter(|batch| !under_way.contains_key(&batch.id));
        let mut batches: Vec<Batch> = open.take(at_once).cloned().collect();
        if planted(Bug::OtherComposition) {
            batches.iter_mut().for_each(|batch| batch.members.reverse());
        }
        if planted(Bug::AskNewestVersion) {
            let newest = self.machine.tick();
            for batch in &mut batches {
                let lives = self.machine.lives(batch.model);
                let version = lives.and_then(|lives| lives.at(newest).version);
                batch.version = version.unwrap_or(batch.version);
            }
        }
        for batch in &batches {
            if matches!(self.station(host).stage, HostStage::Serving) {
                let pushed = self.push_batch(host, batch);
                self.handle_host_error(host, pushed)?;
            }
        }
        Ok(())
    }

    fn push_batch(&mut self, host: HostId, batch: &Batch) -> Result<(), LoopError> {
        let model = &self.header.models[batch.model.index()];
        let outputs = match model.generator {
            None => model.signature.outputs.len(),
            Some(_) => generation::wire_signature().outputs.len(),
        };
        if !self.has_version(batch.version) {
            self.load_version(host, batch.version)?;
        }
        self.answering.running.insert(batch.id, outputs);
        let inputs = u32::try_from(batch.inputs.len()).expect("at most limit::TENSORS");
        let (header, run) =
            batch_messages::head(batch.id, batch.tick, (batch.version, batch.model), inputs);
        self.push(
            host,
            &header,
            run.len(),
            &mut std::iter::once(run.as_slice()),
        )?;
        for (position, (dtype, shape)) in batch.inputs.iter().enumerate() {
            let header = batch_messages::input(batch.id, batch.tick, position, *dtype, *shape);
            let bytes = shape
                .bytes(*dtype)
                .expect("checked when the request came in");
            self.push(host, &header, bytes, &mut batch.input_parts(position))?;
        }
        self.station(host).expect_replies(1);
        self.hosts.notify(host);
        Ok(())
    }

    pub(super) fn on_engine_record(
        &mut self,
        host: HostId,
        header: &RecordHeader,
    ) -> Result<(), LoopError> {
        if header.kind == MODEL_LOADED {
            return self.on_version_loaded(host, header);
        }
        let batch = BatchId(header.correlation);
        let out_of_place = HostSetError::OutOfPlace {
            kind: self.hosts.kind(host),
            host,
            record: header.kind,
        };
        self.station(host).on_replies(0);
        self.pass(FaultPoint::AnswerHeard);
        match (header.kind, header.tensor) {
            (OUTPUT, Some((dtype, shape))) => {
                let answering = &mut self.answering;
                let Some(wanted) = answering.running.get(&batch).copied() else {
                    return Err(out_of_place.into());
                };
                let is_next = header.subject as usize == answering.outputs.len();
                if !is_next || (!answering.outputs.is_empty() && answering.batch != batch) {
                    return Err(out_of_place.into());
                }
                answering.batch = batch;
                answering.outputs.push(Tensor {
                    dtype,
                    shape,
                    data: self.hosts.take_payload(),
                });
                if answering.outputs.len() < wanted {
                    return Ok(());
                }
                let outputs = Ok(std::mem::take(&mut answering.outputs));
                self.answered(host, batch, outputs)
            }
            (OUTPUT, None) => Err(out_of_place.into()),
            _ => {
                let failed: BatchFailed = self.expect(host, header, BATCH_FAILED)?;
                self.answering.outputs.clear();
                self.answered(host, failed.batch, Err(failed.message))
            }
        }
    }

    fn answered(
        &mut self,
        host: HostId,
        batch: BatchId,
        outputs: Result<Vec<Tensor>, String>,
    ) -> Result<(), LoopError> {
        let crashes = self.machine.crashes(batch);
        self.try_apply(Input::Answer { batch, outputs })?;
        self.answering.running.remove(&batch);
        if crashes == 1 {
            // It was not the batch.
            self.count_loss(host, "it crashed over a batch that it has now answered")?;
        }
        self.station(host).on_replies(1);
        if self.answering.holds_back {
            self.submit_open()?;
        }
        if self.station(host).restart.is_some() && self.station(host).outstanding == 0 {
            self.finish_restart(host)?;
        }
        Ok(())
    }
}
