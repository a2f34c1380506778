//! Runs of a session through the engine's C interface.
//!
//! `ort`'s own calls either copy, or clone the borrowed tensors and wait for themselves (`IoBinding::bind_input` in
//! this release). The calls here are those that `ort` makes itself, with its own pointers.

use super::tensor::{TensorView, TensorViewMut};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType as Element, OrtValue};
use ort::{AsPointer, Error};
use shm_protocol::limit;
use shm_protocol::tensor::{DType, Shape};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{NonNull, null, null_mut};

/// A session with everything that a run needs. Not `Send`: the engine's runs belong to one thread.
#[derive(Debug)]
pub(crate) struct RawSession {
    session: Session,
    memory: MemoryInfo<'static>,
    input_names: CStringArray,
    output_names: CStringArray,
    /// Outputs of the last run in the engine's memory.
    outputs: Vec<Option<EngineValue>>,
}

impl RawSession {
    /// Prepares runs of `session`.
    pub(crate) fn new(session: Session) -> Result<RawSession, Error> {
        let memory = MemoryInfo::new(
            AllocationDevice::CPU,
            0,
            AllocatorType::Device,
            MemoryType::Default,
        )?;
        let input_names = CStringArray::new(session.inputs().iter().map(|port| port.name()))?;
        let output_names = CStringArray::new(session.outputs().iter().map(|port| port.name()))?;
        Ok(RawSession {
            session,
            memory,
            input_names,
            output_names,
            outputs: Vec::new(),
        })
    }

    /// Runs once. Outputs with memory in `views` are written there; the others can be read with [`RawSession::output`]
    /// until the next run. An output beyond the end of `views` has no memory.
    pub(crate) fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        views: &mut [Option<TensorViewMut<'_>>],
    ) -> Result<(), Error> {
        self.outputs.clear();
        if inputs.len() != self.input_names.count() {
            let message = format!(
                "{} inputs for a model with {}",
                inputs.len(),
                self.input_names.count()
            );
            return Err(Error::new(message));
        }
        let inputs = inputs
            .iter()
            .map(|view| self.borrow_view(view))
            .collect::<Result<Vec<EngineValue>, Error>>()?;
        let mut outputs: Vec<Option<EngineValue>> = Vec::with_capacity(self.output_names.count());
        for output in 0..self.output_names.count() {
            let view = views.get_mut(output).and_then(Option::as_mut);
            outputs.push(view.map(|view| self.borrow_view_mut(view)).transpose()?);
        }
        let input_values: Vec<*const OrtValue> = inputs
            .iter()
            .map(|value| value.0.as_ptr().cast_const())
            .collect();
        let mut output_values: Vec<*mut OrtValue> = outputs
            .iter()
            .map(|value| value.as_ref().map_or(null_mut(), |value| value.0.as_ptr()))
            .collect();
        // SAFETY: session, names and values are live for the call, and each array is as long as the count beside
        // it. The engine reads inputs and writes outputs only within the bytes that the values were made for. `&mut
        // self` keeps a second run of this session away.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                null(),
                self.input_names.pointers(),
                input_values.as_ptr(),
                input_values.len(),
                self.output_names.pointers(),
                output_values.len(),
                output_values.as_mut_ptr(),
            )
        };
        // Values that the engine has made are owned from here on, even if the run failed half way.
        for (output, value) in output_values.into_iter().enumerate() {
            if outputs[output].is_none() {
                self.outputs.resize_with(output, || None);
                self.outputs.push(NonNull::new(value).map(EngineValue));
            }
        }
        // SAFETY: the status comes from the engine and is used once.
        unsafe { Error::result_from_status(status) }
    }

    /// An output of the last run in the engine's memory.
    pub(crate) fn output(&self, output: usize) -> Result<TensorView<'_>, Error> {
        let value = self.outputs.get(output).and_then(Option::as_ref);
        let value = value.ok_or_else(|| Error::new(format!("the run has no output {output}")))?;
        value.view()
    }

    /// The number of nodes of the graph that each provider runs, by the engine's names of providers.
    pub(crate) fn placement(&self) -> Result<BTreeMap<String, usize>, Error> {
        let mut subgraphs = null();
        let mut count = 0;
        // SAFETY: the session is live; both results are written before the status says so.
        let status = unsafe {
            (ort::api().Session_GetEpGraphAssignmentInfo)(
                self.session.ptr(),
                &raw mut subgraphs,
                &raw mut count,
            )
        };
        // SAFETY: the status comes from the engine and is used once.
        unsafe { Error::result_from_status(status)? };
        let mut placement = BTreeMap::new();
        for number in 0..count {
            // SAFETY: the engine returned an array of `count` pointers that the live session owns.
            let subgraph = unsafe { *subgraphs.add(number) };
            let (mut name, mut nodes, mut node_count) = (null(), null(), 0);
            // SAFETY: as above; the name is a string that the session owns.
            let name = unsafe {
                Error::result_from_status((ort::api().EpAssignedSubgraph_GetEpName)(
                    subgraph,
                    &raw mut name,
                ))?;
                let got = (ort::api().EpAssignedSubgraph_GetNodes)(
                    subgraph,
                    &raw mut nodes,
                    &raw mut node_count,
                );
                Error::result_from_status(got)?;
                CStr::from_ptr(name).to_string_lossy().into_owned()
            };
            *placement.entry(name).or_default() += node_count;
        }
        Ok(placement)
    }

    /// The session itself.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    fn borrow_view(&self, view: &TensorView<'_>) -> Result<EngineValue, Error> {
        self.borrow(
            view.dtype(),
            view.shape(),
            view.as_ptr().cast_mut(),
            view.bytes(),
        )
    }

    fn borrow_view_mut(&self, view: &mut TensorViewMut<'_>) -> Result<EngineValue, Error> {
        let (dtype, shape) = (view.dtype(), *view.shape());
        self.borrow(dtype, &shape, view.as_mut_ptr(), view.bytes())
    }

    /// A tensor of the engine over borrowed memory. It must not outlive the run it is made for.
    fn borrow(
        &self,
        dtype: DType,
        shape: &Shape,
        data: *mut u8,
        bytes: usize,
    ) -> Result<EngineValue, Error> {
        let mut dims = [0_i64; limit::RANK];
        for (kept, dim) in dims.iter_mut().zip(shape.dims()) {
            *kept = i64::try_from(*dim)
                .map_err(|_| Error::new(format!("dimension {dim} is out of range")))?;
        }
        let mut value = null_mut();
        // SAFETY: `dims` holds as many dimensions as are named, `memory` is live, and the engine only remembers the
        // pointer. The view guarantees `bytes` bytes behind it during the run.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.ptr(),
                data.cast(),
                bytes,
                dims.as_ptr(),
                shape.dims().len(),
                element_of(dtype),
                &raw mut value,
            )
        };
        // SAFETY: the status comes from the engine and is used once.
        unsafe { Error::result_from_status(status)? };
        NonNull::new(value)
            .map(EngineValue)
            .ok_or_else(|| Error::new("the engine returned no tensor"))
    }
}

