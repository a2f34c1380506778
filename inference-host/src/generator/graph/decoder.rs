//! One run of a decoder's graph: new tokens and what came before go in, logits
//! and what will have come before come out, written where they will be used.

use super::layout::{Layout, Role};
use super::slab::Slab;
use crate::backend::{Model, Written};
use crate::sys::tensor::{TensorPlace, TensorView};
use shm_protocol::tensor::{DType, Shape};

/// Most tokens of one run: a longer prompt is fed in pieces of so many, which bounds the logits. A fixed number, as
/// another would give other bits.
pub(in crate::generator) const MOST_AT_ONCE: usize = 256;

/// A graph, and what its inputs and outputs are for.
pub(in crate::generator) struct Decoder {
    model: Box<dyn Model>,
    pub(in crate::generator) layout: Layout,
}

/// What a run is given beside the past: `rows` times `length` new tokens.
pub(in crate::generator) struct Feed<'a> {
    pub(in crate::generator) rows: usize,
    pub(in crate::generator) length: usize,
    pub(in crate::generator) tokens: &'a [u32],
    /// Of each row, how many tokens of its past there are.
    pub(in crate::generator) filled: &'a [usize],
}

/// What a run has given: logits of `count` tokens of each row.
#[derive(Debug, Default)]
pub(in crate::generator) struct Logits {
    bytes: Vec<u8>,
    dtype: Option<DType>,
    rows: usize,
    count: usize,
}

impl Decoder {
    pub(in crate::generator) fn new(model: Box<dyn Model>, layout: Layout) -> Decoder {
        Decoder { model, layout }
    }

    /// Runs once. `present` is reshaped and holds past and new tokens after it, the new ones last.
    pub(in crate::generator) fn run(
        &mut self,
        feed: &Feed<'_>,
        past: &Slab,
        present: &mut Slab,
        logits: &mut Logits,
    ) -> Result<(), String> {
        let Feed { rows, length, .. } = *feed;
        let whole = past.room + length;
        let said = |error: shm_protocol::tensor::TensorError| error.to_string();
        let plain = self.plain_inputs(feed, past.room);
        let mut inputs = Vec::with_capacity(self.layout.roles.len());
        for ((role, ..), (dtype, dims, bytes)) in self.layout.roles.iter().zip(&plain) {
            let view = match *role {
                Role::Past(number) => {
                    let cache = &self.layout.caches[number];
                    let shape =
                        shape(&[rows, cache.heads, past.room, cache.width]).map_err(said)?;
                    TensorView::of_slice(cache.dtype, shape, &past.tensors[number])
                }
                _ => TensorView::of_slice(*dtype, shape(dims).map_err(said)?, bytes),
            };
            inputs.push(view.map_err(said)?);
        }
        present.reshape(&self.layout.caches, rows, whole);
        logits.rows = rows;
        logits.count = if self.layout.has(Role::Keep) {
            1
        } else {
            length
        };
        logits.dtype = Some(self.layout.logits_type);
        let mut places: Vec<Option<TensorPlace<'_>>> =
            (0..self.layout.outputs).map(|_| None).collect();
        for (cache, tensor) in self.layout.caches.iter().zip(&mut present.tensors) {
            let shape = shape(&[rows, cache.heads, whole, cache.width]).map_err(said)?;
            places[cache.present] =
                Some(TensorPlace::of_slice(cache.dtype, shape, tensor).map_err(said)?);
        }
        let known = self
            .layout
            .vocabulary
            .and_then(|words| usize::try_from(words).ok());
        if let Some(words) = known {
            let shape = shape(&[rows, logits.count, words]).map_err(said)?;
            logits
                .bytes
                .resize(shape.bytes(self.layout.logits_type).map_err(said)?, 0);
            let place = TensorPlace::of_slice(self.layout.logits_type, shape, &mut logits.bytes);
            places[self.layout.logits] = Some(place.map_err(said)?);
        }
        let written = self
            .model
            .run(&inputs, &mut places)
            .map_err(|error| error.to_string())?;
        drop(places);
        if written == Written::Given {
            for (cache, tensor) in self.layout.caches.iter().zip(&mut present.tensors) {
                let expected = tensor.len();
                tensor.clear();
                self.take_given(cache.present, tensor)?;
                if tensor.len() != expected {
                    return Err(format!(
                        "an output for keys and values has {} bytes, not {expected}",
                        tensor.len()
                    ));
                }
            }
        }
        if written == Written::Given || known.is_none() {
            logits.bytes.clear();
            self.take_given(self.layout.logits, &mut logits.bytes)?;
        }
        Ok(())
    }

