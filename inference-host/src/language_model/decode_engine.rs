//! The decode loop of a decoder model: a decode request goes in, deltas come out.
//!
//! Each sequence takes the same steps whatever else is decoded: its prompt is prefilled alone, in chunks of a fixed
//! size; then it grows token by token, with a KV capacity that follows from its own length. A sequence whose keys and
//! values are not here, because the host is new or they were evicted, takes the same steps again with the tokens that
//! the decode request holds, and the result is the same bit for bit.

use super::graph::decoder::{Decoder, ForwardInput, Logits, PREFILL_CHUNK_TOKENS};
use super::graph::decoder_probe::BatchingPlan;
use super::graph::kv_block::KvBlock;
use super::graph::kv_cache::{KvCache, SequenceKey};
use super::graph::prefix_cache::{PrefixCache, chunk_digests};
use super::sequence_factory::SequenceFactory;
use super::sequence_state::SequenceState;
use super::sequence_step::{SequenceProgress, SequenceStep};
use shm_protocol::generation::{DecodeRequest, Deltas, Sequence};
use std::collections::{BTreeMap, BTreeSet};

/// A decoder model and the sequences that it has begun.
pub(super) struct DecodeEngine {
    decoder: Decoder,
    batching_plan: BatchingPlan,
    factory: SequenceFactory,
    /// Most bytes of keys and values that are kept between decode requests.
    cache_bytes: usize,
    /// True if prompts with a common prefix share its keys and values.
    shares_prefixes: bool,
    kv_cache: KvCache,
    prefix_cache: PrefixCache,
    sequences: BTreeMap<SequenceKey, SequenceState>,
    /// Decode requests so far; the clock of evictions.
    request_count: u64,
    buffers: RunBuffers,
}

/// Memory that every run overwrites.
#[derive(Default)]
struct RunBuffers {
    present: KvBlock,
    logits: Logits,
}

impl DecodeEngine {
    pub(super) fn new(
        decoder: Decoder,
        batching_plan: BatchingPlan,
        factory: SequenceFactory,
        cache_bytes: usize,
        shares_prefixes: bool,
    ) -> DecodeEngine {
        DecodeEngine {
            decoder,
            batching_plan,
            factory,
            cache_bytes,
            shares_prefixes,
            kv_cache: KvCache::default(),
            prefix_cache: PrefixCache::default(),
            sequences: BTreeMap::new(),
            request_count: 0,
            buffers: RunBuffers::default(),
        }
    }

    /// Grows each sequence by as many tokens as the request says, unless it ends before.
    pub(super) fn decode(&mut self, request: &DecodeRequest) -> Deltas {
        self.request_count += 1;
        let max_tokens = request.steps as usize;
        let mut seen = BTreeSet::new();
        let mut steps: Vec<SequenceStep> = Vec::with_capacity(request.sequences.len());
        for sequence in &request.sequences {
            let key = (sequence.agent, sequence.request);
            let state = if seen.insert(key) {
                self.resume_sequence(key, sequence)
            } else {
                Err("the decode request names this request twice".to_owned())
            };
            steps.push(SequenceStep::new(key, state));
        }
        loop {
            let mut batches: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for (number, step) in steps.iter_mut().enumerate() {
                let key = step.key;
                if let Some(progress) = step.due(max_tokens)
                    && progress.state.past_len == 0
                {
                    let result = self.prefill(key, progress);
                    step.record(result);
                }
                if let Some(progress) = step.due(max_tokens) {
                    let capacity = self.capacity_for(progress.state.past_len);
                    batches.entry(capacity).or_default().push(number);
                }
            }
            if batches.is_empty() {
                break;
            }
            for (capacity, mut members) in batches {
                while !members.is_empty() {
                    let rest = members.split_off(self.batch_size_for(members.len()));
                    self.step_batch(&mut steps, &members, capacity);
                    members = rest;
                }
            }
        }
        self.finish_request(steps)
    }

