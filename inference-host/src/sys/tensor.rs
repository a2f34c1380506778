//! Tensors that the engine reads and writes, wherever their bytes lie.
//!
//! A record in a ring is memory that another process may change, so no Rust reference to its bytes is ever formed:
//! these types carry a pointer, a length that was checked against element type and shape, and a lifetime. Only the
//! engine dereferences the pointer; a peer that changes an input during a run spoils only the result of its own
//! request.

use shm_protocol::tensor::{DType, Shape, TensorError};
use std::marker::PhantomData;

/// A tensor that the engine reads.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: Shape,
    data: *const u8,
    bytes: usize,
    memory: PhantomData<&'a [u8]>,
}

/// Memory of a tensor that the engine writes.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: DType,
    shape: Shape,
    data: *mut u8,
    bytes: usize,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> TensorView<'a> {
    /// A tensor in private memory.
    ///
    /// # Errors
    /// When `data` is not as long as `dtype` and `shape` say.
    pub fn of_slice(
        dtype: DType,
        shape: Shape,
        data: &'a [u8],
    ) -> Result<TensorView<'a>, TensorError> {
        // SAFETY: the borrowed slice is mapped readable for all of `'a`.
        unsafe { TensorView::of_shared(dtype, shape, data.as_ptr(), data.len()) }
    }

    /// A tensor in memory that another process may change.
    ///
    /// # Errors
    /// When `bytes` is not what `dtype` and `shape` say.
    ///
    /// # Safety
    /// For all of `'a`, `bytes` bytes at `data` must be mapped readable.
    pub(crate) unsafe fn of_shared(
        dtype: DType,
        shape: Shape,
        data: *const u8,
        bytes: usize,
    ) -> Result<TensorView<'a>, TensorError> {
        check_length(dtype, shape, bytes)?;
        Ok(TensorView {
            dtype,
            shape,
            data,
            bytes,
            memory: PhantomData,
        })
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Length of the elements in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the elements to `into`.
    pub fn copy_to(&self, into: &mut Vec<u8>) {
        into.reserve(self.bytes);
        // SAFETY: by construction `bytes` bytes at `data` are readable for `'a`; `reserve` made room for as many
        // after the current end, and a fresh allocation cannot overlap them. Copying through raw pointers forms no
        // reference to memory that a peer may change.
        unsafe {
            std::ptr::copy_nonoverlapping(self.data, into.as_mut_ptr().add(into.len()), self.bytes);
            into.set_len(into.len() + self.bytes);
        }
    }

    /// Copies the elements to a tensor of the same length.
    ///
    /// # Panics
    /// When the lengths differ; the caller made the target for this tensor.
    pub fn copy_to_view(&self, target: &mut TensorViewMut<'_>) {
        assert_eq!(
            self.bytes, target.bytes,
            "the target was made for another tensor"
        );
        // SAFETY: by construction `bytes` bytes are readable behind this tensor and writable behind the target, and the
        // assertion makes both lengths the same. `copy` allows them to overlap. No reference is formed.
        unsafe { std::ptr::copy(self.data, target.data, self.bytes) };
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.data
    }
}

impl<'a> TensorViewMut<'a> {
    /// A tensor in private memory.
    ///
    /// # Errors
    /// When `data` is not as long as `dtype` and `shape` say.
    pub fn of_slice(
        dtype: DType,
        shape: Shape,
        data: &'a mut [u8],
    ) -> Result<TensorViewMut<'a>, TensorError> {
        // SAFETY: the borrowed slice is mapped writable, and nobody else's, for all of `'a`.
        unsafe { TensorViewMut::of_shared(dtype, shape, data.as_mut_ptr(), data.len()) }
    }

    /// A tensor in memory that another process may read.
    ///
    /// # Errors
    /// When `bytes` is not what `dtype` and `shape` say.
    ///
    /// # Safety
    /// For all of `'a`, `bytes` bytes at `data` must be mapped writable, and nothing else in this process may
    /// use them.
    pub(crate) unsafe fn of_shared(
        dtype: DType,
        shape: Shape,
        data: *mut u8,
        bytes: usize,
    ) -> Result<TensorViewMut<'a>, TensorError> {
        check_length(dtype, shape, bytes)?;
        Ok(TensorViewMut {
            dtype,
            shape,
            data,
            bytes,
            memory: PhantomData,
        })
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn check_length(dtype: DType, shape: Shape, actual: usize) -> Result<(), TensorError> {
    let expected = shape.bytes(dtype)?;
    if expected == actual {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_does_not_fit_is_refused() {
        let shape = Shape::new(&[2, 3]).expect("a shape");
        assert!(TensorView::of_slice(DType::F32, shape, &[0; 24]).is_ok());
        assert!(matches!(
            TensorView::of_slice(DType::F32, shape, &[0; 23]),
            Err(TensorError::Length {
                expected: 24,
                actual: 23,
                ..
            })
        ));
        assert!(matches!(
            TensorViewMut::of_slice(DType::F32, shape, &mut [0; 25]),
            Err(TensorError::Length {
                expected: 24,
                actual: 25,
                ..
            })
        ));
    }

    #[test]
    fn a_copy_is_appended() {
        let shape = Shape::new(&[3]).expect("a shape");
        let view = TensorView::of_slice(DType::U8, shape, &[1, 2, 3]).expect("it fits");
        let mut copy = vec![9];
        view.copy_to(&mut copy);
        assert_eq!(copy, [9, 1, 2, 3]);
    }
}
