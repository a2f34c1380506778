//! Measures, while a decoder is loaded, which sequences may share a run without a change of any bit.
//!
//! Two questions, asked with tokens from a counter. First: is padding harmless, that is, a KV capacity above the past
//! length? Then the capacity of each sequence is a multiple of [`CAPACITY_STEP`], and sequences of about the same
//! length share a run; if not, only those of the same length do. Second: are the bits of a row the same alone and in
//! every batch size that will be used, at changing positions? If not, each sequence runs alone.

use super::decoder::{Decoder, ForwardInput, Logits};
use super::decoder_signature::KvCacheSpec;
use super::kv_block::KvBlock;
use crate::backend::ModelRunError;
use shm_protocol::inference_to_supervisor::Batching;

/// The KV capacity of a sequence is a multiple of this number of tokens, if the graph tolerates padding.
pub(crate) const CAPACITY_STEP: usize = 32;

/// Batch sizes of a run. Every one up to 16, because kernels change among the small ones.
const BATCH_SIZES: [usize; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 32, 48, 64, 96, 128, 192, 256,
];

/// Most bytes of keys and values in one run: more rows than fit gain nothing.
const MAX_RUN_BYTES: usize = 1 << 30;

/// Different rows that are tried.
const PROBE_ROWS: usize = 4;

/// The largest difference of logits by padding, relative to the largest logit. Rounding makes about 1e-6 in single
/// precision and 1e-3 in half; a wrong position or mask makes more than 0.1.
const PADDING_TOLERANCE: f32 = 0.02;

/// The batches that a decoder may run.
pub(crate) struct BatchingPlan {
    /// The KV capacity of a sequence is a multiple of this number of tokens.
    pub(crate) capacity_step: usize,
    /// Rows that a run may have, ascending; the first is 1.
    pub(crate) batch_sizes: Vec<usize>,
    pub(crate) batching: Batching,
}

/// Measures which batches of up to `max_sequences` rows the decoder may run.
///
/// # Errors
/// When the graph does not run at all.
pub(crate) fn plan_batching(
    decoder: &mut Decoder,
    vocab_size: u32,
    context_length: usize,
    max_sequences: usize,
    may_batch: bool,
) -> Result<BatchingPlan, String> {
    let mut probe = DecoderProbe {
        decoder,
        vocab_size: vocab_size.max(1),
        logits: Logits::default(),
    };
    let step = if context_length > 2 * CAPACITY_STEP && probe.tolerates_padding()? {
        CAPACITY_STEP
    } else {
        1
    };
    let alone = |batching| BatchingPlan {
        capacity_step: step,
        batch_sizes: vec![1],
        batching,
    };
    if !may_batch {
        return Ok(alone(Batching::Unwanted));
    }
    let lengths: Vec<usize> = [20, 70]
        .into_iter()
        .filter(|length| length + 1 < context_length)
        .collect();
    let capacity = context_length.next_multiple_of(step);
    let largest = MAX_RUN_BYTES / (capacity * probe.decoder.signature.kv_bytes_per_token()).max(1);
    let rows: Vec<usize> = BATCH_SIZES
        .into_iter()
        .filter(|rows| *rows <= max_sequences.min(largest.max(1)))
        .collect();
    if lengths.is_empty() {
        return Ok(alone(Batching::Alone(format!(
            "a context of {context_length} tokens is too short to measure it"
        ))));
    }
    for length in lengths {
        if let Some(reason) = probe.find_batch_variance(length, step, &rows)? {
            return Ok(alone(Batching::Alone(reason)));
        }
    }
    Ok(BatchingPlan {
        capacity_step: step,
        batch_sizes: rows,
        batching: Batching::Joined,
    })
}

struct DecoderProbe<'d> {
    decoder: &'d mut Decoder,
    vocab_size: u32,
    logits: Logits,
}

