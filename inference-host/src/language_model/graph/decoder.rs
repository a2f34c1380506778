//! One run of a decoder's graph: new tokens and their past keys and values go in, logits and the present keys and
//! values come out, written where they will be used.

use super::decoder_signature::{DecoderSignature, InputRole};
use super::kv_block::KvBlock;
use crate::backend::{Model, ModelRunError, OutputLocation};
use crate::floats::floats;
use crate::sys::tensor::{TensorView, TensorViewMut};
use shm_protocol::tensor::{DType, Shape, TensorError};

/// Most tokens of one run: a longer prompt is prefilled in chunks of this size, which bounds the logits. Fixed, because
/// another size would give other bits.
pub(crate) const PREFILL_CHUNK_TOKENS: usize = 256;

/// A decoder's graph with its signature.
pub(crate) struct Decoder {
    model: Box<dyn Model>,
    pub(crate) signature: DecoderSignature,
}

/// The input of a run beside the past: `new_tokens` tokens of each of `rows` sequences.
pub(crate) struct ForwardInput<'a> {
    pub(crate) rows: usize,
    pub(crate) new_tokens: usize,
    pub(crate) tokens: &'a [u32],
    /// The tokens in the past of each row; the rest of the capacity is masked.
    pub(crate) past_lens: &'a [usize],
}

/// The logits of a run: those of the last `tokens_per_row` tokens of each row.
#[derive(Debug)]
pub(crate) struct Logits {
    bytes: Vec<u8>,
    dtype: DType,
    rows: usize,
    tokens_per_row: usize,
}

impl Decoder {
    pub(crate) fn new(model: Box<dyn Model>, signature: DecoderSignature) -> Decoder {
        Decoder { model, signature }
    }

    /// Runs once. `present` is reshaped and holds past and new tokens afterwards, the new ones last.
    pub(crate) fn run(
        &mut self,
        input: &ForwardInput<'_>,
        past: &KvBlock,
        present: &mut KvBlock,
        logits: &mut Logits,
    ) -> Result<(), ModelRunError> {
        let ForwardInput {
            rows, new_tokens, ..
        } = *input;
        let capacity = past.capacity + new_tokens;
        let plain = self.non_cache_inputs(input, past.capacity);
        let mut inputs = Vec::with_capacity(self.signature.inputs.len());
        for ((role, ..), (dtype, dims, bytes)) in self.signature.inputs.iter().zip(&plain) {
            let view = match *role {
                InputRole::Past(number) => {
                    let cache = &self.signature.kv_caches[number];
                    let shape = shape(&[rows, cache.heads, past.capacity, cache.head_dim])?;
                    TensorView::of_slice(cache.dtype, shape, &past.tensors[number])
                }
                _ => TensorView::of_slice(*dtype, shape(dims)?, bytes),
            };
            inputs.push(view?);
        }
        present.reshape(&self.signature.kv_caches, rows, capacity);
        logits.rows = rows;
        logits.tokens_per_row = if self.signature.has(InputRole::NumLogitsToKeep) {
            1
        } else {
            new_tokens
        };
        logits.dtype = self.signature.logits_type;
        let mut outputs: Vec<Option<TensorViewMut<'_>>> =
            (0..self.signature.outputs).map(|_| None).collect();
        for (cache, tensor) in self.signature.kv_caches.iter().zip(&mut present.tensors) {
            let shape = shape(&[rows, cache.heads, capacity, cache.head_dim])?;
            outputs[cache.present] = Some(TensorViewMut::of_slice(cache.dtype, shape, tensor)?);
        }
        let vocab_size = self
            .signature
            .vocab_size
            .and_then(|vocab_size| usize::try_from(vocab_size).ok());
        if let Some(vocab_size) = vocab_size {
            let shape = shape(&[rows, logits.tokens_per_row, vocab_size])?;
            logits
                .bytes
                .resize(shape.bytes(self.signature.logits_type)?, 0);
            let view =
                TensorViewMut::of_slice(self.signature.logits_type, shape, &mut logits.bytes);
            outputs[self.signature.logits] = Some(view?);
        }
        let location = self.model.run(&inputs, &mut outputs)?;
        drop(outputs);
        if location == OutputLocation::Engine {
            for (cache, tensor) in self.signature.kv_caches.iter().zip(&mut present.tensors) {
                let expected = tensor.len();
                tensor.clear();
                self.copy_output(cache.present, tensor)?;
                if tensor.len() != expected {
                    return Err(ModelRunError(format!(
                        "the graph returned {} bytes of keys and values instead of {expected}; its output shapes are \
                         inconsistent",
                        tensor.len()
                    )));
                }
            }
        }
        if location == OutputLocation::Engine || vocab_size.is_none() {
            logits.bytes.clear();
            self.copy_output(self.signature.logits, &mut logits.bytes)?;
        }
        Ok(())
    }

