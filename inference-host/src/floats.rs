//! Floats of tensors as `f32`.

use half::{bf16, f16};
use shm_protocol::tensor::DType;

/// The little-endian elements of a tensor of `f16`, `bf16` or `f32`.
pub(crate) fn floats(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let halves = bytes.as_chunks().0.iter().copied();
    match dtype {
        DType::F16 => halves.map(|two| f16::from_le_bytes(two).to_f32()).collect(),
        DType::BF16 => halves
            .map(|two| bf16::from_le_bytes(two).to_f32())
            .collect(),
        _ => {
            let singles = bytes.as_chunks().0.iter();
            singles.map(|four| f32::from_le_bytes(*four)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_converted_exactly() {
        for (bits, number) in [
            (0x0000_u16, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            let converted = floats(DType::F16, &bits.to_le_bytes());
            assert_eq!(converted[0].to_bits(), f32::to_bits(number), "{bits:#06x}");
        }
        assert!(floats(DType::F16, &0x7e00_u16.to_le_bytes())[0].is_nan());
        assert_eq!(floats(DType::BF16, &[0x80, 0x3f, 0, 0xc0]), [1.0, -2.0]);
    }
}
