//! The elements of a tensor as text.

use shm_protocol::tensor::{DType, Tensor};
use std::fmt;

/// Maximum number of elements in text.
const MAX_ELEMENTS: usize = 16;

/// The elements of a tensor, the first few if there are many.
pub struct TensorText<'tensor>(pub &'tensor Tensor);

impl fmt::Display for TensorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.elements();
        for position in 0..count.min(MAX_ELEMENTS) {
            let space = if position == 0 { "" } else { " " };
            write!(f, "{space}{}", number(self.0, position))?;
        }
        if count > MAX_ELEMENTS {
            write!(f, " ... ({count} elements)")
        } else {
            Ok(())
        }
    }
}

impl TensorText<'_> {
    /// The number of elements, also of a tensor that holds fewer bytes than its shape says.
    pub(super) fn elements(&self) -> usize {
        let held = self.0.data.len() * 8 / self.0.dtype.bits();
        self.0.shape.elements().unwrap_or(held).min(held)
    }
}

/// The bytes of one element. A packed element is in the low bits of one byte.
pub(super) fn element(tensor: &Tensor, position: usize) -> Vec<u8> {
    let (bits, data) = (tensor.dtype.bits(), &tensor.data);
    if tensor.dtype.is_packed() {
        let per_byte = 8 / bits;
        let byte = data[position / per_byte] >> (position % per_byte * bits);
        vec![byte & ((1 << bits) - 1)]
    } else {
        data[position * bits / 8..][..bits / 8].to_vec()
    }
}

/// One element as a number.
pub(super) fn number(tensor: &Tensor, position: usize) -> String {
    let bytes = element(tensor, position);
    macro_rules! as_type {
        ($number:ty) => {
            <$number>::from_le_bytes(
                bytes
                    .as_slice()
                    .try_into()
                    .expect("an element is as long as its type"),
            )
        };
    }
    match tensor.dtype {
        DType::Bool => (bytes != [0]).to_string(),
        DType::U8 => as_type!(u8).to_string(),
        DType::I8 => as_type!(i8).to_string(),
        DType::U16 => as_type!(u16).to_string(),
        DType::I16 => as_type!(i16).to_string(),
        DType::U32 => as_type!(u32).to_string(),
        DType::I32 => as_type!(i32).to_string(),
        DType::U64 => as_type!(u64).to_string(),
        DType::I64 => as_type!(i64).to_string(),
        DType::F16 => half(as_type!(u16)).to_string(),
        DType::BF16 => f32::from_bits(u32::from(as_type!(u16)) << 16).to_string(),
        DType::F32 => as_type!(f32).to_string(),
        DType::F64 => as_type!(f64).to_string(),
        DType::F8E4M3FN => eighth(bytes[0], 3, 7, Special::LastIsNan).to_string(),
        DType::F8E4M3FNUZ => eighth(bytes[0], 3, 8, Special::NegativeZeroIsNan).to_string(),
        DType::F8E5M2 => eighth(bytes[0], 2, 15, Special::Ieee).to_string(),
        DType::F8E5M2FNUZ => eighth(bytes[0], 2, 16, Special::NegativeZeroIsNan).to_string(),
        DType::F8E8M0 if bytes[0] == u8::MAX => f32::NAN.to_string(),
        DType::F8E8M0 => 2f32.powi(i32::from(bytes[0]) - 127).to_string(),
        DType::F4E2M1 => quarter(bytes[0]).to_string(),
        DType::U4 | DType::U2 => bytes[0].to_string(),
        // The sign is the highest of the bits.
        DType::I4 => (i16::from(bytes[0]) - i16::from(bytes[0] >> 3) * 16).to_string(),
        DType::I2 => (i16::from(bytes[0]) - i16::from(bytes[0] >> 1) * 4).to_string(),
    }
}

/// A four-bit float of the Open Compute Project's formats (MX, version 1.0) as a number.
fn quarter(bits: u8) -> f32 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(bits & 0x07)];
    if bits & 0x08 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// The values of an eight-bit float that are not finite numbers.