    fn copy_output(&self, output: usize, into: &mut Vec<u8>) -> Result<(), ModelRunError> {
        self.model.output(output)?.copy_to(into);
        Ok(())
    }

    /// Element type, dimensions and bytes of each input that is not a KV cache.
    fn non_cache_inputs(
        &self,
        input: &ForwardInput<'_>,
        past_capacity: usize,
    ) -> Vec<(DType, Vec<usize>, Vec<u8>)> {
        let ForwardInput {
            rows,
            new_tokens,
            tokens,
            past_lens,
        } = *input;
        let inputs = self
            .signature
            .inputs
            .iter()
            .map(|(role, dtype, rank)| match role {
                InputRole::Past(_) => (*dtype, Vec::new(), Vec::new()),
                InputRole::InputIds => {
                    let tokens = tokens.iter().map(|token| i64::from(*token));
                    (*dtype, vec![rows, new_tokens], integers(*dtype, tokens))
                }
                InputRole::PositionIds => {
                    let positions = past_lens
                        .iter()
                        .flat_map(|past_len| *past_len..*past_len + new_tokens);
                    (
                        *dtype,
                        vec![rows, new_tokens],
                        integers(*dtype, positions.map(position_id)),
                    )
                }
                InputRole::AttentionMask => {
                    let capacity = past_capacity + new_tokens;
                    let mask = past_lens.iter().flat_map(|past_len| {
                        (0..capacity)
                            .map(move |slot| i64::from(slot < *past_len || slot >= past_capacity))
                    });
                    (*dtype, vec![rows, capacity], integers(*dtype, mask))
                }
                InputRole::UseCacheBranch => {
                    (*dtype, vec![1; *rank], vec![u8::from(past_capacity > 0)])
                }
                InputRole::NumLogitsToKeep => {
                    (*dtype, vec![1; *rank], integers(*dtype, std::iter::once(1)))
                }
            });
        inputs.collect()
    }
}

impl Default for Logits {
    fn default() -> Logits {
        Logits {
            bytes: Vec::new(),
            dtype: DType::F32,
            rows: 0,
            tokens_per_row: 0,
        }
    }
}

impl Logits {
    /// The logits of the last token of a row.
    pub(crate) fn last_token(&self, row: usize) -> Vec<f32> {
        floats(self.dtype, self.last_token_bytes(row))
    }

    /// The same as the graph wrote them.
    pub(crate) fn last_token_bytes(&self, row: usize) -> &[u8] {
        &self.bytes[self.last_token_range(row)]
    }

    fn last_token_range(&self, row: usize) -> std::ops::Range<usize> {
        let each = self.bytes.len() / (self.rows * self.tokens_per_row).max(1);
        let start = ((row + 1) * self.tokens_per_row - 1) * each;
        start..start + each
    }
}

fn shape(dims: &[usize]) -> Result<Shape, TensorError> {
    let dims: Vec<u64> = dims.iter().map(|dim| *dim as u64).collect();
    Shape::new(&dims)
}

fn position_id(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Integers in the element type of the graph, i64 or i32.
fn integers(dtype: DType, values: impl Iterator<Item = i64>) -> Vec<u8> {
    if dtype == DType::I32 {
        values
            .flat_map(|number| i32::try_from(number).unwrap_or(i32::MAX).to_le_bytes())
            .collect()
    } else {
        values.flat_map(i64::to_le_bytes).collect()
    }
}
