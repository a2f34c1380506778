//! One batch: what does not fit about it, its run, and its answer.

use crate::backend::{Model, Written};
use crate::error::HostError;
use crate::load::Loader;
use crate::models::Models;
use crate::sys::in_place::OutputRecord;
use crate::sys::tensor::TensorView;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::{BatchId, Tick};
use shm_protocol::inference_to_supervisor::{BATCH_FAILED, BatchFailed, OUTPUT};
use shm_protocol::ring::{RecordHeader, SharedProducer};
use shm_protocol::supervisor_to_inference::{BatchHead, INPUT};
use shm_protocol::tensor::{DType, Shape};

/// Most bytes of a failure's message. Engines can be wordy, and a record must fit the smallest ring.
const MESSAGE_BYTES: usize = 4 << 10;

/// What of an answer could not be put into the ring at once.
pub(super) type Rest = Vec<(RecordHeader, Vec<u8>)>;

/// What became of a batch.
pub(super) enum Answer {
    /// It is answered, but for these records.
    Given(Rest),
    /// It was not run, because the ring up has no room for this many bytes now.
    NoRoom(usize),
}

/// One batch, and the models to run it.
pub(super) struct Batch<'m> {
    pub(super) run: BatchHead,
    pub(super) tick: Tick,
    pub(super) models: &'m mut Models,
    pub(super) loader: Option<&'m Loader<'m>>,
}

impl Batch<'_> {
    pub(super) fn inputs(&self) -> usize {
        self.run.inputs as usize
    }

    /// Type and shape of an input record of this batch.
    pub(super) fn input(&self, header: &RecordHeader) -> Result<(DType, Shape), HostError> {
        let belongs = header.kind == INPUT && BatchId(header.correlation) == self.run.batch;
        header
            .tensor
            .filter(|_| belongs)
            .ok_or_else(|| HostError::Protocol {
                expected: "an input of the batch",
                got: format!(
                    "a record of kind {} for batch {}",
                    header.kind, header.correlation
                ),
            })
    }

    /// Runs the batch and passes up as much of the result as there is room for.
    pub(super) fn answer(
        &mut self,
        up: &mut SharedProducer,
        inputs: &[TensorView<'_>],
    ) -> Result<Answer, HostError> {
        let Some(named) = self.models.get_mut(self.run.version) else {
            return Ok(Answer::Given(vec![
                self.failure(&format!("there is no model {}", self.run.model)),
            ]));
        };
        let model = named.model.as_mut();
        if let Some(message) = misfit(&named.name, model, inputs) {
            return Ok(Answer::Given(vec![self.failure(&message)]));
        }
        let (batch, tick, most) = (self.run.batch, self.tick, up.max_payload_bytes());
        let foretold = foretold(model, inputs).filter(|(_, _, bytes)| *bytes <= most);
        let record = match foretold {
            None => None,
            Some((dtype, shape, bytes)) => {
                match OutputRecord::reserve(
                    up,
                    &output(batch, tick, 0, dtype, shape),
                    dtype,
                    shape,
                    bytes,
                )? {
                    None => return Ok(Answer::NoRoom(bytes)),
                    record => record,
                }
            }
        };
        let work = || run(model, inputs, record, most);
        let ran = match &mut named.allowance {
            None => work(),
            Some(allowance) => allowance
                .within(work)
                .map_err(|said| allowance.explained(&named.name, said)),
        };
        let model = named.model.as_ref();
        match ran {
            Ok(first) => Ok(Answer::Given(pass_up(up, model, batch, tick, first)?)),
            Err(message) => {
                let lost = self.loader.and_then(|loader| loader.lost(&named.provider));
                match lost {
                    Some(reason) => Err(HostError::ProviderLost {
                        model: named.name.clone(),
                        provider: named.provider.clone(),
                        message,
                        reason,
                    }),
                    None => Ok(Answer::Given(vec![self.failure(&message)])),
                }
            }
        }
    }

    /// The record that answers this batch with a failure.
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

/// What does not fit about the inputs, if anything.
fn misfit(name: &str, model: &dyn Model, inputs: &[TensorView<'_>]) -> Option<String> {
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

/// Type, shape and bytes that the first output will have, if they are known.
fn foretold(model: &dyn Model, inputs: &[TensorView<'_>]) -> Option<(DType, Shape, usize)> {
    let dtype = model.signature().outputs.first()?.dtype;
    let shapes: Vec<Shape> = inputs.iter().map(|input| *input.shape()).collect();
    let shape = model.predict(0, &shapes)?;
    Some((dtype, shape, shape.bytes(dtype).ok()?))
}

/// Runs the model, publishes `record` if the first output was written there, and gives the first output that is still
/// with the engine. Every output has been found to fit the ring by then.
fn run(
    model: &mut dyn Model,
    inputs: &[TensorView<'_>],
    mut record: Option<OutputRecord<'_>>,
    most: usize,
) -> Result<usize, String> {
    let place = record
        .as_mut()
        .map(OutputRecord::place)
        .transpose()
        .map_err(|error| error.to_string())?;
    let written = model
        .run(inputs, &mut [place])
        .map_err(|error| error.to_string())?;
    fault::point(FaultPoint::AfterRun);
    let record = record.filter(|_| written == Written::InPlace);
    let first = usize::from(record.is_some());
    for number in first..model.signature().outputs.len() {
        let given = model.given(number).map_err(|error| error.to_string())?;
        if given.bytes() > most {
            let port = &model.signature().outputs[number];
            return Err(format!(
                "output `{}` came out as {}{:?}, {} bytes, and one result has at most {most}; ask for less at once, or raise `step_data` of the fleet (`--tensor-mib` of `lockstep infer`)",
                port.name,
                given.dtype(),
                given.shape(),
                given.bytes()
            ));
        }
    }
    if let Some(record) = record {
        record.publish();
        fault::point(FaultPoint::MidAnswer);
    }
    Ok(first)
}

/// Copies the outputs that are with the engine into the ring, and keeps those for which it has no room now.
fn pass_up(
    up: &mut SharedProducer,
    model: &dyn Model,
    batch: BatchId,
    tick: Tick,
    first: usize,
) -> Result<Rest, HostError> {
    let mut rest = Rest::new();
    for number in first..model.signature().outputs.len() {
        let bug = |reason: String| HostError::Protocol {
            expected: "an output",
            got: reason,
        };
        let given = model
            .given(number)
            .map_err(|error| bug(error.to_string()))?;
        let header = output(batch, tick, number, given.dtype(), *given.shape());
        // Order matters: once one record has to wait, all after it do.
        let record = match rest.is_empty() {
            true => {
                OutputRecord::reserve(up, &header, given.dtype(), *given.shape(), given.bytes())?
            }
            false => None,
        };
        if let Some(mut record) = record {
            given.copy_to_place(&mut record.place().map_err(|error| bug(error.to_string()))?);
            record.publish();
            fault::point(FaultPoint::MidAnswer);
        } else {
            let mut data = Vec::new();
            given.copy_to(&mut data);
            rest.push((header, data));
        }
    }
    Ok(rest)
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
