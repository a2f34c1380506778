//! Batch invariance: whether the rows of a batch have the same bits as each row alone, measured while a model is
//! loaded.
//!
//! A result must not depend on the other requests in its batch. No engine promises that, so it is measured: some rows
//! run alone, then in batches of several sizes with changing neighbours at changing positions, and every bit of every
//! output must be the same. The rows are made from a counter, so that every launch measures the same. The result holds
//! for this library on this machine, so it is measured at every launch.

mod rows;

use crate::backend::{Model, ModelRunError};
use crate::sys::tensor::TensorView;
use rows::ProbeRows;
use shm_protocol::inference_to_supervisor::Batching;
use shm_protocol::tensor::{Shape, Signature};
use thiserror::Error;

/// Batch sizes that are measured: around those at which kernels change (4, 8, 16, 32), and up to the default of a
/// fleet.
const BATCH_ROWS: [usize; 8] = [2, 3, 8, 17, 32, 64, 128, 256];

/// Different rows. Larger batches repeat them at other positions, so a large model runs alone only this often.
const ROWS: usize = 16;

/// Most bytes of one row of one input: the largest batch then has at most 256 MiB. Larger rows gain nothing from a
/// batch.
const ROW_BYTES: usize = (256 << 20) / 256;

/// Values of open dimensions but the first, one after the other. A model without any is measured once.
const OPEN_DIMENSIONS: [u64; 2] = [2, 4];

/// Measures whether requests to `model` may run as one batch.
pub fn batching(model: &mut dyn Model, may_batch: bool) -> Batching {
    if !may_batch {
        return Batching::Unwanted;
    }
    match probe(model) {
        Ok(()) => Batching::Joined,
        Err(reason @ BatchVariance::Run { .. }) => Batching::Untried(reason.to_string()),
        Err(reason) => Batching::Alone(reason.to_string()),
    }
}

/// The reason why requests cannot run as one batch.
#[derive(Debug, PartialEq, Eq, Error)]
enum BatchVariance {
    #[error("it has no inputs")]
    NoInputs,
    #[error("its {direction} {port} has no open first dimension")]
    FixedBatch {
        direction: &'static str,
        port: String,
    },
    #[error("elements of its {direction} {port} share bytes, so its rows cannot be concatenated")]
    Packed {
        direction: &'static str,
        port: String,
    },
    #[error("a row of its inputs has more than {ROW_BYTES} bytes")]
    LargeRows,
    #[error("the probe could not run {rows} of its rows: {reason}")]
    Run { rows: usize, reason: ModelRunError },
    #[error("output `{output}` has the shape {shape:?} for {rows} rows, so not one row for each")]
    Rows {
        output: String,
        shape: Shape,
        rows: usize,
    },
    #[error(
        "output `{output}` differs at byte {byte} of a row when the row is at position {position} of {rows} instead \
         of alone"
    )]
    Bits {
        output: String,
        byte: usize,
        position: usize,
        rows: usize,
    },
}

fn probe(model: &mut dyn Model) -> Result<(), BatchVariance> {
    let signature = model.signature().clone();
    check_ports(&signature)?;
    let has_open = signature
        .inputs
        .iter()
        .any(|port| port.dims[1..].contains(&None));
    let open_dimensions = if has_open {
        &OPEN_DIMENSIONS[..]
    } else {
        &OPEN_DIMENSIONS[..1]
    };
    open_dimensions
        .iter()
        .try_for_each(|open| compare(model, &signature, *open))
}

/// Every input and output must have an open first dimension, and rows that begin at a byte.
fn check_ports(signature: &Signature) -> Result<(), BatchVariance> {
    if signature.inputs.is_empty() {
        return Err(BatchVariance::NoInputs);
    }
    let inputs = signature.inputs.iter().map(|port| ("input", port));
    let outputs = signature.outputs.iter().map(|port| ("output", port));
    inputs.chain(outputs).try_for_each(|(direction, port)| {
        if port.dims.first() != Some(&None) {
            let port = port.to_string();
            Err(BatchVariance::FixedBatch { direction, port })
        } else if port.dtype.is_packed() {
            let port = port.to_string();
            Err(BatchVariance::Packed { direction, port })
        } else {
            Ok(())
        }
    })
}