#[derive(Clone, Copy)]
enum Special {
    /// Infinities and several NaNs at the highest exponent, as IEEE 754 has them.
    Ieee,
    /// No infinities; all bits but the sign are set in the two NaNs.
    LastIsNan,
    /// No infinities and one zero; what would be the negative zero is the one NaN.
    NegativeZeroIsNan,
}

/// An eight-bit float of the ONNX formats (arXiv:2209.05433 and arXiv:2206.02915) as a number.
fn eighth(bits: u8, fraction_bits: u32, bias: i32, special: Special) -> f32 {
    let fraction = f32::from(bits & ((1 << fraction_bits) - 1)) / f32::from(1_u8 << fraction_bits);
    let field = i32::from((bits & 0x7f) >> fraction_bits);
    let highest = (1 << (7 - fraction_bits)) - 1;
    let magnitude = match special {
        Special::LastIsNan if bits & 0x7f == 0x7f => f32::NAN,
        Special::NegativeZeroIsNan if bits == 0x80 => f32::NAN,
        Special::Ieee if field == highest && fraction > 0.0 => f32::NAN,
        Special::Ieee if field == highest => f32::INFINITY,
        _ if field == 0 => fraction * 2f32.powi(1 - bias),
        _ => (1.0 + fraction) * 2f32.powi(field - bias),
    };
    if bits & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// An IEEE 754 binary16 as a number.
fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    };
    if bits >> 15 == 1 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::Shape;

    #[test]
    fn halves_are_the_numbers_of_the_standard() {
        let known = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
        ];
        for (bits, value) in known {
            assert_eq!(half(bits).to_bits(), f32::to_bits(value));
        }
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
    }

    #[test]
    fn small_floats_are_the_numbers_of_their_formats() {
        let known = [
            (DType::F8E4M3FN, 0x7e, "448"),
            (DType::F8E4M3FN, 0x01, "0.001953125"),
            (DType::F8E4M3FN, 0xb8, "-1"),
            (DType::F8E4M3FN, 0x7f, "NaN"),
            (DType::F8E4M3FNUZ, 0x7f, "240"),
            (DType::F8E4M3FNUZ, 0x01, "0.0009765625"),
            (DType::F8E4M3FNUZ, 0x80, "NaN"),
            (DType::F8E5M2, 0x7b, "57344"),
            (DType::F8E5M2, 0xfc, "-inf"),
            (DType::F8E5M2, 0x7d, "NaN"),
            (DType::F8E5M2, 0x01, "0.000015258789"),
            (DType::F8E5M2FNUZ, 0x7f, "57344"),
            (DType::F8E5M2FNUZ, 0x80, "NaN"),
            (DType::F8E8M0, 0x80, "2"),
            (DType::F8E8M0, 0xff, "NaN"),
            (DType::F4E2M1, 0x0d, "-3"),
        ];
        for (dtype, byte, text) in known {
            let tensor = Tensor {
                dtype,
                shape: Shape::default(),
                data: vec![byte],
            };
            assert_eq!(number(&tensor, 0), text, "{dtype} {byte:#x}");
        }
    }

    #[test]
    fn packed_elements_are_unpacked() {
        let tensor = |dtype| Tensor {
            dtype,
            shape: Shape::new(&[3]).unwrap(),
            data: vec![0x8f, 0x07],
        };
        assert_eq!(TensorText(&tensor(DType::U4)).to_string(), "15 8 7");
        assert_eq!(TensorText(&tensor(DType::I4)).to_string(), "-1 -8 7");
        assert_eq!(TensorText(&tensor(DType::U2)).to_string(), "3 3 0");
        assert_eq!(TensorText(&tensor(DType::I2)).to_string(), "-1 -1 0");
    }

    #[test]
    fn many_elements_are_cut_and_counted() {
        let tensor = Tensor {
            dtype: DType::U8,
            shape: Shape::new(&[18]).unwrap(),
            data: (0..18).collect(),
        };
        assert_eq!(
            TensorText(&tensor).to_string(),
            "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 ... (18 elements)"
        );
    }
}
