//! Between arrays of files and tensors of models.
//!
//! `NumPy` has no words for some element types of ONNX. A file may hold their
//! bytes as `V2` or `u2` (bf16) and as `V1`, `f1` or `u1` (eight-bit floats);
//! those that share a byte have one each in a file. They are written as `V2`,
//! `V1`, `i1` and `u1`.

use shm_protocol::tensor::{DType, Port, Shape, Tensor};
use supervisor::models::npy::Array;

/// An array as the tensor that an input takes.
///
/// # Errors
/// Names what the input takes and what the array has.
pub(super) fn to_tensor(array: Array, port: &Port) -> Result<Tensor, String> {
    let misfit = |has: &str| {
        format!(
            "input {port} cannot be {has}{:?}; shape and type must be those of the model",
            array.shape
        )
    };
    let spelled = format!("{}{}", array.kind, array.size);
    let shape = Shape::new(&array.shape).map_err(|error| error.to_string())?;
    if !is_spelled(port.dtype, array.kind, array.size) {
        let has = plain(array.kind, array.size).map_or(spelled, |dtype| dtype.name().to_owned());
        return Err(misfit(&has));
    }
    if !port.admits(port.dtype, &shape) {
        return Err(misfit(port.dtype.name()));
    }
    let data = if port.dtype.is_packed() {
        packed(&array, port.dtype).ok_or_else(|| {
            format!(
                "an element of input {port} is out of the range of {}",
                port.dtype
            )
        })?
    } else {
        array.data
    };
    let tensor = Tensor {
        dtype: port.dtype,
        shape,
        data,
    };
    tensor.check().map_err(|error| error.to_string())?;
    Ok(tensor)
}

/// A tensor as an array for a file.
pub(super) fn to_array(tensor: &Tensor) -> Array {
    let (kind, size) = match tensor.dtype {
        DType::U4 | DType::U2 => ('u', 1),
        DType::I4 | DType::I2 => ('i', 1),
        dtype => PLAIN
            .iter()
            .find(|(_, _, plain)| *plain == dtype)
            .map_or(('V', dtype.bits().div_ceil(8)), |(kind, size, _)| {
                (*kind, *size)
            }),
    };
    Array {
        kind,
        size,
        shape: tensor.shape.dims().to_vec(),
        data: if tensor.dtype.is_packed() {
            unpacked(tensor)
        } else {
            tensor.data.clone()
        },
    }
}

/// The element types that have a word in both vocabularies.
const PLAIN: [(char, usize, DType); 12] = [
    ('b', 1, DType::Bool),
    ('u', 1, DType::U8),
    ('i', 1, DType::I8),
    ('u', 2, DType::U16),
    ('i', 2, DType::I16),
    ('u', 4, DType::U32),
    ('i', 4, DType::I32),
    ('u', 8, DType::U64),
    ('i', 8, DType::I64),
    ('f', 2, DType::F16),
    ('f', 4, DType::F32),
    ('f', 8, DType::F64),
];

fn plain(kind: char, size: usize) -> Option<DType> {
    PLAIN
        .iter()
        .find(|(of_kind, of_size, _)| (*of_kind, *of_size) == (kind, size))
        .map(|(.., dtype)| *dtype)
}

/// True if elements of this type may be written so.
fn is_spelled(dtype: DType, kind: char, size: usize) -> bool {
    match dtype {
        DType::BF16 => matches!((kind, size), ('V' | 'u', 2)),
        DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0
        | DType::F4E2M1 => matches!((kind, size), ('V' | 'f' | 'u', 1)),
        DType::U4 | DType::U2 => matches!((kind, size), ('V' | 'u', 1)),
        DType::I4 | DType::I2 => matches!((kind, size), ('V' | 'i', 1)),
        dtype => plain(kind, size) == Some(dtype),
    }
}

/// Several elements in a byte; `None` if one is out of range.
fn packed(array: &Array, dtype: DType) -> Option<Vec<u8>> {
    let bits = dtype.bits();
    let (values, half) = (1_u8 << bits, 1_i8 << (bits - 1));
    let is_signed = matches!(dtype, DType::I4 | DType::I2);
    let of = |element: u8| {
        let is_number = is_signed && (-half..half).contains(&element.cast_signed());
        // As bare bits it may be written without its sign.
        let is_bits = (!is_signed || array.kind == 'V') && element < values;
        (is_number || is_bits).then_some(element & (values - 1))
    };
    let byte = |elements: &[u8]| {
        elements
            .iter()
            .rev()
            .try_fold(0, |byte, element| Some(byte << bits | of(*element)?))
    };
    array.data.chunks(8 / bits).map(byte).collect()
}

/// One element in a byte.
fn unpacked(tensor: &Tensor) -> Vec<u8> {
    let bits = tensor.dtype.bits();
    let mask = (1_u8 << bits) - 1;
    let sign = match tensor.dtype {
        DType::I4 | DType::I2 => 1 << (bits - 1),
        _ => 0,
    };
    let elements = tensor
        .data
        .iter()
        .flat_map(|byte| (0..8 / bits).map(move |position| byte >> (position * bits) & mask));
    elements
        .take(tensor.shape.elements().unwrap_or(0))
        .map(|element| {
            if element & sign == 0 {
                element
            } else {
                element | !mask
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(dtype: DType, dims: &[Option<u64>]) -> Port {
        Port {
            name: "x".to_owned(),
            dtype,
            dims: dims.to_vec(),
        }
    }

    #[test]
    fn every_element_type_goes_there_and_back() {
        for dtype in DType::ALL {
            let shape = Shape::new(&[3]).expect("one dimension");
            let bytes = shape.bytes(dtype).expect("few");
            // The unused part of the last byte of packed elements is zero.
            let data = (1..=bytes).map(|byte| u8::try_from(byte).expect("few") & 0x05);
            let tensor = Tensor {
                dtype,
                shape,
                data: data.collect(),
            };
            let array = to_array(&tensor);
            assert_eq!(array.shape, [3]);
            assert_eq!(array.data.len(), 3 * array.size);
            assert_eq!(to_tensor(array, &port(dtype, &[None])), Ok(tensor));
        }
    }

    #[test]
    fn packed_elements_keep_their_sign_and_range() {
        let array = |elements: &[i8]| Array {
            kind: 'i',
            size: 1,
            shape: vec![elements.len() as u64],
            data: elements
                .iter()
                .map(|element| element.cast_unsigned())
                .collect(),
        };
        let port = port(DType::I4, &[None]);
        let tensor = to_tensor(array(&[-8, 7, -1]), &port).expect("in range");
        assert_eq!(tensor.data, [0x78, 0x0f]);
        assert_eq!(to_array(&tensor), array(&[-8, 7, -1]));
        assert!(
            to_tensor(array(&[8]), &port)
                .expect_err("out of range")
                .contains("range of i4")
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_both_sides() {
        let array = Array {
            kind: 'f',
            size: 8,
            shape: vec![2, 3],
            data: vec![0; 48],
        };
        let said = to_tensor(array.clone(), &port(DType::F32, &[None, Some(3)]));
        let said = said.expect_err("another type");
        assert!(
            said.contains("x f32[?,3]") && said.contains("f64[2, 3]"),
            "{said}"
        );
        let said = to_tensor(array, &port(DType::F64, &[None, Some(4)]));
        let said = said.expect_err("another shape");
        assert!(
            said.contains("x f64[?,4]") && said.contains("f64[2, 3]"),
            "{said}"
        );
    }
}