/// Runs every row alone, then in batches, and compares.
fn compare(model: &mut dyn Model, signature: &Signature, open: u64) -> Result<(), BatchVariance> {
    let rows = ProbeRows::new(signature, open, ROW_BYTES).ok_or(BatchVariance::LargeRows)?;
    let alone = (0..ROWS)
        .map(|row| run(model, signature, &rows, &[row]))
        .collect::<Result<Vec<_>, _>>()?;
    for size in BATCH_ROWS {
        // Two batches with other neighbours and positions. The strides have no divisor in common with ROWS, so
        // neighbours change and every row takes part.
        for (start, stride) in [(0, 1), (size, 5)] {
            let members: Vec<usize> = (0..size)
                .map(|position| (start + position * stride) % ROWS)
                .collect();
            let batched = run(model, signature, &rows, &members)?;
            for (position, member) in members.iter().enumerate() {
                compare_row(signature, &batched, &alone[*member], position, size)?;
            }
        }
    }
    Ok(())
}

/// Runs these rows as one batch; gives one buffer for each output.
fn run(
    model: &mut dyn Model,
    signature: &Signature,
    rows: &ProbeRows,
    members: &[usize],
) -> Result<Vec<Vec<u8>>, BatchVariance> {
    let count = members.len();
    let failed = |reason| BatchVariance::Run {
        rows: count,
        reason,
    };
    let inputs = rows.batch(members);
    let views = inputs
        .iter()
        .map(|input| TensorView::of_slice(input.dtype, input.shape, &input.data))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.into()))?;
    model.run(&views, &mut []).map_err(failed)?;
    let mut outputs = Vec::with_capacity(signature.outputs.len());
    for (number, port) in signature.outputs.iter().enumerate() {
        let view = model.output(number).map_err(failed)?;
        if view.shape().dims().first() != Some(&(count as u64)) {
            return Err(BatchVariance::Rows {
                output: port.name.clone(),
                shape: *view.shape(),
                rows: count,
            });
        }
        let mut data = Vec::new();
        view.copy_to(&mut data);
        outputs.push(data);
    }
    Ok(outputs)
}