/// An array of C strings: pointers with the strings that they point to.
#[derive(Debug)]
struct CStringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CStringArray {
    fn new<'n>(names: impl Iterator<Item = &'n str>) -> Result<CStringArray, Error> {
        let strings = names
            .map(|name| Ok(CString::new(name)?))
            .collect::<Result<Vec<CString>, Error>>()?;
        // The pointers stay good while the strings move: they point to the strings' own allocations.
        let pointers = strings.iter().map(|name| name.as_ptr()).collect();
        Ok(CStringArray {
            _strings: strings,
            pointers,
        })
    }

    fn count(&self) -> usize {
        self.pointers.len()
    }

    fn pointers(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// A value of the engine that this process owns.
#[derive(Debug)]
struct EngineValue(NonNull<OrtValue>);

impl EngineValue {
    /// The value as a tensor in the engine's own memory.
    fn view(&self) -> Result<TensorView<'_>, Error> {
        let value = self.0.as_ptr().cast_const();
        let mut is_tensor = 0;
        // SAFETY: the value is live; the result is written before the status says so. Each status is used once.
        unsafe { Error::result_from_status((ort::api().IsTensor)(value, &raw mut is_tensor))? };
        if is_tensor == 0 {
            return Err(Error::new("an output is not a tensor"));
        }
        let (mut element, mut dims, mut rank, mut data) = (
            Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED,
            null(),
            0,
            null(),
        );
        // SAFETY: the value is a live tensor; type, dimensions and data belong to it and live as long as it does.
        unsafe {
            let got = (ort::api().GetTensorElementTypeAndShapeDataReference)(
                value,
                &raw mut element,
                &raw mut dims,
                &raw mut rank,
            );
            Error::result_from_status(got)?;
            Error::result_from_status((ort::api().GetTensorData)(value, &raw mut data))?;
        }
        let dtype = dtype_of(element)
            .ok_or_else(|| Error::new(format!("an output has elements of {element:?}")))?;
        let mut kept = Vec::with_capacity(rank);
        for position in 0..rank {
            // SAFETY: the engine returned an array of `rank` dimensions.
            let dim = unsafe { *dims.add(position) };
            kept.push(
                u64::try_from(dim).map_err(|_| Error::new("an output has a negative dimension"))?,
            );
        }
        let refused = |error: shm_protocol::tensor::TensorError| Error::new(error.to_string());
        let shape = Shape::new(&kept).map_err(refused)?;
        let bytes = shape.bytes(dtype).map_err(refused)?;
        // SAFETY: a tensor of the engine holds as many bytes as its element type and dimensions say, in one piece,
        // and lives as long as the value that the view borrows.
        unsafe { TensorView::of_shared(dtype, shape, data.cast(), bytes) }.map_err(refused)
    }
}

impl Drop for EngineValue {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and the value is released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// The element types and those of the engine.
const ELEMENTS: [(DType, Element); 23] = [
    (DType::Bool, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL),
    (DType::U8, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8),
    (DType::I8, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8),
    (DType::U16, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16),
    (DType::I16, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16),
    (DType::U32, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32),
    (DType::I32, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32),
    (DType::U64, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64),
    (DType::I64, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
    (DType::F16, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
    (DType::BF16, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16),
    (DType::F32, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
    (DType::F64, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE),
    (
        DType::F8E4M3FN,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN,
    ),
    (
        DType::F8E4M3FNUZ,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
    ),
    (
        DType::F8E5M2,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,
    ),
    (
        DType::F8E5M2FNUZ,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
    ),
    (DType::U4, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4),
    (DType::I4, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4),
    (
        DType::F8E8M0,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0,
    ),
    (
        DType::F4E2M1,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1,
    ),
    (DType::U2, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2),
    (DType::I2, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2),
];

/// The engine's element type.
fn element_of(dtype: DType) -> Element {
    ELEMENTS[dtype as usize - 1].1
}

/// The element type for one of the engine, if it is supported.
pub(crate) fn dtype_of(element: Element) -> Option<DType> {
    ELEMENTS
        .iter()
        .find(|(_, kept)| *kept == element)
        .map(|(dtype, _)| *dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_maps_to_one_of_the_engine() {
        for dtype in DType::ALL {
            assert_eq!(ELEMENTS[dtype as usize - 1].0, dtype);
            assert_eq!(dtype_of(element_of(dtype)), Some(dtype));
        }
        assert_eq!(
            dtype_of(Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING),
            None
        );
    }
}
