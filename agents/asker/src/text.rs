//! Tensors in settings and topics.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_agent::{Dtype, Tensor};

/// Every element type and its name in the interface.
const NAMES: [(Dtype, &str); 23] = [
    (Dtype::Boolean, "boolean"),
    (Dtype::Uint8, "uint8"),
    (Dtype::Int8, "int8"),
    (Dtype::Uint16, "uint16"),
    (Dtype::Int16, "int16"),
    (Dtype::Uint32, "uint32"),
    (Dtype::Int32, "int32"),
    (Dtype::Uint64, "uint64"),
    (Dtype::Int64, "int64"),
    (Dtype::Float16, "float16"),
    (Dtype::Bfloat16, "bfloat16"),
    (Dtype::Float32, "float32"),
    (Dtype::Float64, "float64"),
    (Dtype::Float8e4m3fn, "float8e4m3fn"),
    (Dtype::Float8e4m3fnuz, "float8e4m3fnuz"),
    (Dtype::Float8e5m2, "float8e5m2"),
    (Dtype::Float8e5m2fnuz, "float8e5m2fnuz"),
    (Dtype::Uint4, "uint4"),
    (Dtype::Int4, "int4"),
    (Dtype::Float8e8m0, "float8e8m0"),
    (Dtype::Float4e2m1, "float4e2m1"),
    (Dtype::Uint2, "uint2"),
    (Dtype::Int2, "int2"),
];

/// A tensor in the format of settings.
pub(crate) fn tensor(text: &str) -> Result<Tensor, String> {
    let wrong = || "write it as `float32[2,1] BASE64`".to_string();
    let (kind, data) = text.split_once(' ').ok_or_else(wrong)?;
    let (name, dims) = kind
        .strip_suffix(']')
        .and_then(|kind| kind.split_once('['))
        .ok_or_else(wrong)?;
    let (dtype, _) = NAMES
        .into_iter()
        .find(|(_, known)| *known == name)
        .ok_or_else(|| format!("there is no element type `{name}`"))?;
    let shape = dims
        .split(',')
        .filter(|dim| !dim.is_empty())
        .map(|dim| dim.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    let data = STANDARD
        .decode(data)
        .map_err(|error| format!("the elements are not Base64: {error}"))?;
    Ok(Tensor { dtype, shape, data })
}

/// Element type and dimensions of a tensor, in the format of topics.
pub(crate) fn kind(tensor: &Tensor) -> String {
    let name = NAMES
        .into_iter()
        .find(|(dtype, _)| *dtype == tensor.dtype)
        .map_or("", |(_, name)| name);
    let dims: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    format!("{name}[{}]", dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_and_shown_again() {
        let two = tensor("float32[2,1] AACAPwAAAEA=").expect("well formed");
        assert_eq!(two.shape, [2, 1]);
        assert_eq!(two.data, [0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]);
        assert_eq!(kind(&two), "float32[2,1]");
        let scalar = tensor("int4[] Bw==").expect("well formed");
        assert_eq!(
            (scalar.shape.len(), kind(&scalar)),
            (0, "int4[]".to_string())
        );
        for wrong in [
            "float32",
            "float31[1] AA==",
            "float32[x] AA==",
            "uint8[1] ?",
        ] {
            tensor(wrong).expect_err(wrong);
        }
    }
}
