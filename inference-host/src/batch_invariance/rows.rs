//! The rows of a probe. Element `n` of row `r` of input `i` is a function of these three numbers alone, so that every
//! launch on every machine measures the same.

use shm_protocol::random::SplitMix64;
use shm_protocol::tensor::{DType, Shape, Signature, Tensor};

/// The rows of one probe.
pub(super) struct ProbeRows {
    inputs: Vec<InputRow>,
}

/// The type and size of a row of one input.
struct InputRow {
    dtype: DType,
    /// Dimensions after the first.
    dims: Vec<u64>,
    elements: u64,
}

impl ProbeRows {
    /// Rows for the inputs of `signature`, open dimensions but the first set to `open`. `None` if a row of an input
    /// has more than `most_bytes`.
    pub(super) fn new(signature: &Signature, open: u64, most_bytes: usize) -> Option<ProbeRows> {
        let inputs = signature.inputs.iter().map(|port| {
            let dims: Vec<u64> = port
                .dims
                .iter()
                .skip(1)
                .map(|dim| dim.unwrap_or(open))
                .collect();
            let bytes = Shape::new(&dims)
                .ok()?
                .bytes(port.dtype)
                .ok()
                .filter(|bytes| *bytes <= most_bytes)?;
            Some(InputRow {
                dtype: port.dtype,
                dims,
                elements: (bytes * 8 / port.dtype.bits()) as u64,
            })
        });
        Some(ProbeRows {
            inputs: inputs.collect::<Option<_>>()?,
        })
    }

    /// The inputs of a batch of these rows, in this order.
    pub(super) fn batch(&self, members: &[usize]) -> Vec<Tensor> {
        self.inputs
            .iter()
            .enumerate()
            .map(|(input, row_of)| row_of.batch(input, members))
            .collect()
    }
}

impl InputRow {
    fn batch(&self, input: usize, members: &[usize]) -> Tensor {
        let mut data = Vec::new();
        for member in members {
            for element in 0..self.elements {
                push(
                    &mut data,
                    self.dtype,
                    mix(input as u64, *member as u64, element),
                );
            }
        }
        let mut dims = vec![members.len() as u64];
        dims.extend(&self.dims);
        Tensor {
            dtype: self.dtype,
            shape: Shape::new(&dims).unwrap_or_default(),
            data,
        }
    }
}

/// Appends one element made from `bits`. Integers are 0 or 1, because they may be indices.
fn push(data: &mut Vec<u8>, dtype: DType, bits: u64) {
    // 24 bits make a float exactly; the range is -2 to 2, where most activations bend.
    #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
    let unit = (bits >> 40) as f64 / f64::from(1 << 22) - 2.0;
    #[allow(clippy::cast_possible_truncation, reason = "24 bits fit an f32")]
    let single = unit as f32;
    let bit = u8::from(bits >> 63 == 1);
    match dtype {
        DType::F64 => data.extend(unit.to_le_bytes()),
        DType::F32 => data.extend(single.to_le_bytes()),
        // The upper half of an f32 is a bfloat16.
        DType::BF16 => data.extend(&single.to_le_bytes()[2..]),
        DType::F16 => data.extend(f16_bits(bits).to_le_bytes()),
        DType::F8E4M3FN => data.push(f8_bits(bits, 7, 3)),
        DType::F8E4M3FNUZ => data.push(f8_bits(bits, 8, 3)),
        DType::F8E5M2 => data.push(f8_bits(bits, 15, 2)),
        DType::F8E5M2FNUZ => data.push(f8_bits(bits, 16, 2)),
        // One or two: it has no sign and no fraction.
        DType::F8E8M0 => data.push(127 + bit),
        DType::U4 | DType::I4 | DType::F4E2M1 | DType::U2 | DType::I2 => {
            unreachable!("models with packed elements are not probed")
        }
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::U16
        | DType::I16
        | DType::U32
        | DType::I32
        | DType::U64
        | DType::I64 => {
            data.push(bit);
            data.resize(data.len() + dtype.bits() / 8 - 1, 0);
        }
    }
}

/// A half-precision float between 0.5 and 2 of either sign: its exponent is 14 or 15.
fn f16_bits(bits: u64) -> u16 {
    let sign_and_fraction = (bits >> 48) & 0x83ff;
    let exponent = 14 + ((bits >> 20) & 1);
    u16::try_from(sign_and_fraction | (exponent << 10)).unwrap_or_default()
}

/// An eight-bit float between 0.5 and 2 of either sign, of a format with this bias and this number of fraction bits.
fn f8_bits(bits: u64, bias: u8, fraction: u32) -> u8 {
    let [.., low, high] = bits.to_le_bytes();
    let sign_and_fraction = high & (0x80 | ((1 << fraction) - 1));
    sign_and_fraction | ((bias - (low & 1)) << fraction)
}

/// Mixes three numbers into 64 evenly spread bits.
fn mix(input: u64, row: u64, element: u64) -> u64 {
    SplitMix64::new((input << 56) ^ (row << 40) ^ element).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::Port;

    fn rows(dtype: DType) -> ProbeRows {
        let port = Port {
            name: "x".to_owned(),
            dtype,
            dims: vec![None, Some(3), None],
        };
        ProbeRows::new(
            &Signature {
                inputs: vec![port],
                outputs: Vec::new(),
            },
            4,
            96,
        )
        .expect("at most 96 bytes")
    }

    #[test]
    fn a_row_over_the_limit_is_refused() {
        for dims in [
            vec![None, Some(97)],
            vec![None, Some(1 << 40), Some(1 << 40)],
        ] {
            let port = Port {
                name: "x".to_owned(),
                dtype: DType::U8,
                dims,
            };
            assert!(
                ProbeRows::new(
                    &Signature {
                        inputs: vec![port],
                        outputs: Vec::new()
                    },
                    4,
                    96
                )
                .is_none()
            );
        }
    }

    #[test]
    fn every_element_type_makes_a_whole_tensor() {
        for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_packed()) {
            let batch = rows(dtype).batch(&[0, 1, 2]);
            assert_eq!(batch[0].shape.dims(), [3, 3, 4]);
            batch[0]
                .check()
                .expect("as many bytes as type and shape say");
        }
    }

    #[test]
    fn a_row_is_the_same_at_every_position() {
        let rows = rows(DType::F32);
        let alone = &rows.batch(&[5])[0].data;
        let together = &rows.batch(&[1, 5, 2])[0].data;
        assert_eq!(&together[alone.len()..2 * alone.len()], alone);
        assert_ne!(&together[..alone.len()], alone);
    }

    #[test]
    fn floats_are_small_and_of_both_signs() {
        let data = &rows(DType::F32).batch(&[0, 1])[0].data;
        let values: Vec<f32> = data
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        assert!(values.iter().all(|value| value.abs() <= 2.0));
        assert!(values.iter().any(|value| *value < 0.0) && values.iter().any(|value| *value > 0.0));
    }
}
