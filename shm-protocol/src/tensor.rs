//! Tensor descriptors: element type, shape and bytes, checked against each other.

use crate::limit;
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Element type of a tensor. The numbers are part of the ring's and the journal's format.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize,
)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the names are those of ONNX and say all there is to say"
)]
pub enum DType {
    Bool = 1,
    U8 = 2,
    I8 = 3,
    U16 = 4,
    I16 = 5,
    U32 = 6,
    I32 = 7,
    U64 = 8,
    I64 = 9,
    F16 = 10,
    BF16 = 11,
    F32 = 12,
    F64 = 13,
    F8E4M3FN = 14,
    F8E4M3FNUZ = 15,
    F8E5M2 = 16,
    F8E5M2FNUZ = 17,
    U4 = 18,
    I4 = 19,
    F8E8M0 = 20,
    F4E2M1 = 21,
    U2 = 22,
    I2 = 23,
}

impl DType {
    /// Every element type, in the order of its number.
    pub const ALL: [DType; 23] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
        DType::U4,
        DType::I4,
        DType::F8E8M0,
        DType::F4E2M1,
        DType::U2,
        DType::I2,
    ];

    /// Bits of one element. Elements of less than eight bits share a byte, the first in its lowest bits, without
    /// padding between rows. Remaining bits of the last byte are not used.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            DType::U2 | DType::I2 => 2,
            DType::U4 | DType::I4 | DType::F4E2M1 => 4,
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ
            | DType::F8E8M0 => 8,
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => 16,
            DType::U32 | DType::I32 | DType::F32 => 32,
            DType::U64 | DType::I64 | DType::F64 => 64,
        }
    }

    /// True if several elements share a byte, so that a row can begin within a byte.
    #[must_use]
    pub const fn is_packed(self) -> bool {
        self.bits() < 8
    }

    /// The element type of a number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| *dtype as u8 == number)
    }

    /// Its name, such as `f32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U16 => "u16",
            DType::I16 => "i16",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::U64 => "u64",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
            DType::U4 => "u4",
            DType::I4 => "i4",
            DType::F8E8M0 => "f8e8m0",
            DType::F4E2M1 => "f4e2m1",
            DType::U2 => "u2",
            DType::I2 => "i2",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Dimensions of a tensor: at most [`limit::RANK`], none for a scalar. Held in
/// place, because a tick handles hundreds of them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    rank: u8,
    dims: [u64; limit::RANK],
}

/// Dimensions or bytes that are not a tensor.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TensorError {
    /// More dimensions than [`limit::RANK`].
    #[error("{rank} dimensions are over the limit of {}", limit::RANK)]
    Rank {
        /// The number of dimensions.
        rank: usize,
    },
    /// The element count overflows, or the bytes are over [`limit::TENSOR_BYTES`].
    #[error(
        "a tensor {dtype}{shape:?} is over the limit of {} bytes",
        limit::TENSOR_BYTES
    )]
    TooLarge {
        /// Element type.
        dtype: DType,
        /// Dimensions.
        shape: Shape,
    },
    /// The data is not as long as element type and dimensions say.
    #[error("a tensor {dtype}{shape:?} has {expected} bytes, not {actual}")]
    Length {
        /// Element type.
        dtype: DType,
        /// Dimensions.
        shape: Shape,
        /// Bytes by element type and dimensions.
        expected: usize,
        /// Bytes there are.
        actual: usize,
    },
}

impl Shape {
    /// A shape of the given dimensions.
    ///
    /// # Errors
    /// [`TensorError::Rank`] for more than [`limit::RANK`].
    pub fn new(dims: &[u64]) -> Result<Shape, TensorError> {
        if dims.len() > limit::RANK {
            return Err(TensorError::Rank { rank: dims.len() });
        }
        let mut held = [0; limit::RANK];
        held[..dims.len()].copy_from_slice(dims);
        #[allow(clippy::cast_possible_truncation, reason = "at most RANK, which is 8")]
        Ok(Shape {
            rank: dims.len() as u8,
            dims: held,
        })
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.dims[..usize::from(self.rank)]
    }

    /// Number of elements: one for a scalar, zero if a dimension is zero. `None` on overflow.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.dims().iter().try_fold(1_usize, |elements, dim| {
            usize::try_from(*dim)
                .ok()
                .and_then(|dim| elements.checked_mul(dim))
        })
    }

    /// Bytes of a tensor of this shape.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] when they overflow or are over [`limit::TENSOR_BYTES`].
    pub fn bytes(&self, dtype: DType) -> Result<usize, TensorError> {
        self.elements()
            .and_then(|elements| elements.checked_mul(dtype.bits()))
            .map(|bits| bits.div_ceil(8))
            .filter(|bytes| *bytes <= limit::TENSOR_BYTES)
            .ok_or(TensorError::TooLarge {
                dtype,
                shape: *self,
            })
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, dim) in self.dims().iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

impl Encode for Shape {
    fn encode<E: bincode::enc::Encoder>(
        &self,
        encoder: &mut E,
    ) -> Result<(), bincode::error::EncodeError> {
        self.rank.encode(encoder)?;
        self.dims().iter().try_for_each(|dim| dim.encode(encoder))
    }
}

impl<C> Decode<C> for Shape {
    fn decode<D: bincode::de::Decoder<Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        let rank = u8::decode(decoder)?;
        if usize::from(rank) > limit::RANK {
            return Err(bincode::error::DecodeError::Other(
                "more dimensions than a tensor may have",
            ));
        }
        let mut dims = [0; limit::RANK];
        for dim in &mut dims[..usize::from(rank)] {
            *dim = u64::decode(decoder)?;
        }
        Ok(Shape { rank, dims })
    }
}

bincode::impl_borrow_decode!(Shape);

/// A tensor in private memory: row-major elements, little-endian, without padding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Shape,
    /// The elements.
    pub data: Vec<u8>,
}

impl Tensor {
    /// Checks that the data is as long as element type and dimensions say.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] and [`TensorError::Length`].
    pub fn check(&self) -> Result<(), TensorError> {
        let expected = self.shape.bytes(self.dtype)?;
        let (dtype, shape, actual) = (self.dtype, self.shape, self.data.len());
        if actual == expected {
            Ok(())
        } else {
            Err(TensorError::Length {
                dtype,
                shape,
                expected,
                actual,
            })
        }
    }
}

/// An input or output of a model. A dimension of `None` is dynamic.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Port {
    /// Its name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<Option<u64>>,
}

impl Port {
    /// True if a tensor of this type and shape fits.
    #[must_use]
    pub fn admits(&self, dtype: DType, shape: &Shape) -> bool {
        self.dtype == dtype
            && self.dims.len() == shape.dims().len()
            && self
                .dims
                .iter()
                .zip(shape.dims())
                .all(|(open, dim)| open.is_none_or(|fixed| fixed == *dim))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name comes from a file and can contain control characters.
        for letter in self.name.chars() {
            match letter.is_control() {
                true => write!(f, "{}", letter.escape_default())?,
                false => write!(f, "{letter}")?,
            }
        }
        write!(f, " {}[", self.dtype)?;
        for (position, dim) in self.dims.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match dim {
                Some(dim) => write!(f, "{comma}{dim}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// The inputs and outputs of a model, in the model's own order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Signature {
    /// The inputs.
    pub inputs: Vec<Port>,
    /// The outputs.
    pub outputs: Vec<Port>,
}
