//! The records that carry a batch to the inference host.

use shm_protocol::codec;
use shm_protocol::id::{BatchId, ModelId, Tick, VersionId};
use shm_protocol::ring::RecordHeader;
use shm_protocol::supervisor_to_inference::{BatchHead, INPUT, RUN};
use shm_protocol::tensor::{DType, Shape};

/// The first record of a batch: header and payload.
pub(crate) fn head(
    batch: BatchId,
    tick: Tick,
    (version, model): (VersionId, ModelId),
    inputs: u32,
) -> (RecordHeader, Vec<u8>) {
    let header = RecordHeader {
        correlation: batch.0,
        ..RecordHeader::new(RUN, tick)
    };
    let run = BatchHead {
        batch,
        version,
        model,
        inputs,
    };
    (header, codec::encode(&run))
}

/// The header of an input of a batch.
pub(crate) fn input(
    batch: BatchId,
    tick: Tick,
    position: usize,
    dtype: DType,
    shape: Shape,
) -> RecordHeader {
    RecordHeader {
        correlation: batch.0,
        subject: u32::try_from(position).expect("at most limit::TENSORS"),
        tensor: Some((dtype, shape)),
        ..RecordHeader::new(INPUT, tick)
    }
}
