//! One batch: the check of its inputs, its run, and its answer.

use crate::backend::{Model, OutputLocation};
use crate::error::InferenceHostError;
use crate::model_loader::ModelLoader;
use crate::model_registry::ModelRegistry;
use crate::sys::ring_tensor::OutputRecord;
use crate::sys::tensor::TensorView;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::{BatchId, Tick};
use shm_protocol::inference_to_supervisor::{BATCH_FAILED, BatchFailed, OUTPUT};
use shm_protocol::ring::{RecordHeader, SharedProducer};
use shm_protocol::supervisor_to_inference::{BatchHead, INPUT};
use shm_protocol::tensor::{DType, Shape};

/// Most bytes of a failure's message. Messages of engines can be long, and a record must fit the smallest ring.
const MESSAGE_BYTES: usize = 4 << 10;

/// Records of an answer for which the ring has no space yet.
pub(super) type UnsentRecords = Vec<(RecordHeader, Vec<u8>)>;

/// The outcome of a batch.
pub(super) enum BatchOutcome {
    /// It is answered, but for these records.
    Answered(UnsentRecords),
    /// It has not run, because the ring to the supervisor has no space for this many bytes yet.
    RingFull(usize),
}

/// One batch, and the models that run it.
pub(super) struct BatchRun<'m> {
    pub(super) run: BatchHead,
    pub(super) tick: Tick,
    pub(super) models: &'m mut ModelRegistry,
    pub(super) loader: Option<&'m ModelLoader<'m>>,
}

impl BatchRun<'_> {
    pub(super) fn inputs(&self) -> usize {
        self.run.inputs as usize
    }

    /// Type and shape of an input record of this batch.
    pub(super) fn input(
        &self,
        header: &RecordHeader,
    ) -> Result<(DType, Shape), InferenceHostError> {
        let belongs = header.kind == INPUT && BatchId(header.correlation) == self.run.batch;
        header
            .tensor
            .filter(|_| belongs)
            .ok_or_else(|| InferenceHostError::Protocol {
                expected: "an input of the batch",
                got: format!(
                    "a record of kind {} for batch {}",
                    header.kind, header.correlation
                ),
            })
    }

    /// Runs the batch and writes as much of the answer as the ring has space for.
    pub(super) fn answer(
        &mut self,
        up: &mut SharedProducer,
        inputs: &[TensorView<'_>],
    ) -> Result<BatchOutcome, InferenceHostError> {
        let Some(entry) = self.models.get_mut(self.run.version) else {
            return Ok(BatchOutcome::Answered(vec![
                self.failure(&format!("model {} is not loaded", self.run.model)),
            ]));
        };
        let model = entry.model.as_mut();
        if let Some(message) = input_mismatch(&entry.name, model, inputs) {
            return Ok(BatchOutcome::Answered(vec![self.failure(&message)]));
        }
        let (batch, tick, max_bytes) = (self.run.batch, self.tick, up.max_payload_bytes());
        let predicted =
            predict_first_output(model, inputs).filter(|(_, _, bytes)| *bytes <= max_bytes);
        let record = match predicted {
            None => None,
            Some((dtype, shape, bytes)) => {
                match OutputRecord::reserve(
                    up,
                    &output(batch, tick, 0, dtype, shape),
                    dtype,
                    shape,
                    bytes,
                )? {
                    None => return Ok(BatchOutcome::RingFull(bytes)),
                    record => record,
                }
            }
        };
        let work = || run_model(model, inputs, record, max_bytes);
        let result = match &mut entry.memory_budget {
            None => work(),
            Some(allowance) => allowance
                .enforce(work)
                .map_err(|message| allowance.explain(&entry.name, message)),
        };
        let model = entry.model.as_ref();
        match result {
            Ok(first) => Ok(BatchOutcome::Answered(send_outputs(
                up, model, batch, tick, first,
            )?)),
            Err(message) => {
                let provider_failure = self
                    .loader
                    .and_then(|loader| loader.provider_failure(&entry.provider));
                match provider_failure {
                    Some(reason) => Err(InferenceHostError::ProviderLost {
                        model: entry.name.clone(),
                        provider: entry.provider.clone(),
                        message,
                        reason,
                    }),
                    None => Ok(BatchOutcome::Answered(vec![self.failure(&message)])),
                }
            }
        }
    }

    /// The record of a failure of this batch.
    pub(super) fn failure(&self, message: &str) -> (RecordHeader, Vec<u8>) {
        let end = (0..=MESSAGE_BYTES.min(message.len()))
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or(0);
        let failed = BatchFailed {
            batch: self.run.batch,
            message: message[..end].to_owned(),
        };
        let header = RecordHeader {
            correlation: self.run.batch.0,
            ..RecordHeader::new(BATCH_FAILED, self.tick)
        };
        (header, codec::encode(&failed))
    }
}