impl DecoderProbe<'_> {
    /// The token of a row at a position, from a counter.
    fn token(&self, row: usize, position: usize) -> u32 {
        let counter = u32::try_from(row * 7919 + position * 31 + 1).unwrap_or(1);
        counter.wrapping_mul(2_654_435_761) % self.vocab_size
    }

    /// Keys and values of the first `length` tokens of a row.
    fn prefill(&mut self, row: usize, length: usize) -> Result<KvBlock, String> {
        let tokens: Vec<u32> = (0..length)
            .map(|position| self.token(row, position))
            .collect();
        let (past, mut present) = (
            KvBlock::new(&self.decoder.signature.kv_caches, 1, 0),
            KvBlock::default(),
        );
        let input = ForwardInput {
            rows: 1,
            new_tokens: length,
            tokens: &tokens,
            past_lens: &[0],
        };
        self.decoder
            .run(&input, &past, &mut present, &mut self.logits)?;
        Ok(present)
    }

    /// Decodes `count` tokens one by one with capacities that are multiples of `step`; gives the logits after each.
    fn decode_steps(
        &mut self,
        prefilled: &KvBlock,
        step: usize,
        count: usize,
    ) -> Result<Vec<Vec<f32>>, String> {
        let specs = self.decoder.signature.kv_caches.clone();
        let mut past_len = prefilled.capacity;
        let mut past = KvBlock::from_rows(
            &specs,
            past_len.next_multiple_of(step),
            [(prefilled, 0, past_len)].into_iter(),
        );
        let (mut present, mut all) = (KvBlock::default(), Vec::new());
        for _ in 0..count {
            let input = ForwardInput {
                rows: 1,
                new_tokens: 1,
                tokens: &[self.token(0, past_len)],
                past_lens: &[past_len],
            };
            self.decoder
                .run(&input, &past, &mut present, &mut self.logits)?;
            all.push(self.logits.last_token(0));
            let mut next = KvBlock::from_rows(
                &specs,
                (past_len + 1).next_multiple_of(step),
                [(&past, 0, past_len)].into_iter(),
            );
            next.copy(&specs, (0, past_len), &present, (0, past.capacity), 1);
            (past, past_len) = (next, past_len + 1);
        }
        Ok(all)
    }

    fn tolerates_padding(&mut self) -> Result<bool, String> {
        // The tokens cross the border of a capacity.
        let prefilled = self.prefill(0, CAPACITY_STEP - 5)?;
        let exact = self.decode_steps(&prefilled, 1, 10)?;
        let Ok(padded) = self.decode_steps(&prefilled, CAPACITY_STEP, 10) else {
            return Ok(false);
        };
        let is_close = |(exact, padded): (&Vec<f32>, &Vec<f32>)| {
            let largest = exact.iter().map(|logit| logit.abs()).fold(0.0, f32::max);
            let difference = exact
                .iter()
                .zip(padded)
                .map(|(exact, padded)| (exact - padded).abs());
            exact.len() == padded.len()
                && difference.fold(0.0, f32::max) <= largest * PADDING_TOLERANCE
        };
        Ok(exact.iter().zip(&padded).all(is_close))
    }

    /// The reason why rows of this length cannot share a run, if they cannot.
    fn find_batch_variance(
        &mut self,
        length: usize,
        step: usize,
        sizes: &[usize],
    ) -> Result<Option<String>, String> {
        let specs = self.decoder.signature.kv_caches.clone();
        let capacity = length.next_multiple_of(step);
        let prefilled = (0..PROBE_ROWS)
            .map(|row| self.prefill(row, length))
            .collect::<Result<Vec<_>, _>>()?;
        let mut alone = Vec::new();
        let mut present = KvBlock::default();
        for row in 0..PROBE_ROWS {
            self.run_batch(&prefilled, &[row], length, capacity, &mut present)?;
            alone.push((
                self.logits.last_token_bytes(0).to_vec(),
                newest_token_kv(&specs, &present, 0),
            ));
        }
        for size in sizes.iter().copied().filter(|size| *size > 1) {
            let members: Vec<usize> = (0..size)
                .map(|position| (position * 3 + size) % PROBE_ROWS)
                .collect();
            if let Err(error) = self.run_batch(&prefilled, &members, length, capacity, &mut present)
            {
                return Ok(Some(format!(
                    "a batch of {size} rows does not run: {error}"
                )));
            }
            for (position, member) in members.iter().enumerate() {
                let is_same = self.logits.last_token_bytes(position) == alone[*member].0
                    && newest_token_kv(&specs, &present, position) == alone[*member].1;
                if !is_same {
                    return Ok(Some(format!(
                        "its bits differ when a sequence of {length} tokens is at position {position} of {size} \
                         instead of alone"
                    )));
                }
            }
        }
        Ok(None)
    }

    fn run_batch(
        &mut self,
        prefilled: &[KvBlock],
        members: &[usize],
        length: usize,
        capacity: usize,
        present: &mut KvBlock,
    ) -> Result<(), ModelRunError> {
        let specs = self.decoder.signature.kv_caches.clone();
        let past = KvBlock::from_rows(
            &specs,
            capacity,
            members.iter().map(|row| (&prefilled[*row], 0, length)),
        );
        let tokens: Vec<u32> = members.iter().map(|row| self.token(*row, length)).collect();
        let past_lens = vec![length; members.len()];
        let input = ForwardInput {
            rows: members.len(),
            new_tokens: 1,
            tokens: &tokens,
            past_lens: &past_lens,
        };
        self.decoder.run(&input, &past, present, &mut self.logits)
    }
}

/// Keys and values of the newest token of a row.
fn newest_token_kv(specs: &[KvCacheSpec], present: &KvBlock, row: usize) -> Vec<Vec<u8>> {
    let mut into = KvBlock::new(specs, 1, 1);
    into.copy(specs, (0, 0), present, (row, present.capacity - 1), 1);
    into.tensors
}
