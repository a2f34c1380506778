//! Answers of the engine, divided among the members of a batch.

use crate::tick::batch::{InferenceBatch, Member, with_rows};
use crate::tick::finite;
use crate::tick::planned::PlannedModel;
use crate::tick::violation::Violation;
use shm_protocol::id::BatchId;
use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::Tensor;
use std::sync::Arc;

/// The answer, or an error when it takes the sum over the bound.
pub(in crate::tick) fn limit_answer(
    answer: Arc<RequestResult>,
    bytes: &mut usize,
    max_bytes: usize,
) -> Arc<RequestResult> {
    let size: usize = answer.as_ref().as_ref().map_or(0, |outputs| {
        outputs.iter().map(|tensor| tensor.data.len()).sum()
    });
    if bytes.saturating_add(size) > max_bytes {
        return Arc::new(Err(format!(
            "the results of this step are over {max_bytes} bytes with these {size}; ask for less in one tick, or raise `max_step_bytes` of the fleet"
        )));
    }
    *bytes += size;
    answer
}

/// Checks the outputs of a batch and divides them among its members.
pub(in crate::tick) fn split_outputs(
    model: &PlannedModel,
    batch: &InferenceBatch,
    outputs: RequestResult,
) -> Result<Vec<Arc<RequestResult>>, Violation> {
    if let Ok(outputs) = &outputs {
        check_outputs(batch.id, model, outputs)?;
    }
    let mut answers = split(batch, outputs);
    if model.settings.rejects_nonfinite {
        for answer in &mut answers {
            let outputs = answer.as_ref().clone();
            *answer = Arc::new(finite::check_answer(&model.signature.outputs, outputs));
        }
    }
    Ok(answers)
}

/// True if an answer to a batch of several requests cannot be divided: the engine refused them together, or the model
/// gave other rows than it got. Unbatched, each is answered.
pub(in crate::tick) fn is_indivisible(batch: &InferenceBatch, outputs: &RequestResult) -> bool {
    let has_rows = |tensor: &Tensor| tensor.shape.dims().first() == Some(&batch.rows);
    let is_odd = match outputs {
        Err(_) => true,
        Ok(outputs) => !outputs.iter().all(has_rows),
    };
    is_odd && batch.members.len() > 1
}

/// Checks for outputs that no sound inference host sends, whatever the model.
fn check_outputs(
    batch: BatchId,
    model: &PlannedModel,
    outputs: &[Tensor],
) -> Result<(), Violation> {
    let bad = |reason: String| Violation::BadAnswer {
        batch,
        model: model.name.clone(),
        reason,
    };
    let ports = &model.signature.outputs;
    if outputs.len() != ports.len() {
        return Err(bad(format!(
            "{} outputs instead of {}",
            outputs.len(),
            ports.len()
        )));
    }
    for (port, tensor) in ports.iter().zip(outputs) {
        if tensor.dtype != port.dtype {
            return Err(bad(format!(
                "{}{:?} as output {port}",
                tensor.dtype, tensor.shape
            )));
        }
        tensor.check().map_err(|error| bad(error.to_string()))?;
    }
    Ok(())
}

/// The part of each member in the outputs of a batch.
fn split(batch: &InferenceBatch, outputs: RequestResult) -> Vec<Arc<RequestResult>> {
    let outputs = match outputs {
        Ok(outputs) if batch.members.len() > 1 => outputs,
        whole => return shared(batch, whole),
    };
    let rows = batch.rows;
    let mut before = 0;
    let part_of = |member: &Member| {
        let part = outputs
            .iter()
            .map(|tensor| slice_rows(tensor, rows, before, member.rows))
            .collect();
        before += member.rows;
        Arc::new(Ok(part))
    };
    batch.members.iter().map(part_of).collect()
}

/// One answer for every member.
fn shared(batch: &InferenceBatch, answer: RequestResult) -> Vec<Arc<RequestResult>> {
    let answer = Arc::new(answer);
    batch.members.iter().map(|_| Arc::clone(&answer)).collect()
}

/// Rows `before..before + count` of a tensor of `rows` rows.
fn slice_rows(tensor: &Tensor, rows: u64, before: u64, count: u64) -> Tensor {
    let row_bytes = tensor.data.len()
        / usize::try_from(rows)
            .expect("checked against the data")
            .max(1);
    let at = |row: u64| usize::try_from(row).expect("within the data") * row_bytes;
    Tensor {
        dtype: tensor.dtype,
        shape: with_rows(&tensor.shape, count),
        data: tensor.data[at(before)..at(before + count)].to_vec(),
    }
}