/// The message about inputs that the model does not take, if there are any.
fn input_mismatch(name: &str, model: &dyn Model, inputs: &[TensorView<'_>]) -> Option<String> {
    let ports = &model.signature().inputs;
    if ports.len() != inputs.len() {
        return Some(format!(
            "model `{name}` takes {} inputs, not {}",
            ports.len(),
            inputs.len()
        ));
    }
    let (port, input) = ports
        .iter()
        .zip(inputs)
        .find(|(port, input)| !port.admits(input.dtype(), input.shape()))?;
    Some(format!(
        "model `{name}` takes {port}, not {}{:?}",
        input.dtype(),
        input.shape()
    ))
}

/// Type, shape and size of the first output, if they are known before the run.
fn predict_first_output(
    model: &dyn Model,
    inputs: &[TensorView<'_>],
) -> Option<(DType, Shape, usize)> {
    let dtype = model.signature().outputs.first()?.dtype;
    let shapes: Vec<Shape> = inputs.iter().map(|input| *input.shape()).collect();
    let shape = model.predict_shape(0, &shapes)?;
    Some((dtype, shape, shape.bytes(dtype).ok()?))
}

/// Runs the model, and publishes `record` if the first output was written there. Gives the number of the first output
/// that is in the engine's memory. Every output has been checked to fit the ring by then.
fn run_model(
    model: &mut dyn Model,
    inputs: &[TensorView<'_>],
    mut record: Option<OutputRecord<'_>>,
    max_bytes: usize,
) -> Result<usize, String> {
    let view = record
        .as_mut()
        .map(OutputRecord::view_mut)
        .transpose()
        .map_err(|error| error.to_string())?;
    let location = model
        .run(inputs, &mut [view])
        .map_err(|error| error.to_string())?;
    fault::point(FaultPoint::AfterRun);
    let record = record.filter(|_| location == OutputLocation::InPlace);
    let first = usize::from(record.is_some());
    for number in first..model.signature().outputs.len() {
        let view = model.output(number).map_err(|error| error.to_string())?;
        if view.bytes() > max_bytes {
            let port = &model.signature().outputs[number];
            return Err(format!(
                "output `{}` came out as {}{:?}, {} bytes, and one result has at max_bytes {max_bytes}; ask for less \
                 at once, or raise `max_step_bytes` of the fleet (`--tensor-mib` of `lockstep infer`)",
                port.name,
                view.dtype(),
                view.shape(),
                view.bytes()
            ));
        }
    }
    if let Some(record) = record {
        record.publish();
        fault::point(FaultPoint::MidAnswer);
    }
    Ok(first)
}

/// Copies the outputs in the engine's memory to the ring, and gives back those for which it has no space yet.
fn send_outputs(
    up: &mut SharedProducer,
    model: &dyn Model,
    batch: BatchId,
    tick: Tick,
    first: usize,
) -> Result<UnsentRecords, InferenceHostError> {
    let mut unsent = UnsentRecords::new();
    for number in first..model.signature().outputs.len() {
        let bug = |reason: String| InferenceHostError::Protocol {
            expected: "an output",
            got: reason,
        };
        let view = model
            .output(number)
            .map_err(|error| bug(error.to_string()))?;
        let header = output(batch, tick, number, view.dtype(), *view.shape());
        // Outputs are sent in order: once one record has to wait, all after it do.
        let record = match unsent.is_empty() {
            true => OutputRecord::reserve(up, &header, view.dtype(), *view.shape(), view.bytes())?,
            false => None,
        };
        if let Some(mut record) = record {
            view.copy_to_view(&mut record.view_mut().map_err(|error| bug(error.to_string()))?);
            record.publish();
            fault::point(FaultPoint::MidAnswer);
        } else {
            let mut data = Vec::new();
            view.copy_to(&mut data);
            unsent.push((header, data));
        }
    }
    Ok(unsent)
}

fn output(batch: BatchId, tick: Tick, number: usize, dtype: DType, shape: Shape) -> RecordHeader {
    #[allow(clippy::cast_possible_truncation, reason = "at most limit::TENSORS")]
    let subject = number as u32;
    RecordHeader {
        subject,
        correlation: batch.0,
        tensor: Some((dtype, shape)),
        ..RecordHeader::new(OUTPUT, tick)
    }
}
