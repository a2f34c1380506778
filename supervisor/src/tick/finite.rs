//! The check that tensors hold only finite numbers, for models that reject others. The formats are those of the ONNX
//! specification.

use shm_protocol::supervisor_to_agent::RequestResult;
use shm_protocol::tensor::{DType, Port, Tensor};

/// Refuses tensors when one of them holds a number that is not finite.
///
/// # Errors
/// Names the tensor, the element and the key that lets it pass.
pub(super) fn check(what: &str, ports: &[Port], tensors: &[Tensor]) -> Result<(), String> {
    for (port, tensor) in ports.iter().zip(tensors) {
        if let Some(element) = first_nonfinite(tensor) {
            return Err(format!(
                "{what} `{}` holds a number that is not finite at element {element}, and the fleet says \
                 nonfinite = \"reject\"",
                port.name
            ));
        }
    }
    Ok(())
}

/// An answer, or an error when it holds a number that is not finite.
pub(super) fn check_answer(ports: &[Port], answer: RequestResult) -> RequestResult {
    let outputs = answer?;
    check("output", ports, &outputs)?;
    Ok(outputs)
}

/// The first element that is not finite.
fn first_nonfinite(tensor: &Tensor) -> Option<usize> {
    let data = &tensor.data;
    let bytes = |is_odd: fn(u8) -> bool| data.iter().position(|byte| is_odd(*byte));
    let words = |ones: u16| {
        let (words, _) = data.as_chunks::<2>();
        let is_odd = |word: &[u8; 2]| u16::from_le_bytes(*word) & ones == ones;
        words.iter().position(is_odd)
    };
    match tensor.dtype {
        DType::F64 => {
            let (words, _) = data.as_chunks::<8>();
            let odd = |word: &[u8; 8]| !f64::from_le_bytes(*word).is_finite();
            words.iter().position(odd)
        }
        DType::F32 => {
            let (words, _) = data.as_chunks::<4>();
            let odd = |word: &[u8; 4]| !f32::from_le_bytes(*word).is_finite();
            words.iter().position(odd)
        }
        DType::F16 => words(0x7c00),
        DType::BF16 => words(0x7f80),
        DType::F8E4M3FN => bytes(|byte| byte & 0x7f == 0x7f),
        DType::F8E5M2 => bytes(|byte| byte & 0x7c == 0x7c),
        DType::F8E4M3FNUZ | DType::F8E5M2FNUZ => bytes(|byte| byte == 0x80),
        DType::F8E8M0 => bytes(|byte| byte == 0xff),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::tensor::Shape;

    fn odd(dtype: DType, data: &[u8]) -> Option<usize> {
        let count = (data.len() * 8 / dtype.bits()) as u64;
        first_nonfinite(&Tensor {
            dtype,
            shape: Shape::new(&[count]).expect("one dimension"),
            data: data.to_vec(),
        })
    }

    #[test]
    fn nan_and_infinity_are_found_in_every_format() {
        let f32s = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        assert_eq!(odd(DType::F32, &f32s(&[1.0, f32::MAX, -0.0])), None);
        assert_eq!(odd(DType::F32, &f32s(&[1.0, f32::NEG_INFINITY])), Some(1));
        assert_eq!(odd(DType::F32, &f32s(&[f32::NAN])), Some(0));
        assert_eq!(odd(DType::F64, &f64::NAN.to_le_bytes()), Some(0));
        assert_eq!(odd(DType::F64, &f64::MAX.to_le_bytes()), None);
        assert_eq!(odd(DType::F16, &[0xff, 0x7b, 0x00, 0xfc]), Some(1));
        assert_eq!(odd(DType::BF16, &[0x7f, 0x7f, 0xc0, 0x7f]), Some(1));
        assert_eq!(odd(DType::F8E4M3FN, &[0x7e, 0xff]), Some(1));
        assert_eq!(odd(DType::F8E5M2, &[0x7b, 0x7c]), Some(1));
        assert_eq!(odd(DType::F8E4M3FNUZ, &[0x7f, 0x80]), Some(1));
        assert_eq!(odd(DType::F8E5M2FNUZ, &[0xff, 0x80]), Some(1));
        assert_eq!(odd(DType::F8E8M0, &[0xfe, 0xff]), Some(1));
        assert_eq!(odd(DType::F4E2M1, &[0xff]), None);
        assert_eq!(odd(DType::I32, &[0xff; 4]), None);
    }
}
