//! Serves batches: takes them from the ring from the supervisor and writes their results to the ring to it. Between
//! batches, versions of models are loaded and unloaded, in the order of the ring.
//!
//! One batch is one run of the engine. Inputs are read in place; the first output is written where the supervisor will
//! read it, if its shape is known before the run; the others are copied once. The answer to a batch is all of its
//! outputs in order, or one failure: sizes are checked before the first record is published.

mod batch_run;

use crate::error::InferenceHostError;
use crate::model_loader::ModelLoader;
use crate::model_registry::ModelRegistry;
use crate::sys::ring_tensor::PendingRecords;
use crate::sys::tensor::TensorView;
use batch_run::{BatchOutcome, BatchRun, UnsentRecords};
use bincode::Decode;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::VersionId;
use shm_protocol::limit;
use shm_protocol::link::{HostLink, WaitPolicy, WaitResult};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{BatchHead, LOAD, LoadModel, RUN, UNLOAD};

/// Polls for the rest of a batch before its inputs are taken out of the ring: the supervisor writes them at once, so if
/// they do not come, the ring may be too small for all of them.
const MAX_POLLS: u32 = 20_000;

/// The polls among them that spin instead of yielding.
const SPIN_POLLS: u32 = 2_000;

/// Serves until `drained` is true and the ring is empty. Without a loader, no further version can be loaded.
///
/// # Errors
/// When a ring is damaged, or has an unexpected record.
pub fn serve(
    link: &mut HostLink,
    models: &mut ModelRegistry,
    loader: Option<&ModelLoader<'_>>,
    drained: &mut dyn FnMut() -> bool,
) -> Result<(), InferenceHostError> {
    let mut scratch = Vec::new();
    loop {
        match link.wait(&WaitPolicy::HOST) {
            WaitResult::Ready => handle_record(link, models, loader, &mut scratch)?,
            WaitResult::TimedOut if drained() => return Ok(()),
            WaitResult::TimedOut => {}
        }
    }
}

/// Handles the next record.
fn handle_record(
    link: &mut HostLink,
    models: &mut ModelRegistry,
    loader: Option<&ModelLoader<'_>>,
    scratch: &mut Vec<u8>,
) -> Result<(), InferenceHostError> {
    let Some(head) = link.down.try_peek(0)? else {
        return Ok(());
    };
    let header = head.header;
    scratch.clear();
    head.copy_to(scratch)?;
    match (header.kind, loader) {
        (LOAD, Some(loader)) => {
            let load: LoadModel = decode(&header, scratch)?;
            link.down.release(1);
            loader.load_version(link, &load, models)
        }
        (UNLOAD, _) => {
            link.down.release(1);
            models.remove(VersionId(header.subject));
            Ok(())
        }
        _ => {
            let run = decode_head(&header, scratch)?;
            answer_batch(link, models, loader, &header, run)
        }
    }
}

/// Answers the batch whose head is the next record.
fn answer_batch(
    link: &mut HostLink,
    models: &mut ModelRegistry,
    loader: Option<&ModelLoader<'_>>,
    header: &RecordHeader,
    run: BatchHead,
) -> Result<(), InferenceHostError> {
    fault::at(FaultPoint::BeforeBatch, header.tick, run.model.0);
    let mut batch = BatchRun {
        run,
        tick: header.tick,
        models,
        loader,
    };
    let records = 1 + batch.inputs();
    let unsent = match run_in_place(link, &mut batch)? {
        Some(unsent) => {
            link.up.notify();
            link.down.release(records);
            unsent
        }
        None => run_on_copies(link, &mut batch)?,
    };
    for (header, payload) in &unsent {
        link.push(header, payload)?;
        fault::point(FaultPoint::MidAnswer);
    }
    fault::point(FaultPoint::AfterAnswer);
    Ok(())
}

fn decode<T: Decode<()>>(header: &RecordHeader, payload: &[u8]) -> Result<T, InferenceHostError> {
    codec::decode::<_, { limit::CONTROL_BYTES }>(payload).map_err(|source| {
        InferenceHostError::Decode {
            kind: header.kind,
            source,
        }
    })
}

fn decode_head(header: &RecordHeader, payload: &[u8]) -> Result<BatchHead, InferenceHostError> {
    if header.kind != RUN {
        return Err(InferenceHostError::Protocol {
            expected: "the head of a batch",
            got: format!("a record of kind {}", header.kind),
        });
    }
    let run: BatchHead = decode(header, payload)?;
    if run.inputs as usize > limit::TENSORS {
        return Err(InferenceHostError::Protocol {
            expected: "a batch",
            got: format!("one with {} inputs", run.inputs),
        });
    }
    Ok(run)
}

/// Runs the batch on its inputs in the ring. `None` if they do not all arrive.
fn run_in_place(
    link: &mut HostLink,
    batch: &mut BatchRun<'_>,
) -> Result<Option<UnsentRecords>, InferenceHostError> {
    let mut polls = 0;
    loop {
        let bytes = match PendingRecords::collect(&mut link.down, 1, batch.inputs())? {
            Some(records) => {
                let descriptions = records
                    .headers()
                    .map(|header| batch.input(header))
                    .collect::<Result<Vec<_>, _>>()?;
                let views = descriptions
                    .iter()
                    .enumerate()
                    .map(|(number, (dtype, shape))| records.view(number, *dtype, *shape));
                match views.collect::<Result<Vec<_>, _>>() {
                    Ok(views) => match batch.answer(&mut link.up, &views)? {
                        BatchOutcome::Answered(unsent) => return Ok(Some(unsent)),
                        BatchOutcome::RingFull(bytes) => bytes,
                    },
                    Err(error) => return Ok(Some(vec![batch.failure(&error.to_string())])),
                }
            }
            None if polls == MAX_POLLS => return Ok(None),
            None => {
                polls += 1;
                if polls < SPIN_POLLS {
                    std::hint::spin_loop()
                } else {
                    std::thread::yield_now()
                }
                continue;
            }
        };
        link.wait_for_space(bytes)?;
    }
}

/// Takes the batch out of the ring, record by record, and runs it on the copies.
fn run_on_copies(
    link: &mut HostLink,
    batch: &mut BatchRun<'_>,
) -> Result<UnsentRecords, InferenceHostError> {
    let mut inputs = Vec::with_capacity(batch.inputs());
    link.down.release(1);
    while inputs.len() < batch.inputs() {
        let mut data = Vec::new();
        match link.down.try_take(&mut data)? {
            Some(header) => {
                let (dtype, shape) = batch.input(&header)?;
                inputs.push((dtype, shape, data));
            }
            None => {
                link.wait(&WaitPolicy::HOST);
            }
        }
    }
    let views = inputs
        .iter()
        .map(|(dtype, shape, data)| TensorView::of_slice(*dtype, *shape, data));
    let views = match views.collect::<Result<Vec<_>, _>>() {
        Ok(views) => views,
        Err(error) => return Ok(vec![batch.failure(&error.to_string())]),
    };
    loop {
        match batch.answer(&mut link.up, &views)? {
            BatchOutcome::RingFull(bytes) => link.wait_for_space(bytes)?,
            BatchOutcome::Answered(unsent) => {
                link.up.notify();
                return Ok(unsent);
            }
        }
    }
}