/// Compares one row of a batch with the same row alone, in every output.
fn compare_row(
    signature: &Signature,
    batched: &[Vec<u8>],
    alone: &[Vec<u8>],
    position: usize,
    rows: usize,
) -> Result<(), BatchVariance> {
    for ((batched, alone), port) in batched.iter().zip(alone).zip(&signature.outputs) {
        let differs = |byte| BatchVariance::Bits {
            output: port.name.clone(),
            byte,
            position,
            rows,
        };
        if batched.len() != alone.len() * rows {
            return Err(differs(0));
        }
        let row = &batched[position * alone.len()..][..alone.len()];
        if let Some(byte) = row
            .iter()
            .zip(alone)
            .position(|(left, right)| left != right)
        {
            return Err(differs(byte));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::OutputLocation;
    use crate::sys::tensor::TensorViewMut;
    use crate::testing::{load, model_file};
    use shm_protocol::tensor::DType;
    use shm_protocol::tensor::Port;

    fn batching_of(file: &str) -> Batching {
        batching(load(&model_file(file)).model.as_mut(), true)
    }

    fn reason(file: &str) -> String {
        match batching_of(file) {
            Batching::Alone(reason) | Batching::Untried(reason) => reason,
            other => panic!("{file}: {other:?}"),
        }
    }

    #[test]
    fn models_with_independent_rows_are_batched() {
        for file in [
            "policy.onnx",
            "testdata/mlp.onnx",
            "testdata/two_inputs.onnx",
        ] {
            assert_eq!(batching_of(file), Batching::Joined, "{file}");
        }
    }

    #[test]
    fn a_model_that_mixes_rows_is_not_batched() {
        let reason = reason("testdata/cross_row.onnx");
        assert!(reason.contains("output `y` differs at byte"), "{reason}");
        assert!(reason.contains("of 2 instead of alone"), "{reason}");
    }

    #[test]
    fn a_scale_over_the_whole_batch_is_not_batched() {
        let reason = reason("testdata/dynamic_quantize.onnx");
        assert!(reason.contains("output `y` differs at byte"), "{reason}");
    }

    #[test]
    fn a_fixed_batch_size_is_not_batched() {
        let reason = reason("testdata/fixed_batch.onnx");
        assert!(
            reason.contains("input x f32[1,4] has no open first dimension"),
            "{reason}"
        );
    }

    #[test]
    fn an_output_without_rows_is_not_batched() {
        let reason = reason("testdata/dynamic_output.onnx");
        assert!(
            reason.contains("output y i64[1,?] has no open first dimension"),
            "{reason}"
        );
    }

    #[test]
    fn a_fleet_can_forbid_batches() {
        let found = batching(load(&model_file("policy.onnx")).model.as_mut(), false);
        assert_eq!(found, Batching::Unwanted);
    }

    /// Its output is its input, but for one bit of the last row of a batch of more than `limit` rows.
    struct VariantModel {
        signature: Signature,
        limit: u64,
        shape: Shape,
        data: Vec<u8>,
    }

    impl VariantModel {
        fn at(limit: u64) -> Self {
            let port = |name: &str| Port {
                name: name.to_owned(),
                dtype: DType::U8,
                dims: vec![None, Some(2)],
            };
            let signature = Signature {
                inputs: vec![port("x")],
                outputs: vec![port("y")],
            };
            let (shape, data) = (Shape::default(), Vec::new());
            VariantModel {
                signature,
                limit,
                shape,
                data,
            }
        }
    }

    impl Model for VariantModel {
        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn predict_shape(&self, _output: usize, inputs: &[Shape]) -> Option<Shape> {
            inputs.first().copied()
        }

        fn run(
            &mut self,
            inputs: &[TensorView<'_>],
            _places: &mut [Option<TensorViewMut<'_>>],
        ) -> Result<OutputLocation, ModelRunError> {
            self.shape = *inputs[0].shape();
            self.data.clear();
            inputs[0].copy_to(&mut self.data);
            if self.shape.dims()[0] > self.limit {
                *self.data.last_mut().expect("rows have bytes") ^= 1;
            }
            Ok(OutputLocation::Engine)
        }

        fn output(&self, _output: usize) -> Result<TensorView<'_>, ModelRunError> {
            Ok(TensorView::of_slice(DType::U8, self.shape, &self.data)?)
        }
    }

    #[test]
    fn a_kernel_that_changes_below_the_default_batch_is_found() {
        for (limit, rows) in [(64, 128), (127, 128), (128, 256), (255, 256)] {
            let Batching::Alone(reason) = batching(&mut VariantModel::at(limit), true) else {
                panic!("it changes above {limit} rows");
            };
            let expected = format!("position {} of {rows} instead of alone", rows - 1);
            assert!(reason.contains(&expected), "{reason}");
        }
        assert_eq!(
            batching(&mut VariantModel::at(256), true),
            Batching::Joined,
            "no larger batch is tried"
        );
    }

    #[test]
    fn a_single_bit_in_a_row_is_named() {
        let signature = Signature {
            inputs: Vec::new(),
            outputs: vec![Port {
                name: "y".to_owned(),
                dtype: DType::U8,
                dims: vec![None, Some(2)],
            }],
        };
        let alone = vec![vec![7, 8]];
        let batched = vec![vec![1, 2, 7, 8, 3, 4]];
        assert_eq!(compare_row(&signature, &batched, &alone, 1, 3), Ok(()));
        let flipped = vec![vec![1, 2, 7, 9, 3, 4]];
        let difference = BatchVariance::Bits {
            output: "y".to_owned(),
            byte: 1,
            position: 1,
            rows: 3,
        };
        assert_eq!(
            compare_row(&signature, &flipped, &alone, 1, 3),
            Err(difference)
        );
        let longer = vec![vec![0; 7]];
        assert!(compare_row(&signature, &longer, &alone, 1, 3).is_err());
    }
}