    fn take_given(&self, output: usize, into: &mut Vec<u8>) -> Result<(), String> {
        let given = self
            .model
            .given(output)
            .map_err(|error| error.to_string())?;
        given.copy_to(into);
        Ok(())
    }

    /// Element type, dimensions and bytes of each input that is no past.
    fn plain_inputs(&self, feed: &Feed<'_>, room: usize) -> Vec<(DType, Vec<usize>, Vec<u8>)> {
        let Feed {
            rows,
            length,
            tokens,
            filled,
        } = *feed;
        let inputs = self
            .layout
            .roles
            .iter()
            .map(|(role, dtype, rank)| match role {
                Role::Past(_) => (*dtype, Vec::new(), Vec::new()),
                Role::Ids => {
                    let tokens = tokens.iter().map(|token| i64::from(*token));
                    (*dtype, vec![rows, length], integers(*dtype, tokens))
                }
                Role::Positions => {
                    let positions = filled.iter().flat_map(|filled| *filled..*filled + length);
                    (
                        *dtype,
                        vec![rows, length],
                        integers(*dtype, positions.map(small)),
                    )
                }
                Role::Mask => {
                    let seen = filled.iter().flat_map(|filled| {
                        (0..room + length)
                            .map(move |slot| i64::from(slot < *filled || slot >= room))
                    });
                    (*dtype, vec![rows, room + length], integers(*dtype, seen))
                }
                Role::UsesPast => (*dtype, vec![1; *rank], vec![u8::from(room > 0)]),
                Role::Keep => (*dtype, vec![1; *rank], integers(*dtype, std::iter::once(1))),
            });
        inputs.collect()
    }
}

impl Logits {
    /// Those of the last token of a row.
    pub(in crate::generator) fn last_of(&self, row: usize) -> Vec<f32> {
        let bytes = &self.bytes[self.bytes_of_row(row)];
        match self.dtype {
            Some(DType::F16) => bytes
                .as_chunks()
                .0
                .iter()
                .map(|two| of_half(u16::from_le_bytes(*two)))
                .collect(),
            Some(DType::BF16) => {
                let wide =
                    |two: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*two)) << 16);
                bytes.as_chunks().0.iter().map(wide).collect()
            }
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|four| f32::from_le_bytes(*four))
                .collect(),
        }
    }

    /// The bytes of those.
    pub(in crate::generator) fn bytes_of(&self, row: usize) -> &[u8] {
        &self.bytes[self.bytes_of_row(row)]
    }

    fn bytes_of_row(&self, row: usize) -> std::ops::Range<usize> {
        let each = self.bytes.len() / (self.rows * self.count).max(1);
        let start = ((row + 1) * self.count - 1) * each;
        start..start + each
    }
}

fn shape(dims: &[usize]) -> Result<Shape, shm_protocol::tensor::TensorError> {
    let dims: Vec<u64> = dims.iter().map(|dim| *dim as u64).collect();
    Shape::new(&dims)
}

fn small(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Whole numbers as the graph takes them, i64 or i32.
fn integers(dtype: DType, numbers: impl Iterator<Item = i64>) -> Vec<u8> {
    if dtype == DType::I32 {
        numbers
            .flat_map(|number| i32::try_from(number).unwrap_or(i32::MAX).to_le_bytes())
            .collect()
    } else {
        numbers.flat_map(i64::to_le_bytes).collect()
    }
}

/// A number of sixteen bits as one of thirty-two (IEEE 754, binary16).
fn of_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match (exponent, fraction) {
        (0, 0) => f32::from_bits(sign),
        // Too small for a leading one: the fraction counts in steps of 2^-24.
        (0, _) => {
            #[allow(clippy::cast_precision_loss, reason = "ten bits")]
            let size = fraction as f32 / (1_u32 << 24) as f32;
            if sign == 0 { size } else { -size }
        }
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_they_are() {
        for (bits, number) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x83ff, -6.097_555e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(of_half(bits).to_bits(), f32::to_bits(number), "{bits:#06x}");
        }
        assert!(of_half(0x7e00).is_nan());
    }
}
