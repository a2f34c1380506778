//! Tensors in the memory of an agent, not copied.

use super::input_match::InputView;
use crate::bindings::lockstep::agent::types::Dtype;
use crate::store_data::StoreData;
use shm_protocol::tensor::DType;
use std::borrow::Cow;
use wasmtime::component::{ComponentType, Lift, WasmList, WasmStr};
use wasmtime::{AsContext, AsContextMut, StoreContextMut};

/// A `named-tensor` in the memory of an agent.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawNamedTensor {
    name: WasmStr,
    value: RawTensor,
}

/// A `tensor` in the memory of an agent.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RawTensor {
    dtype: Dtype,
    shape: WasmList<u64>,
    data: WasmList<u8>,
}

/// The inputs of a request, as ranges of the agent's memory.
pub(super) struct LiftedInputs(Vec<RawNamedTensor>);

/// Reads the ranges of a request's inputs.
///
/// # Errors
/// When the agent's memory does not hold what its call says. The step ends with that.
pub(super) fn lift(
    store: &mut StoreContextMut<'_, StoreData>,
    inputs: &WasmList<RawNamedTensor>,
) -> wasmtime::Result<LiftedInputs> {
    let inputs = inputs.iter(store.as_context_mut())?;
    Ok(LiftedInputs(inputs.collect::<wasmtime::Result<_>>()?))
}

impl LiftedInputs {
    /// Views of the inputs in the agent's memory.
    ///
    /// # Errors
    /// When a name is not UTF-8. The step ends with that.
    pub(super) fn view<'a>(
        &self,
        store: &'a StoreContextMut<'_, StoreData>,
    ) -> wasmtime::Result<Vec<InputView<'a>>> {
        let view = |input: &RawNamedTensor| {
            let name: Cow<'a, str> = input.name.to_str(store.as_context())?;
            Ok(InputView {
                name,
                dtype: input.value.dtype.into(),
                dims: input.value.shape.as_le_slice(store.as_context()),
                data: input.value.data.as_le_slice(store.as_context()),
            })
        };
        self.0.iter().map(view).collect()
    }
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> DType {
        match dtype {
            Dtype::Boolean => DType::Bool,
            Dtype::Uint8 => DType::U8,
            Dtype::Int8 => DType::I8,
            Dtype::Uint16 => DType::U16,
            Dtype::Int16 => DType::I16,
            Dtype::Uint32 => DType::U32,
            Dtype::Int32 => DType::I32,
            Dtype::Uint64 => DType::U64,
            Dtype::Int64 => DType::I64,
            Dtype::Float16 => DType::F16,
            Dtype::Bfloat16 => DType::BF16,
            Dtype::Float32 => DType::F32,
            Dtype::Float64 => DType::F64,
            Dtype::Float8e4m3fn => DType::F8E4M3FN,
            Dtype::Float8e4m3fnuz => DType::F8E4M3FNUZ,
            Dtype::Float8e5m2 => DType::F8E5M2,
            Dtype::Float8e5m2fnuz => DType::F8E5M2FNUZ,
            Dtype::Uint4 => DType::U4,
            Dtype::Int4 => DType::I4,
            Dtype::Float8e8m0 => DType::F8E8M0,
            Dtype::Float4e2m1 => DType::F4E2M1,
            Dtype::Uint2 => DType::U2,
            Dtype::Int2 => DType::I2,
        }
    }
}

impl From<DType> for Dtype {
    fn from(dtype: DType) -> Dtype {
        match dtype {
            DType::Bool => Dtype::Boolean,
            DType::U8 => Dtype::Uint8,
            DType::I8 => Dtype::Int8,
            DType::U16 => Dtype::Uint16,
            DType::I16 => Dtype::Int16,
            DType::U32 => Dtype::Uint32,
            DType::I32 => Dtype::Int32,
            DType::U64 => Dtype::Uint64,
            DType::I64 => Dtype::Int64,
            DType::F16 => Dtype::Float16,
            DType::BF16 => Dtype::Bfloat16,
            DType::F32 => Dtype::Float32,
            DType::F64 => Dtype::Float64,
            DType::F8E4M3FN => Dtype::Float8e4m3fn,
            DType::F8E4M3FNUZ => Dtype::Float8e4m3fnuz,
            DType::F8E5M2 => Dtype::Float8e5m2,
            DType::F8E5M2FNUZ => Dtype::Float8e5m2fnuz,
            DType::U4 => Dtype::Uint4,
            DType::I4 => Dtype::Int4,
            DType::F8E8M0 => Dtype::Float8e8m0,
            DType::F4E2M1 => Dtype::Float4e2m1,
            DType::U2 => Dtype::Uint2,
            DType::I2 => Dtype::Int2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_survive_the_way_there_and_back() {
        for dtype in DType::ALL {
            assert_eq!(DType::from(Dtype::from(dtype)), dtype);
        }
    }
}