    /// The state of a sequence after the tokens that the decode request holds: the one that is kept, if it is not
    /// ahead of them, or a new one that takes them again.
    fn resume_sequence(
        &mut self,
        key: SequenceKey,
        sequence: &Sequence,
    ) -> Result<SequenceState, String> {
        let digest = request_digest(sequence);
        let kept = self.sequences.remove(&key);
        let is_cached = self.kv_cache.contains(key);
        let fits = |kept: &SequenceState| {
            is_cached && kept.digest == digest && sequence.tokens.starts_with(kept.generated())
        };
        let mut state = match kept.filter(fits) {
            Some(kept) => kept,
            None => {
                self.kv_cache.remove(key);
                self.factory.start(key, sequence, digest)?
            }
        };
        state.last_used = self.request_count;
        for token in &sequence.tokens[state.generated().len()..] {
            if state.finish.is_some() || *token as usize >= self.factory.vocab_size {
                return Err(format!(
                    "the decode request holds token {token} where the sequence cannot have it"
                ));
            }
            state.accept(&self.factory.tokenizer, *token)?;
        }
        Ok(state)
    }

    /// Runs the prompt of a sequence through the decoder, alone, in chunks, from the end of the longest prefix that is
    /// cached. Samples the first token unless it is known.
    fn prefill(&mut self, key: SequenceKey, progress: &mut SequenceProgress) -> Result<(), String> {
        let state = &mut progress.state;
        let digests = if self.shares_prefixes {
            chunk_digests(state.prompt())
        } else {
            Vec::new()
        };
        let RunBuffers { present, logits } = &mut self.buffers;
        let specs = &self.decoder.signature.kv_caches;
        let (cached, mut past) = self
            .prefix_cache
            .lookup(specs, &digests, self.request_count);
        let chunks = state.prompt().chunks(PREFILL_CHUNK_TOKENS).enumerate();
        for (number, chunk) in chunks.skip(cached) {
            let input = ForwardInput {
                rows: 1,
                new_tokens: chunk.len(),
                tokens: chunk,
                past_lens: &[past.capacity],
            };
            self.decoder.run(&input, &past, present, logits)?;
            if let Some(digests) = digests.get(..=number) {
                let specs = &self.decoder.signature.kv_caches;
                self.prefix_cache
                    .insert(specs, digests, (&past, present), self.request_count);
                self.prefix_cache.evict_to(self.cache_bytes);
            }
            std::mem::swap(&mut past, present);
        }
        state.past_len = past.capacity;
        let is_next_unknown = state.tokens().len() == state.past_len;
        let capacity = state
            .past_len
            .next_multiple_of(self.batching_plan.capacity_step);
        if capacity > state.past_len {
            let row = (&past, 0, state.past_len);
            let specs = &self.decoder.signature.kv_caches;
            past = KvBlock::from_rows(specs, capacity, [row].into_iter());
        }
        self.kv_cache.insert(key, past);
        if is_next_unknown {
            let mut logits = logits.last_token(0);
            let SequenceFactory {
                tokenizer, config, ..
            } = &self.factory;
            progress.sample_next(tokenizer, &config.eos_token_ids, &mut logits)?;
        }
        Ok(())
    }

    /// One token for each member, in one run. If that run fails, each member runs alone, so that no sequence ends
    /// because of another.
    fn step_batch(&mut self, steps: &mut [SequenceStep], members: &[usize], capacity: usize) {
        let Err(error) = self.run_batch(steps, members, capacity) else {
            return;
        };
        for member in members {
            let result = if members.len() > 1 {
                self.run_batch(steps, &[*member], capacity)
            } else {
                Err(error.clone())
            };
            steps[*member].record(result);
        }
    }

