//! Conversions between tensors and slices.

use crate::{Dtype, NamedTensor, Tensor};

/// A float32 tensor of this shape.
///
/// # Panics
///
/// If the shape does not have as many elements as there are values.
pub fn from_f32(shape: &[u64], values: &[f32]) -> Tensor {
    assert_eq!(
        shape.iter().product::<u64>(),
        values.len() as u64,
        "a tensor of shape {shape:?} needs another number of values"
    );
    Tensor {
        dtype: Dtype::Float32,
        shape: shape.to_vec(),
        data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

/// The elements of a float32 tensor in row-major order, or an error message.
pub fn to_f32(tensor: &Tensor) -> Result<Vec<f32>, String> {
    if tensor.dtype != Dtype::Float32 {
        return Err(format!("expected float32, got {:?}", tensor.dtype));
    }
    let elements = tensor.data.chunks_exact(4);
    if !elements.remainder().is_empty() {
        return Err(format!(
            "{} bytes are no whole number of float32 elements",
            tensor.data.len()
        ));
    }
    Ok(elements
        .map(|element| f32::from_le_bytes(element.try_into().expect("four bytes each")))
        .collect())
}

/// The tensor under the name that the model gives to an input.
pub fn named(name: &str, value: Tensor) -> NamedTensor {
    NamedTensor {
        name: name.to_string(),
        value,
    }
}

/// The tensor that a model returned under this name.
pub fn find<'a>(outputs: &'a [NamedTensor], name: &str) -> Result<&'a Tensor, String> {
    outputs
        .iter()
        .find(|output| output.name == name)
        .map(|output| &output.value)
        .ok_or_else(|| format!("the model has no output named \"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_survive_the_way_there_and_back() {
        let values = [0.0, -1.5, f32::MIN_POSITIVE, f32::INFINITY];
        let tensor = from_f32(&[2, 2], &values);
        assert_eq!(tensor.data[4..8], [0, 0, 0xc0, 0xbf]);
        assert_eq!(to_f32(&tensor).unwrap(), values);
    }

    #[test]
    fn a_tensor_of_another_kind_is_refused() {
        let mut tensor = from_f32(&[1], &[1.0]);
        tensor.data.pop();
        assert!(to_f32(&tensor).unwrap_err().contains("3 bytes"));
        tensor.dtype = Dtype::Int32;
        assert!(to_f32(&tensor).unwrap_err().contains("Int32"));
    }

    #[test]
    fn outputs_are_found_by_name() {
        let outputs = [named("action", from_f32(&[1], &[0.25]))];
        assert!(find(&outputs, "action").is_ok());
        assert!(find(&outputs, "value").is_err());
    }
}
