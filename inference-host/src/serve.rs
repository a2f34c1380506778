//! Takes batches from the ring down and puts their results into the ring up.
//! Between batches, versions of models are loaded and let go, in the order of the ring.
//!
//! One batch is one run of the engine. Inputs are read where they lie; the first
//! output is written where the supervisor will read it, if its shape is known
//! beforehand; the others are copied once. A batch is answered by all of its
//! outputs in order, or by one failure: sizes are checked before the first
//! record is published.

mod batch;

use crate::error::HostError;
use crate::load::Loader;
use crate::models::Models;
use crate::sys::in_place::WaitingRecords;
use crate::sys::tensor::TensorView;
use batch::{Answer, Batch, Rest};
use bincode::Decode;
use shm_protocol::codec;
use shm_protocol::fault::{self, FaultPoint};
use shm_protocol::id::VersionId;
use shm_protocol::limit;
use shm_protocol::link::{HostLink, WaitPolicy, WaitResult};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{BatchHead, LOAD, LoadModel, RUN, UNLOAD};

/// How often to look for the rest of a batch before its inputs are taken out of the ring: the supervisor writes them
/// in one go, so if they do not come, the ring may be too small to hold all of them.
const PATIENCE: u32 = 20_000;

/// How many of those looks are made without giving up the processor.
const SPINS: u32 = 2_000;

/// Serves until `drained` says that nothing more will come and nothing has. Without a loader, no further version comes.
///
/// # Errors
/// When a ring cannot be used any more, or carries what does not belong there.
pub fn serve(
    link: &mut HostLink,
    models: &mut Models,
    loader: Option<&Loader<'_>>,
    drained: &mut dyn FnMut() -> bool,
) -> Result<(), HostError> {
    let mut scratch = Vec::new();
    loop {
        match link.wait(&WaitPolicy::HOST) {
            WaitResult::Ready => next_record(link, models, loader, &mut scratch)?,
            WaitResult::TimedOut if drained() => return Ok(()),
            WaitResult::TimedOut => {}
        }
    }
}

/// Does what the next record asks for.
fn next_record(
    link: &mut HostLink,
    models: &mut Models,
    loader: Option<&Loader<'_>>,
    scratch: &mut Vec<u8>,
) -> Result<(), HostError> {
    let Some(head) = link.down.try_peek(0)? else {
        return Ok(());
    };
    let header = head.header;
    scratch.clear();
    head.copy_to(scratch)?;
    match (header.kind, loader) {
        (LOAD, Some(loader)) => {
            let load: LoadModel = decoded(&header, scratch)?;
            link.down.release(1);
            loader.bring(link, &load, models)
        }
        (UNLOAD, _) => {
            link.down.release(1);
            models.remove(VersionId(header.subject));
            Ok(())
        }
        _ => {
            let run = read_head(&header, scratch)?;
            answer_batch(link, models, loader, &header, run)
        }
    }
}

/// Answers the batch that begins with the next record.
fn answer_batch(
    link: &mut HostLink,
    models: &mut Models,
    loader: Option<&Loader<'_>>,
    header: &RecordHeader,
    run: BatchHead,
) -> Result<(), HostError> {
    fault::at(FaultPoint::BeforeBatch, header.tick, run.model.0);
    let mut batch = Batch {
        run,
        tick: header.tick,
        models,
        loader,
    };
    let records = 1 + batch.inputs();
    let rest = match in_place(link, &mut batch)? {
        Some(rest) => {
            link.up.notify();
            link.down.release(records);
            rest
        }
        None => copied(link, &mut batch)?,
    };
    for (header, payload) in &rest {
        link.push(header, payload)?;
        fault::point(FaultPoint::MidAnswer);
    }
    fault::point(FaultPoint::AfterAnswer);
    Ok(())
}

fn decoded<T: Decode<()>>(header: &RecordHeader, payload: &[u8]) -> Result<T, HostError> {
    codec::decode::<_, { limit::CONTROL_BYTES }>(payload).map_err(|source| HostError::Decode {
        kind: header.kind,
        source,
    })
}

fn read_head(header: &RecordHeader, payload: &[u8]) -> Result<BatchHead, HostError> {
    if header.kind != RUN {
        return Err(HostError::Protocol {
            expected: "the head of a batch",
            got: format!("a record of kind {}", header.kind),
        });
    }
    let run: BatchHead = decoded(header, payload)?;
    if run.inputs as usize > limit::TENSORS {
        return Err(HostError::Protocol {
            expected: "a batch",
            got: format!("one with {} inputs", run.inputs),
        });
    }
    Ok(run)
}

/// Runs the batch on its inputs where they lie. `None` when they do not all come.
fn in_place(link: &mut HostLink, batch: &mut Batch<'_>) -> Result<Option<Rest>, HostError> {
    let mut looks = 0;
    loop {
        let room = match WaitingRecords::collect(&mut link.down, 1, batch.inputs())? {
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
                        Answer::Given(rest) => return Ok(Some(rest)),
                        Answer::NoRoom(bytes) => bytes,
                    },
                    Err(error) => return Ok(Some(vec![batch.failure(&error.to_string())])),
                }
            }
            None if looks == PATIENCE => return Ok(None),
            None => {
                looks += 1;
                if looks < SPINS {
                    std::hint::spin_loop()
                } else {
                    std::thread::yield_now()
                }
                continue;
            }
        };
        link.wait_for_space(room)?;
    }
}

/// Takes the batch out of the ring, record by record, and runs it on the copies.
fn copied(link: &mut HostLink, batch: &mut Batch<'_>) -> Result<Rest, HostError> {
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
            Answer::NoRoom(bytes) => link.wait_for_space(bytes)?,
            Answer::Given(rest) => {
                link.up.notify();
                return Ok(rest);
            }
        }
    }
}