    /// One run of the decoder. A run that fails has changed nothing.
    fn run_batch(
        &mut self,
        steps: &mut [SequenceStep],
        members: &[usize],
        capacity: usize,
    ) -> Result<(), String> {
        let (mut rows, mut tokens) = (Vec::new(), Vec::new());
        for member in members {
            let SequenceStep { key, progress } = &steps[*member];
            let state = &progress.as_ref().map_err(String::clone)?.state;
            let token = state.tokens().get(state.past_len);
            tokens.push(*token.ok_or("the sequence has no next token")?);
            rows.push((*key, state.past_len));
        }
        let past_lens: Vec<usize> = rows.iter().map(|(_, past_len)| *past_len).collect();
        let specs = &self.decoder.signature.kv_caches;
        let batch = self
            .kv_cache
            .gather(specs, &rows, capacity)
            .ok_or("the keys and values of the sequence are gone")?;
        let input = ForwardInput {
            rows: members.len(),
            new_tokens: 1,
            tokens: &tokens,
            past_lens: &past_lens,
        };
        let RunBuffers { present, logits } = &mut self.buffers;
        self.decoder.run(&input, &batch.block, present, logits)?;
        let specs = &self.decoder.signature.kv_caches;
        let mut grown = Vec::new();
        if self.batching_plan.capacity_step == 1 {
            std::mem::swap(&mut batch.block, present);
        } else {
            for (row, (key, past_len)) in rows.iter().enumerate() {
                if *past_len < capacity {
                    batch
                        .block
                        .copy(specs, (row, *past_len), present, (row, capacity), 1);
                } else {
                    let larger = capacity + self.batching_plan.capacity_step;
                    let row = (&*present, row, capacity + 1);
                    let block = KvBlock::from_rows(specs, larger, [row].into_iter());
                    grown.push((*key, block));
                }
            }
        }
        for (key, block) in grown {
            self.kv_cache.insert(key, block);
        }
        for (row, member) in members.iter().enumerate() {
            let step = &mut steps[*member];
            let Ok(progress) = &mut step.progress else {
                continue;
            };
            progress.state.past_len += 1;
            if progress.state.past_len == progress.state.tokens().len() {
                let mut logits = self.buffers.logits.last_token(row);
                let SequenceFactory {
                    tokenizer, config, ..
                } = &self.factory;
                let result = progress.sample_next(tokenizer, &config.eos_token_ids, &mut logits);
                step.record(result);
            }
        }
        Ok(())
    }

    /// The KV capacity of a sequence with this many tokens in the past.
    fn capacity_for(&self, past_len: usize) -> usize {
        past_len.next_multiple_of(self.batching_plan.capacity_step)
    }

    /// The rows of the next run for this many sequences: the largest batch size that the plan has.
    fn batch_size_for(&self, sequences: usize) -> usize {
        let sizes = self.batching_plan.batch_sizes.iter().copied();
        sizes.rev().find(|size| *size <= sequences).unwrap_or(1)
    }

    /// Keeps what goes on and evicts what is over `cache_bytes`: the least recently used first, then by agent and
    /// request. Gives the deltas of the request.
    fn finish_request(&mut self, steps: Vec<SequenceStep>) -> Deltas {
        let mut deltas = Vec::with_capacity(steps.len());
        for SequenceStep { key, progress } in steps {
            let (state, delta) = match progress {
                Ok(SequenceProgress { state, delta }) => (Some(state), Ok(delta)),
                Err(error) => (None, Err(error)),
            };
            match state.filter(|state| state.finish.is_none()) {
                Some(state) => {
                    self.sequences.insert(key, state);
                }
                None => self.kv_cache.remove(key),
            }
            deltas.push(delta);
        }
        let sequences = self.sequences.iter();
        let mut oldest: Vec<(u64, SequenceKey)> = sequences
            .map(|(key, state)| (state.last_used, *key))
            .collect();
        oldest.sort_unstable();
        let keys = oldest.iter().map(|(_, key)| *key);
        let mut bytes: usize = keys.map(|key| self.kv_cache.bytes_of(key)).sum();
        // The prefix cache has what the sequences leave.
        self.prefix_cache
            .evict_to(self.cache_bytes.saturating_sub(bytes));
        for (_, key) in oldest {
            if bytes <= self.cache_bytes {
                break;
            }
            bytes -= self.kv_cache.bytes_of(key);
            self.kv_cache.remove(key);
            self.sequences.remove(&key);
        }
        self.kv_cache.compact(&self.decoder.signature.kv_caches);
        Deltas(deltas)
    }
}

/// A digest of the request and the seed: with it, another request under the same number is another sequence.
fn request_digest(sequence: &Sequence) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.seed.to_le_bytes());
    hasher.update(&sequence.asked);
    hasher.finalize().into()
}
